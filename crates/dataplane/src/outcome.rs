//! What a [`Fake`] does to the first packet of a flow, from what it holds alone: no objects, no selection, a few lookups, as
//! a kernel dataplane has it. Tests hold it against the reference [`decide`](sheave_core::decide()).
use crate::Fake;
use sheave_core::decide::{Masquerade, Packet, Transport, Verdict};
use sheave_core::treatment::{Source, treat};
use sheave_core::{Affinity, Backend, Family, Frontend, FrontendKind, Port, Serving};

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What happens to it.
    pub verdict: Verdict,
    /// Where it may go, by address, then port. Empty unless forwarded.
    pub endpoints: Vec<Backend>,
    /// Which flows are masqueraded.
    pub masquerade: Masquerade,
    /// Whether a client's next flow goes where this one went (E10).
    pub affinity: Option<Affinity>,
}

impl Outcome {
    fn of(verdict: Verdict) -> Self {
        Self { verdict, endpoints: Vec::new(), masquerade: Masquerade::Never, affinity: None }
    }
}

impl Fake {
    /// What becomes of the first packet of a flow.
    #[must_use]
    pub fn decide(&self, packet: &Packet) -> Outcome {
        match self.find(packet) {
            Some((kind, serving)) => self.serve_flow(packet, kind, serving),
            None => Outcome::of(self.without_frontend(packet)),
        }
    }

    /// The exact frontend, else the NodePort, at an address that accepts them (X1, A4 to A6).
    fn find(&self, packet: &Packet) -> Option<(FrontendKind, &Serving)> {
        let Transport::Port(protocol, port) = packet.transport else { return None };
        let exact = Frontend { addr: packet.destination, port: Port::new(port)?, protocol };
        let held = |frontend: &Frontend| {
            let serving = self.services.get(self.frontends.get(frontend)?)?;
            Some((*serving.frontends.get(frontend)?, serving))
        };
        let destination = packet.destination;
        let from_itself = !destination.is_loopback() || self.rules.is_own(packet.source);
        let accepted = from_itself && self.rules.node_port_addrs.contains(&destination);
        let dialled = Some(&exact).filter(|exact| !exact.is_node_port());
        dialled.and_then(held).or_else(|| accepted.then(|| held(&exact.at_any_address())).flatten())
    }

    fn serve_flow(&self, packet: &Packet, kind: FrontendKind, serving: &Serving) -> Outcome {
        let Packet { source, destination, .. } = *packet;
        let restricted = kind == FrontendKind::LoadBalancer;
        if restricted && serving.sources.as_ref().is_some_and(|sources| !sources.allow(source)) {
            return Outcome::of(Verdict::Drop);
        }
        let family = Family::of(destination);
        let from = Source::of(&self.rules, source, packet.interface.as_deref());
        let treatment = treat(kind, serving.policy(kind), from, &self.rules, family);
        let endpoints: Vec<Backend> = serving.set(treatment.set).keys().copied().collect();
        match (endpoints.is_empty(), serving.cluster.is_empty()) {
            (true, true) => return Outcome::of(Verdict::Reject),
            (true, false) => return Outcome::of(Verdict::Drop),
            (false, _) => {}
        }
        let hairpin = endpoints.iter().any(|backend| backend.addr == source);
        let masquerade = match (treatment.masquerade, hairpin) {
            (true, _) => Masquerade::Always,
            (false, true) => Masquerade::Hairpin,
            (false, false) => Masquerade::Never,
        };
        Outcome { verdict: Verdict::Forward, endpoints, masquerade, affinity: serving.affinity }
    }

    /// The node's own addresses are its own; a VIP is all ours (A2), a ServiceCIDR has nothing else (A3).
    fn without_frontend(&self, packet: &Packet) -> Verdict {
        let destination = packet.destination;
        if self.rules.is_own(destination) {
            Verdict::Pass
        } else if self.vips.contains(&destination) {
            Verdict::Reject
        } else if self.rules.service_cidrs.iter().any(|cidr| cidr.contains(&destination)) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}
