//! Which frontends a Service claims (A1, A4, A7, A10), and who holds one that several claim (X1, I8).
use crate::config::ProxyConfig;
use crate::diagnostic::{Diagnostic, ObjectRef, Problem};
use crate::name::{ServiceKey, ServiceName};
use crate::net::{Family, Frontend, Port, Protocol};
use crate::object::{Service, ServicePort};
use crate::rules::NodeRules;
use crate::serving::FrontendKind;
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The last of all addresses.
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// One Service port's claim on a frontend. The smallest of a frontend's claims holds it: what the API allocates, then
/// LoadBalancer addresses, then external IPs; then the older Service, then namespace/name (X1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: FrontendKind,
    pub(crate) created_unix_s: i64,
    pub(crate) key: ServiceKey,
}

/// The ClusterIPs that are served: all but those that are also an address of this node, as node-local DNS has it (A12).
pub(crate) fn cluster_ips<'a>(service: &'a Service, rules: &'a NodeRules) -> impl Iterator<Item = IpAddr> + 'a {
    service.cluster_ips.iter().copied().filter(|addr| !rules.is_own(*addr))
}

/// What one family of a Service's port claims.
pub(crate) fn claims<'a>(
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    rules: &'a NodeRules,
    config: &'a ProxyConfig,
) -> impl Iterator<Item = (Frontend, FrontendKind)> + 'a {
    let external_ips: &[IpAddr] = if config.external_ips { &service.external_ips } else { &[] };
    let cluster = cluster_ips(service, rules).map(|addr| (addr, FrontendKind::ClusterIp));
    let balancer = service.load_balancer_ips.iter().map(|addr| (*addr, FrontendKind::LoadBalancer));
    let external = external_ips.iter().map(|addr| (*addr, FrontendKind::ExternalIp));
    let at_addresses = cluster.chain(balancer).chain(external).filter(move |(addr, _)| Family::of(*addr) == family);
    let at_addresses =
        at_addresses.map(|(addr, kind)| (Frontend { addr, port: port.port, protocol: port.protocol }, kind));
    let at_node = port.node_port.map(|number| Frontend::node_port(family, number, port.protocol));
    at_addresses.chain(at_node.map(|frontend| (frontend, FrontendKind::NodePort)))
}

/// Every claim on every frontend.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Claims {
    /// Sorted, never empty.
    by_frontend: Table<Frontend, Vec<Claim>>,
    /// The frontends with more than one claim.
    contested: BTreeSet<Frontend>,
    /// Frontends at addresses of the node: each takes its address away from a NodePort of its number.
    at_node: BTreeSet<(Protocol, Port, IpAddr)>,
    /// Those of them that do.
    shadowing: BTreeSet<Frontend>,
}

impl Claims {
    /// The claim that holds a frontend.
    pub(crate) fn first(&self, frontend: &Frontend) -> Option<&Claim> {
        self.by_frontend.get(frontend)?.first()
    }

    /// The key that holds a frontend.
    pub(crate) fn holder(&self, frontend: &Frontend) -> Option<&ServiceKey> {
        Some(&self.first(frontend)?.key)
    }

    /// Every frontend that is claimed, in order.
    pub(crate) fn frontends(&self) -> Vec<Frontend> {
        self.by_frontend.sorted().into_iter().map(|(frontend, _)| *frontend).collect()
    }

    /// Adds a claim; one that stands already changes nothing. `rules` say which addresses are the node's.
    pub(crate) fn place(&mut self, frontend: Frontend, claim: Claim, rules: &NodeRules) {
        let claims = self.by_frontend.get_or_default(frontend);
        if let Err(at) = claims.binary_search(&claim) {
            // Nearly every frontend has one claim; a Vec grows to four at its first push.
            claims.reserve_exact(1);
            claims.insert(at, claim);
        }
        if claims.len() > 1 {
            self.contested.insert(frontend);
        }
        if rules.is_own(frontend.addr) {
            self.at_node.insert((frontend.protocol, frontend.port, frontend.addr));
        }
        self.note_shadows(&frontend);
    }

