//! Which endpoints a node may pick: a pure function of a Service's slices.
//!
//! An endpoint's conditions put it in one of four classes (E3):
//!
//! | ready | serving | terminating | class | new flows | flows that already name it |
//! |-------|---------|-------------|-------|-----------|----------------------------|
//! | yes | any | any | ready | pick it | go on |
//! | no | yes | yes | draining | pick it only when no endpoint is ready (E1, KEP-1669) | go on (L2) |
//! | no | yes | no | serving | never | go on (L2) |
//! | no | no | any | down | never | are decided anew (L2, UDP) |
//!
//! `ready` wins over the others, because publishNotReadyAddresses sets it whatever the pod says (W10, E3). An empty choice
//! means "reject" (E11).
use crate::name::ServicePortName;
use crate::net::{Backend, Family};
use crate::object::{Endpoint, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};

/// What [`select`] found for one family of one Service port.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selected {
    /// What new flows may pick; empty means reject.
    pub pick: BTreeSet<Backend>,
    /// Serving endpoints that are not picked: flows that name one go on (L2).
    pub keep: BTreeSet<Backend>,
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

/// Where an address stands when several entries name it (W9): one that is not terminating wins, then the better class.
type Rank = (bool, Class);

/// Picks the endpoints new flows may go to under the Cluster policy: the ready ones, or the draining ones when none is
/// ready (E1, KEP-1669). Target ports are found by name and protocol in each slice (W6). The order of slices and endpoints
/// does not matter.
pub fn select<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    port: &ServicePortName,
    family: Family,
) -> Selected {
    let ranked = rank(slices, port, family);
    let usable = [Class::Ready, Class::Draining].into_iter().find(|class| ranked.values().any(|(_, c)| c == class));
    let mut selected = Selected::default();
    for (backend, (_, class)) in ranked {
        if Some(class) == usable {
            selected.pick.insert(backend);
        } else if class != Class::Down {
            selected.keep.insert(backend);
        }
    }
    selected
}

fn rank<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    port: &ServicePortName,
    family: Family,
) -> BTreeMap<Backend, Rank> {
    let mut ranked: BTreeMap<Backend, Rank> = BTreeMap::new();
    for slice in slices.into_iter().filter(|slice| slice.family == family) {
        let named = slice.ports.iter().filter(|p| p.name == port.port && p.protocol == port.protocol);
        for target in named {
            for endpoint in &slice.endpoints {
                let rank = (!endpoint.terminating, Class::of(endpoint));
                let backend = Backend { addr: endpoint.addr, port: target.port };
                ranked.entry(backend).and_modify(|held| *held = rank.max(*held)).or_insert(rank);
            }
        }
    }
    ranked
}
