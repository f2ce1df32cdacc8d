//! Which endpoints a node may pick: a pure function of a Service's slices.
//!
//! An endpoint's conditions put it in one of four classes (E3):
//!
//! | ready | serving | terminating | class | new flows | flows that already name it |
//! |-------|---------|-------------|-------|-----------|----------------------------|
//! | yes | any | any | ready | pick it | go on |
//! | no | yes | yes | draining | pick it only when no endpoint of the set is ready (E1, E2, KEP-1669) | go on (L2) |
//! | no | yes | no | serving | never | go on (L2) |
//! | no | no | any | down | never | are decided anew (L2, UDP) |
//!
//! `ready` wins over the others, because publishNotReadyAddresses sets it whatever the pod says (W10, E3).
//!
//! There are two sets, decided apart from each other:
//!
//! | set | of the ready endpoints | if none is ready |
//! |-----|------------------------|------------------|
//! | Cluster (E1) | those that topology lets through (E7) | every draining one, whatever topology says |
//! | Local (E2) | those on this node | every draining one on this node |
//!
//! Topology (E7, KEP-4444, KEP-2433) reads hints of *every* ready endpoint of the port and family, in this order:
//!
//! | each has a node hint | one names this node | each has a zone hint | one names this zone | let through |
//! |-----|-----|-----|-----|-----|
//! | yes | yes | | | those that name this node |
//! | otherwise | | yes | yes | those that name this zone |
//! | otherwise | | otherwise | | all |
//!
//! So the Cluster set is empty only where no endpoint is usable anywhere, which means reject (E11). An empty Local set beside
//! a Cluster set that is not means drop (E4, E5).
use crate::name::ServicePortName;
use crate::net::{Backend, Family};
use crate::object::{Endpoint, EndpointSlice, Hints, TrafficPolicy};
use std::fmt;
use std::net::IpAddr;

/// Where a node stands: what "local" and "near" mean to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vantage<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Its zone; `None` for one without the label.
    pub zone: Option<&'a str>,
}

/// What selection acts on, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    Down,
    Serving,
    Draining,
    Ready,
}

impl Class {
    fn of(endpoint: &Endpoint) -> Self {
        match (endpoint.ready, endpoint.serving, endpoint.terminating) {
            (true, _, _) => Self::Ready,
            (false, true, true) => Self::Draining,
            (false, true, false) => Self::Serving,
            (false, false, _) => Self::Down,
        }
    }
}

/// What is known of an address and port. When several entries name it, the greatest stands for it: one that is not
/// terminating (W9), then the better class; the rest of the order only makes the choice independent of the input's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Standing<'a> {
    not_terminating: bool,
    class: Class,
    local: bool,
    hints: Option<&'a Hints>,
}

/// Why a set does not have an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exclusion {
    /// Neither ready, nor serving while it terminates.
    NotReady,
    /// On another node, and the policy is Local.
    NotLocal,
    /// Terminating, while others of the set are ready.
    Terminating(TrafficPolicy),
    /// The hints mean it for other nodes.
    OtherNode,
    /// The hints mean it for other zones.
    OtherZone,
}

impl fmt::Display for Exclusion {
    /// The reason with the rule, as in `not local (E2)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "not ready (E3)",
            Self::NotLocal => "not local (E2)",
            Self::Terminating(TrafficPolicy::Cluster) => "terminating while others are ready (E1)",
            Self::Terminating(TrafficPolicy::Local) => "terminating while others on this node are ready (E2)",
            Self::OtherNode => "meant for other nodes (E7)",
            Self::OtherZone => "meant for other zones (E7)",
        })
    }
}

/// One set, and why it is what it is. Both lists by backend.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// What new flows may pick.
    pub picked: Vec<Backend>,
    /// Every other endpoint of the port and family.
    pub excluded: Vec<(Backend, Exclusion)>,
}

/// The endpoints of one family of one Service port, each once, in order.
pub struct Candidates<'a>(Vec<(Backend, Standing<'a>)>);

