//! The reference: what must happen to the first packet of a flow.
//!
//! Every dataplane, the tests and `sheave explain` are held against [`decide`]. It looks at every Service for each question
//! and remembers nothing, so that it can be read beside the rules; the dataplanes do the same with a lookup.
use crate::claim::{Claim, claims};
use crate::config::ProxyConfig;
use crate::index::Index;
use crate::name::{ServiceKey, ServicePortName};
use crate::net::{Backend, Family, Frontend, Port, Protocol};
use crate::object::{Affinity, Service, ServicePort, TrafficPolicy};
use crate::rules::NodeRules;
use crate::select::{Candidates, Exclusion};
use crate::serving::{FrontendKind, Sources};
use crate::treatment::{Source, Treatment, treat};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The first packet of a flow, as it comes to this node or leaves it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// What is above IP.
    pub transport: Transport,
    /// The device it comes in by; `None` for what the node sends, and where it is not known.
    pub interface: Option<Arc<str>>,
}

/// What is above IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A protocol with ports, and the destination port.
    Port(Protocol, u16),
    /// An ICMP or ICMPv6 echo request.
    Echo,
}

/// What must happen to the flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// It goes to one of the endpoints.
    Forward,
    /// It is answered with a TCP reset or ICMP unreachable.
    Reject,
    /// It is thrown away.
    Drop,
    /// It is not ours: left as it is.
    Pass,
}

impl Verdict {
    /// Lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reject => "reject",
            Self::Drop => "drop",
            Self::Pass => "pass",
        }
    }
}

/// The rules of the semantics that can fix a verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the semantics say what each rule is")]
pub enum Rule {
    W1,
    W2,
    W3,
    A2,
    A3,
    A5,
    A6,
    A8,
    A10,
    A11,
    A12,
    A15,
    A16,
    E1,
    E2,
    E4,
    E5,
    E6,
    E7,
    E11,
    R8,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which flows have their source replaced by an address of this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Masquerade {
    /// None.
    Never,
    /// Each.
    Always,
    /// Those that pick the client itself (R4), which is one of the endpoints.
    Hairpin,
}

impl Masquerade {
    /// Lower-case name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Hairpin => "hairpin",
        }
    }
}

/// What must happen to a flow, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What must happen.
    pub verdict: Verdict,
    /// The rule that fixed it.
    pub rule: Rule,
    /// Whose frontend it is; without a port's name where the Service has no such port (A2). `None` on pass, and where no
    /// Service is concerned (A3).
    pub service: Option<ServicePortName>,
    /// What was dialled; `None` on pass, and for what has no port.
    pub frontend: Option<Frontend>,
    /// The endpoints a new flow may go to, by address, then port. Empty unless forwarded.
    pub endpoints: Vec<Backend>,
    /// Which flows are masqueraded.
    pub masquerade: Masquerade,
    /// Whether a client's next flow goes where this one went (E10).
    pub affinity: Option<Affinity>,
    /// The other endpoints of the Service port, each with what keeps it out of the set.
    pub excluded: Vec<(Backend, Exclusion)>,
    /// Why, as sentences for a reader.
    pub why: Vec<String>,
}

/// Decides the first packet of a flow on the node of the index.
#[must_use]
pub fn decide(packet: &Packet, index: &Index, config: &ProxyConfig) -> Decision {
    let node_local = node_local(index);
    let rules = &NodeRules::of(config, index, &node_local);
    let concerned = &index.services_where(|service| concerns(service, packet));
    let question = Question { packet, index, config, rules, node_local: &node_local, concerned };
    question.exact().or_else(|| question.node_port()).map_or_else(|| question.elsewhere(), |held| question.held(&held))
}

/// The ClusterIPs that are addresses of the node (A12).
fn node_local(index: &Index) -> BTreeSet<IpAddr> {
    let own: BTreeSet<IpAddr> = index.own_addresses().collect();
    let services = index.services_where(|service| service.cluster_ips.iter().any(|addr| own.contains(addr)));
    services.into_iter().flat_map(|service| &service.cluster_ips).filter(|addr| own.contains(addr)).copied().collect()
}

/// Whether a Service can have any part in a packet: it has the address, by whatever right and of whatever use, or its NodePort is the port.
#[must_use]
pub fn concerns(service: &Service, packet: &Packet) -> bool {
    let has_node_port =
        |number| service.ports.iter().filter_map(|port| port.node_port).any(|port| port.get() == number);
    let at_node = matches!(packet.transport, Transport::Port(_, number) if has_node_port(number));
    at_node || service.addresses().chain(service.proxied_ips.iter().copied()).any(|addr| addr == packet.destination)
}