    /// Takes a claim back.
    pub(crate) fn withdraw(&mut self, frontend: &Frontend, claim: &Claim) {
        let Some(claims) = self.by_frontend.get_mut(frontend) else { return };
        if let Ok(at) = claims.binary_search(claim) {
            claims.remove(at);
        }
        if claims.len() < 2 {
            self.contested.remove(frontend);
        }
        if claims.is_empty() {
            self.by_frontend.remove(frontend);
            self.note_shadows(frontend);
            self.at_node.remove(&(frontend.protocol, frontend.port, frontend.addr));
        }
    }

    /// Notes which frontends of this number, one for a frontend at an address and any for a NodePort, take an address away
    /// from a NodePort.
    fn note_shadows(&mut self, frontend: &Frontend) {
        let Frontend { addr, port, protocol } = *frontend;
        let (first, last) = match frontend.is_node_port() {
            true => (Family::V4.wildcard(), LAST),
            false => (addr, addr),
        };
        for (protocol, port, addr) in self.at_node.range((protocol, port, first)..=(protocol, port, last)) {
            let exact = Frontend { addr: *addr, port: *port, protocol: *protocol };
            let claimed = |frontend| self.by_frontend.get(frontend).is_some();
            match claimed(&exact) && claimed(&exact.at_any_address()) {
                true => self.shadowing.insert(exact),
                false => self.shadowing.remove(&exact),
            };
        }
    }

    /// The Services that lost frontends, by name, each with the first one.
    pub(crate) fn losers(&self) -> BTreeMap<&ServiceName, Lost<'_>> {
        let mut losers: BTreeMap<&ServiceName, Lost<'_>> = BTreeMap::new();
        for (frontend, winner, loser) in self.lost() {
            let lost = losers.entry(&loser.key.port.service);
            let lost = lost.and_modify(|lost| lost.more += 1);
            lost.or_insert(Lost { frontend, winner, loser, more: 0 });
        }
        losers
    }

    /// Every claim that lost: the frontend, the claim that holds it, the one that does not. A Service port that claims one
    /// address twice, as LoadBalancer and as external IP, loses nothing.
    fn lost(&self) -> impl Iterator<Item = (&Frontend, &Claim, &Claim)> {
        let contested = self.contested.iter().flat_map(|frontend| {
            let claims = self.by_frontend.get(frontend).map_or(&[][..], Vec::as_slice);
            let (winner, losers) = claims.split_first().expect("invariant: a contested frontend has claims");
            losers.iter().map(move |loser| (frontend, winner, loser))
        });
        let shadowed = self.shadowing.iter().filter_map(|exact| {
            let (winner, loser) = (self.first(exact)?, self.first(&exact.at_any_address())?);
            Some((exact, winner, loser))
        });
        contested.chain(shadowed).filter(|(_, winner, loser)| winner.key != loser.key)
    }
}

/// What a Service lost to others.
pub(crate) struct Lost<'a> {
    frontend: &'a Frontend,
    winner: &'a Claim,
    loser: &'a Claim,
    /// How many frontends more.
    more: u32,
}

impl Lost<'_> {
    /// The diagnostic of a Service that was read from `origin`.
    pub(crate) fn diagnostic(&self, origin: Option<Arc<str>>) -> Diagnostic {
        let (held, lost) = (&self.winner.key.port, &self.loser.key.port);
        let more = match self.more {
            0 => String::new(),
            more => format!(" ({more} more of its frontends are lost, too)"),
        };
        let (what, field) = match self.loser.kind {
            FrontendKind::ClusterIp => ("", "spec.clusterIPs"),
            FrontendKind::NodePort => ("NodePort ", "spec.ports"),
            FrontendKind::LoadBalancer => ("LoadBalancer ", "status.loadBalancer.ingress"),
            FrontendKind::ExternalIp => ("external IP ", "spec.externalIPs"),
        };
        Diagnostic {
            object: ObjectRef::new("Service", &lost.service.to_string()),
            field: field.to_owned(),
            problem: Problem::Conflict,
            message: format!(
                "{what}{} of port {:?} leads to Service {held}, whose claim comes first{more}; give one of the two \
                 another address or port",
                self.frontend, &*lost.port
            ),
            origin,
        }
    }
}
