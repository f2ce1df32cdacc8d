//! Which frontends a Service claims (A1, A4, A7, A10), and who holds one that several claim (X1, I8).
use crate::config::ProxyConfig;
use crate::diagnostic::{Diagnostic, ObjectRef, Problem};
use crate::name::{ServiceKey, ServiceName};
use crate::net::{Family, Frontend, Port, Protocol};
use crate::object::{Service, ServicePort};
use crate::rules::NodeRules;
use crate::serving::FrontendKind;
use crate::table::Table;
use std::collections::BTreeSet;
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

/// What one family of a Service's port claims.
pub(crate) fn claims<'a>(
    service: &'a Service,
    port: &'a ServicePort,
    family: Family,
    config: &'a ProxyConfig,
) -> impl Iterator<Item = (Frontend, FrontendKind)> + 'a {
    let external_ips: &[IpAddr] = if config.external_ips { &service.external_ips } else { &[] };
    let cluster = service.cluster_ips.iter().map(|addr| (*addr, FrontendKind::ClusterIp));
    let balancer = service.load_balancer_ips.iter().map(|addr| (*addr, FrontendKind::LoadBalancer));
    let external = external_ips.iter().map(|addr| (*addr, FrontendKind::ExternalIp));
    let at_addresses = cluster.chain(balancer).chain(external).filter(move |(addr, _)| Family::of(*addr) == family);
    let at_addresses =
        at_addresses.map(|(addr, kind)| (Frontend { addr, port: port.port, protocol: port.protocol }, kind));
    let at_node = port.node_port.map(|number| Frontend::node_port(family, number, port.protocol));
    at_addresses.chain(at_node.map(|frontend| (frontend, FrontendKind::NodePort)))
}

/// Every claim on every frontend, and who lost what.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Claims {
    /// Sorted, never empty.
    by_frontend: Table<Frontend, Vec<Claim>>,
    /// Frontends at addresses of the node: each takes its address away from a NodePort of its number. True as long as every
    /// Service that has an address which becomes the node's, or no longer is, has its claims placed again.
    at_node: BTreeSet<(Protocol, Port, IpAddr)>,
    /// ClusterIPs that are addresses of the node: nobody holds a frontend there (A12).
    node_local: BTreeSet<IpAddr>,
    /// The frontends each Service claims in vain, because another one or another port comes first.
    lost: Table<ServiceName, BTreeSet<Frontend>>,
}

impl Claims {
    /// The claim that holds a frontend.
    pub(crate) fn first(&self, frontend: &Frontend) -> Option<&Claim> {
        self.by_frontend.get(frontend)?.first().filter(|_| !self.is_node_local(frontend.addr))
    }

    /// The key that holds a frontend.
    pub(crate) fn holder(&self, frontend: &Frontend) -> Option<&ServiceKey> {
        Some(&self.first(frontend)?.key)
    }

    /// Every frontend that somebody holds, in order.
    pub(crate) fn frontends(&self) -> Vec<Frontend> {
        let claimed = self.by_frontend.sorted().into_iter().map(|(frontend, _)| *frontend);
        claimed.filter(|frontend| !self.is_node_local(frontend.addr)).collect()
    }

    /// Whether an address is a ClusterIP and the node's own (A12).
    pub(crate) fn is_node_local(&self, addr: IpAddr) -> bool {
        self.node_local.contains(&addr)
    }

    /// The ClusterIPs that are addresses of the node (A12).
    pub(crate) fn node_local(&self) -> &BTreeSet<IpAddr> {
        &self.node_local
    }

    /// Says whether an address is a ClusterIP and the node's own (A12).
    pub(crate) fn set_node_local(&mut self, addr: IpAddr, local: bool) {
        match local {
            true => self.node_local.insert(addr),
            false => self.node_local.remove(&addr),
        };
    }

    /// The frontends claimed at an address of the node.
    pub(crate) fn at(&self, addr: IpAddr) -> Vec<Frontend> {
        let here = self.at_node.iter().filter(|(_, _, at)| *at == addr);
        here.map(|(protocol, port, addr)| Frontend { addr: *addr, port: *port, protocol: *protocol }).collect()
    }

    /// Adds a claim; one that stands already changes nothing. `rules` say which addresses are the node's. Returns whether
    /// anybody lost anything, before or now.
    pub(crate) fn place(&mut self, frontend: Frontend, claim: Claim, rules: &NodeRules) -> bool {
        let mut contested = self.forget_losses(&frontend);
        let claims = self.by_frontend.get_or_default(frontend);
        if let Err(at) = claims.binary_search(&claim) {
            // Nearly every frontend has one claim; a Vec grows to four at its first push.
            claims.reserve_exact(1);
            claims.insert(at, claim);
        }
        if rules.is_own(frontend.addr) {
            self.at_node.insert((frontend.protocol, frontend.port, frontend.addr));
        }
        contested |= self.note_losses(&frontend);
        contested
    }