struct Question<'a> {
    packet: &'a Packet,
    index: &'a Index,
    config: &'a ProxyConfig,
    rules: &'a NodeRules,
    node_local: &'a BTreeSet<IpAddr>,
    /// Every Service that can have a part in the packet, by name.
    concerned: &'a [&'a Service],
}

/// A frontend with the claims on it, the one that holds it first (X1).
struct Held<'a> {
    claims: Vec<(Claim, &'a Service)>,
}

impl<'a> Question<'a> {
    fn services(&self) -> impl Iterator<Item = &'a Service> {
        self.concerned.iter().copied()
    }

    /// What was dialled, for a protocol with ports.
    fn dialled(&self) -> Option<Frontend> {
        let Transport::Port(protocol, port) = self.packet.transport else { return None };
        Some(Frontend { addr: self.packet.destination, port: Port::new(port)?, protocol })
    }

    /// The frontend at exactly the destination (A1, A7, A10); it beats a NodePort (X1). Nobody has the wildcard address,
    /// which stands for NodePorts here, and nobody a ClusterIP that is the node's own (A12).
    fn exact(&self) -> Option<Held<'a>> {
        let possible = |dialled: &Frontend| !dialled.is_node_port() && !self.node_local.contains(&dialled.addr);
        self.dialled().filter(possible).and_then(|dialled| self.held_at(dialled))
    }

    /// The NodePort, at an address that accepts them (A4, A5). Loopback is the node's own business (A6).
    fn node_port(&self) -> Option<Held<'a>> {
        let Packet { source, destination, .. } = self.packet;
        let from_itself = !destination.is_loopback() || self.rules.is_own(*source);
        let accepted = from_itself && self.rules.node_port_addrs.contains(destination);
        accepted.then(|| self.held_at(self.dialled()?.at_any_address())).flatten()
    }

    fn held_at(&self, frontend: Frontend) -> Option<Held<'a>> {
        let mut found = Vec::new();
        for service in self.services() {
            for (key, port) in service.keys() {
                let here = claims(service, port, key.family, self.config).filter(|(f, _)| *f == frontend);
                found.extend(here.map(|(_, kind)| {
                    (Claim { kind, created_unix_s: service.created_unix_s, key: key.clone() }, service)
                }));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        (!found.is_empty()).then_some(Held { claims: found })
    }

    /// A new flow to a frontend.
    fn held(&self, held: &Held<'_>) -> Decision {
        let (Claim { kind, key, .. }, service) = &held.claims[0];
        let mut decision = self.of(key.port.clone());
        decision.why = self.about(held);
        let node = self.index.primary_address(key.family);
        let sources = Sources::of(service, key.family, node);
        if *kind == FrontendKind::LoadBalancer
            && let Some(sources) = sources.filter(|s| !s.allow(self.packet.source))
        {
            let ranges: Vec<_> = sources.ranges.iter().map(ToString::to_string).collect();
            decision.why.push(format!(
                "{} is outside its loadBalancerSourceRanges {}: dropped",
                self.packet.source,
                ranges.join(", ")
            ));
            return Decision { verdict: Verdict::Drop, rule: Rule::R8, ..decision };
        }
        self.pick(*kind, key, service, decision)
    }

    /// Picks the set, by policy and source.
    fn pick(&self, kind: FrontendKind, key: &ServiceKey, service: &Service, mut decision: Decision) -> Decision {
        let policy = if kind == FrontendKind::ClusterIp { service.internal_policy } else { service.external_policy };
        let source = self.source();
        let Treatment { set, masquerade } = treat(kind, policy, source, self.rules, key.family);
        let vantage = self.index.vantage();
        let candidates = Candidates::of(self.index.slices(&service.name), &key.port, key.family, vantage);
        let usable = !candidates.choose(TrafficPolicy::Cluster, vantage).picked.is_empty();
        let choice = candidates.choose(set, vantage);
        let near = choice.excluded.iter().any(|(_, e)| matches!(e, Exclusion::OtherNode | Exclusion::OtherZone));
        let rule = match (kind, policy, set) {
            _ if !usable => Rule::E11,
            (FrontendKind::ClusterIp, TrafficPolicy::Local, _) => Rule::E4,
            (_, TrafficPolicy::Local, TrafficPolicy::Local) => Rule::E5,
            (_, TrafficPolicy::Local, TrafficPolicy::Cluster) => Rule::E6,
            (_, TrafficPolicy::Cluster, _) if near => Rule::E7,
            (_, TrafficPolicy::Cluster, _) => Rule::E1,
        };
        decision.why.extend(because(rule, choice.picked.is_empty(), source));
        let verdict = match (usable, choice.picked.is_empty()) {
            (false, _) => Verdict::Reject,
            (true, true) => Verdict::Drop,
            (true, false) => Verdict::Forward,
        };
        let forward = verdict == Verdict::Forward;
        let hairpin = choice.picked.iter().any(|backend| backend.addr == self.packet.source);
        let masquerade = match (forward, masquerade, hairpin) {
            (true, true, _) => Masquerade::Always,
            (true, false, true) => Masquerade::Hairpin,
            _ => Masquerade::Never,
        };
        let affinity = service.affinity.filter(|_| forward);
        Decision {
            verdict,
            rule,
            endpoints: choice.picked,
            masquerade,
            affinity,
            excluded: choice.excluded,
            ..decision
        }
    }

    fn source(&self) -> Source {
        Source::of(self.rules, self.packet.source, self.packet.interface.as_deref())
    }

    /// No frontend: an address of which every port is ours, or not ours at all.
    fn elsewhere(&self) -> Decision {
        let destination = self.packet.destination;
        if self.rules.is_own(destination) {
            return self.at_the_node();
        }
        if let Some(owner) = self.services().find(|service| service.cluster_ips.contains(&destination)) {
            let what = match self.packet.transport {
                Transport::Port(protocol, port) => format!("no port {port}/{protocol}"),
                Transport::Echo => "no answer to an echo".to_owned(),
            };
            let why = format!("{destination} is the ClusterIP of {}, which has {what}: rejected", owner.name);
            let protocol = self.dialled().map_or(Protocol::Tcp, |dialled| dialled.protocol);
            let name = ServicePortName { service: owner.name.clone(), port: "".into(), protocol };
            return Decision { verdict: Verdict::Reject, rule: Rule::A2, why: vec![why], ..self.of(name) };
        }
        if let Some(cidr) = self.rules.service_cidrs.iter().find(|cidr| cidr.contains(&destination)) {
            let why = format!("{destination} is inside the ServiceCIDR {cidr} and no Service has it: dropped");
            let frontend = self.dialled();
            return Decision { verdict: Verdict::Drop, rule: Rule::A3, frontend, why: vec![why], ..Decision::pass() };
        }
        self.unclaimed()
    }

    /// The node's own address, without a frontend.
    fn at_the_node(&self) -> Decision {
        let destination = self.packet.destination;
        if let Some(owner) = self.services().find(|service| service.cluster_ips.contains(&destination)) {
            let why = format!(
                "{destination} is the ClusterIP of {} and an address of this node, as node-local DNS has it: not translated",
                owner.name
            );
            return Decision { rule: Rule::A12, why: vec![why], ..Decision::pass() };
        }
        let node_port = self.dialled().and_then(|dialled| self.held_at(dialled.at_any_address()));
        let Some(held) = node_port else { return self.unclaimed() };
        let port = &held.claims[0].0.key.port;
        let (rule, why) = match destination.is_loopback() && self.rules.node_port_addrs.contains(&destination) {
            true => (Rule::A6, "accepts NodePorts from the node itself only"),
            false => (Rule::A5, "is not among the addresses that accept NodePorts (nodePortAddresses)"),
        };
        Decision {
            rule,
            why: vec![format!("this is the NodePort of {port}, but {destination} {why}")],
            ..Decision::pass()
        }
    }

    /// Not ours.
    fn unclaimed(&self) -> Decision {
        let destination = self.packet.destination;
        let pass = |rule, why| Decision { rule, why: vec![why], ..Decision::pass() };
        let with = |addrs: fn(&Service) -> &[IpAddr]| self.services().find(|s| addrs(s).contains(&destination));
        if let Some(owner) = with(|service| &service.external_ips).filter(|_| !self.config.external_ips) {
            let why = format!("{destination} is an external IP of {}, and external IPs are turned off", owner.name);
            return pass(Rule::A10, why);
        }
        if let Some((owner, what)) = self.gated() {
            let family = Family::of(destination);
            let why =
                format!("{what} of {}, which has no {family} ClusterIP: nothing of that family is served", owner.name);
            return pass(Rule::A16, why);
        }
        if let Some(owner) =
            with(|service| &service.load_balancer_ips).or_else(|| with(|service| &service.external_ips))
        {
            let what = match self.packet.transport {
                Transport::Port(..) => "has no such port",
                Transport::Echo => "answers no echo by itself",
            };
            return pass(Rule::A11, format!("{destination} is an address of {}, which {what}: left alone", owner.name));
        }
        if let Some(owner) = with(|service| &service.proxied_ips) {
            let why =
                format!("{destination} is an address of {} with ipMode Proxy: left to the load balancer", owner.name);
            return pass(Rule::A8, why);
        }
        let at = match self.packet.transport {
            Transport::Port(protocol, port) => format!("{}/{protocol}", SocketAddr::new(destination, port)),
            Transport::Echo => destination.to_string(),
        };
        pass(Rule::A15, format!("no Service has {at}: not ours, left alone"))
    }

    /// A Service that would have what was dialled, if it had a ClusterIP of the family (A16).
    fn gated(&self) -> Option<(&'a Service, String)> {
        let Frontend { addr, port, protocol } = self.dialled()?;
        let mut gated = self.services().filter(|service| !service.has_family(Family::of(addr)));
        gated.find_map(|service| {
            let at_address = service.load_balancer_ips.contains(&addr) || service.external_ips.contains(&addr);
            let named = |number: fn(&ServicePort) -> Option<Port>| {
                service.ports.iter().any(|p| p.protocol == protocol && number(p) == Some(port))
            };
            if at_address && named(|port| Some(port.port)) {
                Some((service, format!("{addr} is an address")))
            } else if self.rules.is_own(addr) && named(|port| port.node_port) {
                Some((service, "this is the NodePort".to_owned()))
            } else {
                None
            }
        })
    }

    fn of(&self, service: ServicePortName) -> Decision {
        Decision { service: Some(service), frontend: self.dialled(), ..Decision::pass() }
    }

    /// What was dialled, who else would have it, and where it comes from.
    fn about(&self, held: &Held<'_>) -> Vec<String> {
        let (Claim { kind, key, .. }, _) = &held.claims[0];
        let mut about = vec![match kind {
            FrontendKind::NodePort => format!("this is the NodePort of {}", key.port),
            FrontendKind::LoadBalancer => {
                format!("{} is a LoadBalancer address of {}", self.packet.destination, key.port)
            }
            FrontendKind::ExternalIp => format!("{} is an external IP of {}", self.packet.destination, key.port),
            FrontendKind::ClusterIp => format!("{} is a ClusterIP of {}", self.packet.destination, key.port),
        }];
        let losers: BTreeSet<_> =
            held.claims.iter().map(|(claim, _)| &claim.key).filter(|loser| *loser != key).collect();
        about.extend(losers.into_iter().map(|loser| format!("{} claims it as well, but comes later (X1)", loser.port)));
        about
    }
}

