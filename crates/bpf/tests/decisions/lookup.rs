//! The decision of the kernel programs, said a second time over what the maps hold: the same lookups in the same order.
use sheave_abi::{ServiceId, SetWord};
use sheave_bpf::contents::Contents;
use sheave_bpf::ops::{AddrUse, ServiceEntry};
use sheave_core::decide::{Masquerade, Packet, Transport, Verdict};
use sheave_core::{Backend, Family, Frontend, FrontendKind, Port, TrafficPolicy};
use sheave_dataplane::Outcome;
use std::net::IpAddr;

/// Where a packet goes by its destination.
enum Dialled {
    Frontend(ServiceId, FrontendKind),
    /// The node's own address, and no frontend.
    Own,
    /// Every port of it is claimed, and this one is not had (A2).
    Claimed,
    Nothing,
}

/// What becomes of the first packet of a flow.
pub(crate) fn outcome(maps: &Contents, packet: &Packet) -> Outcome {
    let alone = |verdict| Outcome { verdict, endpoints: Vec::new(), masquerade: Masquerade::Never, affinity: None };
    match dialled(maps, packet) {
        Dialled::Frontend(service, kind) => forward(maps, packet, (service, kind)).unwrap_or_else(alone),
        Dialled::Own => alone(Verdict::Pass),
        Dialled::Claimed => alone(Verdict::Reject),
        Dialled::Nothing if in_ranges(maps, None, packet.destination) => alone(Verdict::Drop),
        Dialled::Nothing => alone(Verdict::Pass),
    }
}

fn dialled(maps: &Contents, packet: &Packet) -> Dialled {
    let Packet { destination, source, transport, .. } = *packet;
    let found = |addr| {
        let Transport::Port(protocol, port) = transport else { return None };
        maps.frontends.get(&Frontend { addr, port: Port::new(port)?, protocol }).copied()
    };
    let AddrUse { own, node_ports } = maps.addrs.get(&destination).copied().unwrap_or_default();
    // At loopback NodePorts are the socket entrance's: what comes from elsewhere never gets there (A6).
    let node_ports = node_ports && (!destination.is_loopback() || is_own(maps, source));
    // The wildcard is never looked up as a destination: it is the key of NodePorts.
    let exact = if destination.is_unspecified() { None } else { found(destination) };
    match exact.or_else(|| if node_ports { found(Family::of(destination).wildcard()) } else { None }) {
        Some((service, kind)) => Dialled::Frontend(service, kind),
        None if own || destination.is_loopback() => Dialled::Own,
        None if maps.vips.contains(&destination) => Dialled::Claimed,
        None => Dialled::Nothing,
    }
}

fn forward(maps: &Contents, packet: &Packet, (id, kind): (ServiceId, FrontendKind)) -> Result<Outcome, Verdict> {
    let service = maps.services.get(&id).copied().unwrap_or_default();
    if kind == FrontendKind::LoadBalancer && service.restricted && !in_ranges(maps, Some(id), packet.source) {
        return Err(Verdict::Drop);
    }
    let family = Family::of(packet.destination);
    let (policy, masquerade) = treatment(maps, packet, kind, &service);
    let word = if policy == TrafficPolicy::Local { service.local } else { service.cluster };
    let endpoints = set(maps, id, family, word, policy);
    if endpoints.is_empty() {
        return Err(if service.cluster.count == 0 { Verdict::Reject } else { Verdict::Drop });
    }
    let hairpin = endpoints.iter().any(|backend| backend.addr == packet.source);
    let masquerade = match (masquerade, hairpin) {
        (true, _) => Masquerade::Always,
        (false, true) => Masquerade::Hairpin,
        (false, false) => Masquerade::Never,
    };
    Ok(Outcome { verdict: Verdict::Forward, endpoints, masquerade, affinity: service.affinity })
}

/// Which set, and whether the source is replaced.
fn treatment(maps: &Contents, packet: &Packet, kind: FrontendKind, service: &ServiceEntry) -> (TrafficPolicy, bool) {
    let rules = &maps.rules;
    let is_pod = rules.local_pods.matches(packet.source, packet.interface.as_deref());
    if kind == FrontendKind::ClusterIp {
        let foreign = rules.local_pods.detects(Family::of(packet.destination)) && !is_pod;
        return (service.internal, rules.masquerade_all || foreign);
    }
    match service.external {
        TrafficPolicy::Cluster => (TrafficPolicy::Cluster, true),
        TrafficPolicy::Local if is_pod => (TrafficPolicy::Cluster, false),
        TrafficPolicy::Local if is_own(maps, packet.source) => (TrafficPolicy::Cluster, true),
        TrafficPolicy::Local => (TrafficPolicy::Local, false),
    }
}

fn is_own(maps: &Contents, addr: IpAddr) -> bool {
    addr.is_loopback() || maps.addrs.get(&addr).is_some_and(|uses| uses.own)
}

fn in_ranges(maps: &Contents, service: Option<ServiceId>, addr: IpAddr) -> bool {
    maps.ranges.get(&service).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&addr)))
}

/// The backends of a set; each entry has to say for itself that it is in it, since affinity asks nobody else (E10).
fn set(maps: &Contents, id: ServiceId, family: Family, word: SetWord, policy: TrafficPolicy) -> Vec<Backend> {
    let entries = if family == Family::V4 { &maps.backends_v4 } else { &maps.backends_v6 };
    let in_set: Vec<_> = entries
        .iter()
        .filter(|(_, e)| e.service == id && if policy == TrafficPolicy::Local { e.in_local } else { e.in_cluster })
        .map(|(id, _)| *id)
        .collect();
    let slots = maps.slots.iter().skip(word.block as usize).take(word.count as usize);
    let mut ids: Vec<_> = slots.map(|slot| slot.expect("no slot of a set is empty")).collect();
    ids.sort_unstable();
    assert_eq!(ids, in_set, "the {policy} set of {id:?}");
    let mut backends: Vec<_> = ids.iter().map(|id| entries[id].backend).collect();
    backends.sort_unstable();
    backends
}