impl<'a> Candidates<'a> {
    /// Finds target ports by name and protocol in each slice (W6). The order of slices and endpoints does not matter.
    pub fn of(
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
        port: &ServicePortName,
        family: Family,
        vantage: Vantage<'_>,
    ) -> Self {
        let mut found = Vec::new();
        for slice in slices.into_iter().filter(|slice| slice.family == family) {
            let named = slice.ports.iter().filter(|p| p.name == port.port && p.protocol == port.protocol);
            for target in named {
                let backend = |endpoint: &Endpoint| Backend { addr: endpoint.addr, port: target.port };
                found.extend(slice.endpoints.iter().map(|e| (backend(e), Standing::of(e, vantage))));
            }
        }
        // The greatest stands first, and stays. Stable, because slices are in order for the most part.
        found.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| other.cmp(one)));
        found.dedup_by_key(|(backend, _)| *backend);
        Self(found)
    }

    /// The set of a policy: the ready ones near enough, or the draining ones when none is ready.
    #[must_use]
    pub fn choose(&self, policy: TrafficPolicy, vantage: Vantage<'_>) -> Choice {
        let of_policy = |standing: &Standing<'_>| policy == TrafficPolicy::Cluster || standing.local;
        let any_ready = self.0.iter().any(|(_, standing)| standing.class == Class::Ready && of_policy(standing));
        let topology = match policy {
            TrafficPolicy::Cluster => self.topology(vantage),
            TrafficPolicy::Local => Topology::Anywhere,
        };
        let mut choice = Choice::default();
        for (backend, standing) in &self.0 {
            let excluded = match standing.class {
                Class::Down | Class::Serving => Some(Exclusion::NotReady),
                _ if !of_policy(standing) => Some(Exclusion::NotLocal),
                Class::Draining => any_ready.then_some(Exclusion::Terminating(policy)),
                Class::Ready => topology.excludes(standing, vantage),
            };
            match excluded {
                None => choice.picked.push(*backend),
                Some(excluded) => choice.excluded.push((*backend, excluded)),
            }
        }
        choice
    }

    /// Endpoints that serve, picked or not: flows that name one of them go on (L2).
    pub fn serving(&self) -> impl Iterator<Item = Backend> {
        self.0.iter().filter(|(_, standing)| standing.class > Class::Down).map(|(backend, _)| *backend)
    }

    /// The addresses of the ready ones on this node, whatever the hints say (H3).
    pub fn ready_here(&self) -> impl Iterator<Item = IpAddr> {
        let ready_here = |standing: &Standing<'_>| standing.local && standing.class == Class::Ready;
        self.0.iter().filter(move |(_, standing)| ready_here(standing)).map(|(backend, _)| backend.addr)
    }

    /// Which hints count (E7).
    fn topology(&self, vantage: Vantage<'_>) -> Topology {
        let ready = || self.0.iter().map(|(_, standing)| standing).filter(|standing| standing.class == Class::Ready);
        let heeded = |nearness: Topology| {
            ready().all(|standing| nearness.is_hinted(standing))
                && ready().any(|standing| nearness.lets(standing, vantage))
        };
        [Topology::Node, Topology::Zone].into_iter().find(|nearness| heeded(*nearness)).unwrap_or(Topology::Anywhere)
    }
}

impl<'a> Standing<'a> {
    fn of(endpoint: &'a Endpoint, vantage: Vantage<'_>) -> Self {
        Self {
            not_terminating: !endpoint.terminating,
            class: Class::of(endpoint),
            local: endpoint.node.as_deref() == Some(vantage.node),
            hints: endpoint.hints.as_deref(),
        }
    }
}

/// How near an endpoint has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topology {
    Node,
    Zone,
    Anywhere,
}

impl Topology {
    /// Whether an endpoint carries a hint of this kind.
    fn is_hinted(self, standing: &Standing<'_>) -> bool {
        match (self, standing.hints) {
            (Self::Anywhere, _) => true,
            (_, None) => false,
            (Self::Node, Some(hints)) => !hints.nodes.is_empty(),
            (Self::Zone, Some(hints)) => !hints.zones.is_empty(),
        }
    }

    /// Whether the hints mean an endpoint for this node.
    fn lets(self, standing: &Standing<'_>, vantage: Vantage<'_>) -> bool {
        let hints = standing.hints;
        match self {
            Self::Anywhere => true,
            Self::Node => hints.is_some_and(|hints| hints.nodes.iter().any(|node| **node == *vantage.node)),
            Self::Zone => hints.is_some_and(|hints| hints.zones.iter().any(|zone| vantage.zone == Some(zone))),
        }
    }

    fn excludes(self, standing: &Standing<'_>, vantage: Vantage<'_>) -> Option<Exclusion> {
        let excluded = if self == Self::Node { Exclusion::OtherNode } else { Exclusion::OtherZone };
        (!self.lets(standing, vantage)).then_some(excluded)
    }
}