/// Why a set is what it is.
fn because(rule: Rule, empty: bool, source: Source) -> Option<String> {
    let why = match (rule, empty) {
        (Rule::E11, _) => "none of its endpoints is usable anywhere: rejected, so that the client fails at once",
        (Rule::E4, true) => "internalTrafficPolicy is Local and no usable endpoint is on this node: dropped",
        (Rule::E4, false) => "internalTrafficPolicy is Local: only endpoints on this node",
        (Rule::E5, true) => {
            "externalTrafficPolicy is Local and no usable endpoint is on this node: dropped, the client tries another node"
        }
        (Rule::E5, false) => {
            "externalTrafficPolicy is Local: only endpoints on this node, and the client's address is kept"
        }
        (Rule::E6, _) if source == Source::Node => {
            "externalTrafficPolicy is Local, but the node itself may go to all endpoints"
        }
        (Rule::E6, _) => "externalTrafficPolicy is Local, but a pod of this node may go to all endpoints",
        (Rule::E7, _) => "each ready endpoint has a topology hint: only those meant for this node or zone",
        _ => return None,
    };
    Some(why.to_owned())
}

impl Decision {
    /// A packet that no rule claims (A15).
    #[must_use]
    pub fn pass() -> Self {
        Self {
            verdict: Verdict::Pass,
            rule: Rule::A15,
            service: None,
            frontend: None,
            endpoints: Vec::new(),
            masquerade: Masquerade::Never,
            affinity: None,
            excluded: Vec::new(),
            why: Vec::new(),
        }
    }
}