    /// Takes a claim back. Returns whether anybody lost anything, before or now.
    pub(crate) fn withdraw(&mut self, frontend: &Frontend, claim: &Claim) -> bool {
        let mut contested = self.forget_losses(frontend);
        let Some(claims) = self.by_frontend.get_mut(frontend) else { return contested };
        if let Ok(at) = claims.binary_search(claim) {
            claims.remove(at);
        }
        if claims.is_empty() {
            self.by_frontend.remove(frontend);
            self.at_node.remove(&(frontend.protocol, frontend.port, frontend.addr));
        }
        contested |= self.note_losses(frontend);
        contested
    }

    fn forget_losses(&mut self, frontend: &Frontend) -> bool {
        let losses = self.losses_by(frontend);
        for (at, loser) in &losses {
            if let Some(lost) = self.lost.get_mut(loser) {
                lost.remove(at);
                if lost.is_empty() {
                    self.lost.remove(loser);
                }
            }
        }
        !losses.is_empty()
    }

    fn note_losses(&mut self, frontend: &Frontend) -> bool {
        let losses = self.losses_by(frontend);
        let any = !losses.is_empty();
        for (at, loser) in losses {
            self.lost.get_or_default(loser).insert(at);
        }
        any
    }

    /// Who loses where because of the claims on a frontend: there, and for a NodePort at each address of the node where
    /// somebody claims its number exactly.
    fn losses_by(&self, frontend: &Frontend) -> Vec<(Frontend, ServiceName)> {
        let numbered = |addr| (frontend.protocol, frontend.port, addr);
        let at_node =
            frontend.is_node_port().then(|| self.at_node.range(numbered(Family::V4.wildcard())..=numbered(LAST)));
        let exact = at_node.into_iter().flatten().map(|(_, _, addr)| Frontend { addr: *addr, ..*frontend });
        let places = exact.filter(|exact| exact.at_any_address() == *frontend).chain([*frontend]);
        let losers = |place: Frontend| {
            let (winner, losers) = self.contest(place)?;
            let lost = losers.filter(move |loser| loser.key != winner.key);
            Some(lost.map(move |loser| (place, loser.key.port.service.clone())))
        };
        places.filter_map(losers).flatten().collect()
    }

    /// The claim that comes first at a place, and the others; at an address of the node with the one that has the NodePort of
    /// that number, which an exact address beats (X1).
    fn contest(&self, place: Frontend) -> Option<(&Claim, impl Iterator<Item = &Claim>)> {
        let (winner, others) = self.by_frontend.get(&place)?.split_first()?;
        let at_node = self.at_node.contains(&(place.protocol, place.port, place.addr));
        let node_port = at_node.then(|| self.first(&place.at_any_address())).flatten();
        Some((winner, others.iter().chain(node_port)))
    }

    /// What each Service lost, the first frontend of each, by name.
    pub(crate) fn losers(&self) -> Vec<(&ServiceName, Lost<'_>)> {
        self.lost.sorted().into_iter().filter_map(|(name, places)| Some((name, self.lost_at(name, places)?))).collect()
    }

    /// What a Service lost, the first frontend of it.
    pub(crate) fn lost(&self, name: &ServiceName) -> Option<Lost<'_>> {
        self.lost_at(name, self.lost.get(name)?)
    }

    fn lost_at(&self, name: &ServiceName, places: &BTreeSet<Frontend>) -> Option<Lost<'_>> {
        let frontend = *places.first()?;
        let (winner, mut others) = self.contest(frontend)?;
        let loser = others.find(|other| other.key.port.service == *name && other.key != winner.key)?;
        Some(Lost { frontend, winner, loser, more: places.len() - 1 })
    }
}

/// What a Service lost to others.
pub(crate) struct Lost<'a> {
    frontend: Frontend,
    winner: &'a Claim,
    loser: &'a Claim,
    /// How many frontends more.
    more: usize,
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
        let port = match &*lost.port {
            "" => String::new(),
            port => format!(" of port {port:?}"),
        };
        Diagnostic {
            object: ObjectRef::new("Service", &lost.service.to_string()),
            field: field.to_owned(),
            problem: Problem::Conflict,
            message: format!(
                "{what}{}{port} leads to Service {held}, whose claim comes first{more}; give one of the two another \
                 address or port",
                self.frontend
            ),
            origin,
        }
    }
}
