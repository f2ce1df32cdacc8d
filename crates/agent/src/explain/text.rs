//! The answer for a reader: the verdict first, then whose it is and why, then every endpoint.
use super::question::{Asked, Lack};
use super::{Explanation, Observed, endpoints, nearest, source};
use ipnet::IpNet;
use sheave_core::decide::{Masquerade, Rule, Transport, Verdict};
use sheave_core::treatment::Source;
use sheave_core::{Decision, Desired, Family, FrontendKind, Packet, Protocol, ServiceName, TrafficPolicy};
use sheave_kube_source::Absent;
use std::net::{IpAddr, SocketAddr};

/// A label and what is said under it.
type Row = (&'static str, String);

/// More would hide the endpoints.
const NOTES_MAX: usize = 10;

pub(super) fn text(explanation: &Explanation<'_>) -> String {
    match &explanation.asked {
        Asked::Packet { packet, taken, .. } => of_packet(explanation, packet, taken.as_deref()),
        Asked::Undialled { service, lack } => of_service(explanation, service, *lack),
    }
}

/// A Service that nothing can be sent to.
fn of_service(explanation: &Explanation<'_>, service: &ServiceName, lack: Lack) -> String {
    let observed = &explanation.observed;
    let headline = match lack {
        Lack::Missing => format!("there is no Service {service}"),
        Lack::Unreadable => format!("Service {service} cannot be read, so nothing of it is served"),
        Lack::Address => format!("{service} has no address that sheave serves"),
        Lack::Port => format!("{service} has no port that sheave serves"),
    };
    let mut rows: Vec<Row> = vec![("rule", explanation.decision.rule.to_string())];
    let absent = observed.absent(service);
    rows.extend(absent.map(|absent| ("because", absent.to_string())));
    if let Some(Absent::OtherProxy { cluster_ips }) = absent {
        rows.extend(cluster_ips.iter().filter_map(|addr| untranslated(*addr, observed)));
    }
    if let (Lack::Port, Some(found)) = (lack, observed.index.service(service)) {
        let at = found.cluster_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        rows.push(("because", format!("none of its ports can be used; whoever dials {at} is rejected (A2)")));
    }
    if lack == Lack::Missing {
        rows.extend(nearest::of_name(service, observed).into_iter().map(|near| ("nearest", near)));
    }
    rows.extend(noted(explanation));
    format!("Not touched: {headline}.\n\n{}", aligned(&rows))
}

/// What becomes of packets to a ClusterIP of another proxy's Service that get here as they are.
fn untranslated(addr: IpAddr, observed: &Observed<'_>) -> Option<Row> {
    let cidr = cidr_of(addr, observed)?;
    let what = format!("{addr} is inside the ServiceCIDR {cidr}: dropped unless that proxy translates it first (A3)");
    Some(("by address", what))
}

fn cidr_of(addr: IpAddr, observed: &Observed<'_>) -> Option<IpNet> {
    let mut cidrs = observed.index.service_cidrs().flat_map(|cidr| &cidr.cidrs);
    cidrs.find(|cidr| cidr.contains(&addr)).copied()
}

/// Why, as the reference says it, which knows nothing of the Services that are left to another proxy.
fn because(explanation: &Explanation<'_>, packet: &Packet) -> Vec<String> {
    let Explanation { observed, decision, .. } = explanation;
    let destination = packet.destination;
    let unowned = matches!(decision.rule, Rule::A3 | Rule::A15);
    let Some((service, absent)) = observed.left_to_another(destination).filter(|_| unowned) else {
        return decision.why.clone();
    };
    let whose = format!("{destination} is the ClusterIP of {service}: {absent} (W1)");
    let what = match cidr_of(destination, observed) {
        Some(cidr) => {
            format!("it is inside the ServiceCIDR {cidr}: dropped here unless that proxy translates the packet first")
        }
        None => "not ours, left alone".to_owned(),
    };
    vec![whose, what]
}

fn of_packet(explanation: &Explanation<'_>, packet: &Packet, taken: Option<&str>) -> String {
    let Explanation { observed, decision, .. } = explanation;
    let desired = explanation.desired();
    let seen = Seen { packet, decision, kind: kind(decision, desired), desired };
    let mut rows: Vec<Row> = Vec::new();
    rows.extend(taken.map(|taken| ("dialled", taken.to_owned())));
    rows.push(("rule", decision.rule.to_string()));
    rows.extend(because(explanation, packet).into_iter().map(|why| ("because", why)));
    if seen.kind.is_some() {
        rows.push(("source", source::standing(packet, desired.rules(), observed.config, observed.index)));
    }
    rows.extend(seen.policy());
    if decision.verdict == Verdict::Forward {
        rows.push(("masquerade", seen.masquerade()));
        rows.push(("affinity", seen.affinity()));
    }
    let port = decision.service.as_ref().filter(|_| seen.kind.is_some());
    let family = Family::of(packet.destination);
    let missing = port.map(|port| endpoints::missing(port, family, observed)).unwrap_or_default();
    rows.extend(missing.into_iter().map(|missing| ("endpoints", missing)));
    if matches!(decision.rule, Rule::A2 | Rule::A5 | Rule::A11 | Rule::A15) {
        rows.extend(
            nearest::of_packet(packet, observed.index, desired.rules()).into_iter().map(|near| ("nearest", near)),
        );
    }
    rows.extend(noted(explanation));
    let table = port.and_then(|port| endpoints::table(decision, port, observed.index));
    let parts = [Some(headline(packet, decision)), Some(aligned(&rows)), table];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// By what right the frontend is the Service's; `None` where no frontend was found.
fn kind(decision: &Decision, desired: &Desired) -> Option<FrontendKind> {
    let frontend = decision.frontend.filter(|_| decision.rule != Rule::A2)?;
    [frontend, frontend.at_any_address()]
        .iter()
        .find_map(|f| desired.serving(desired.holder(f)?)?.frontends.get(f).copied())
}

fn headline(packet: &Packet, decision: &Decision) -> String {
    let Packet { source, destination, transport, .. } = packet;
    let (what, to) = match transport {
        Transport::Port(protocol, port) => {
            (format!("a new {} flow", protocol.as_str()), SocketAddr::new(*destination, *port).to_string())
        }
        Transport::Echo => ("a ping".to_owned(), destination.to_string()),
    };
    let flow = format!("{what} from {source} to {to}");
    match (decision.verdict, &decision.endpoints[..]) {
        (Verdict::Forward, [only]) => format!("Forwarded: {flow} goes to {only}, the only endpoint it may go to."),
        (Verdict::Forward, several) => {
            format!("Forwarded: {flow} goes to one of {} endpoints, picked at random.", several.len())
        }
        (Verdict::Reject, _) => format!("Rejected: {flow} is answered with {}, so it fails at once.", refusal(packet)),
        (Verdict::Drop, _) => format!("Dropped: {flow} is thrown away; the client waits until it gives up."),
        (Verdict::Pass, _) => format!("Not touched: sheave leaves {flow} alone."),
    }
}

fn refusal(packet: &Packet) -> &'static str {
    match packet.transport {
        Transport::Port(Protocol::Tcp, _) => "a TCP reset",
        Transport::Port(..) | Transport::Echo => "an ICMP error (port unreachable)",
    }
}

/// A packet, the decision, and what was wanted of the frontend.
struct Seen<'a> {
    packet: &'a Packet,
    decision: &'a Decision,
    kind: Option<FrontendKind>,
    desired: &'a Desired,
}

impl Seen<'_> {
    /// Said where `because` does not say it: with the policy Local it always does.
    fn policy(&self) -> Option<Row> {
        let field = match self.kind? {
            FrontendKind::ClusterIp => "internalTrafficPolicy",
            _ => "externalTrafficPolicy",
        };
        let which = match self.decision.rule {
            Rule::E1 => "endpoints of the whole cluster",
            Rule::E7 => "endpoints of the whole cluster that topology hints let through",
            _ => return None,
        };
        Some(("policy", format!("{field} is {}: {which}", TrafficPolicy::Cluster)))
    }

    fn masquerade(&self) -> String {
        let source = self.packet.source;
        match self.decision.masquerade {
            Masquerade::Never => format!("no: endpoints see the client's address, {source}"),
            Masquerade::Hairpin => format!(
                "only when the flow picks the client itself ({source} is one of the endpoints, R4); other endpoints see {source}"
            ),
            Masquerade::Always => {
                format!(
                    "yes: endpoints see an address of this node instead of {source}, because {}",
                    self.masqueraded()
                )
            }
        }
    }

    fn masqueraded(&self) -> &'static str {
        let rules = self.desired.rules();
        let node = Source::of(rules, self.packet.source, self.packet.interface.as_deref()) == Source::Node;
        match (self.kind, self.decision.rule) {
            (Some(FrontendKind::ClusterIp), _) if rules.masquerade_all => "masqueradeAll is set (R1)",
            (Some(FrontendKind::ClusterIp), _) if node => "what a node sends to a ClusterIP is masqueraded (R1)",
            (Some(FrontendKind::ClusterIp), _) => "the source does not count as a pod of this node (R1)",
            (_, Rule::E6) => "the node itself dialled (R3)",
            _ => "externalTrafficPolicy Cluster may lead to another node, and replies have to come back here (R2)",
        }
    }

    fn affinity(&self) -> String {
        match self.decision.affinity {
            None => "none: each new flow picks anew".to_owned(),
            Some(affinity) => format!(
                "ClientIP: a client's next flow within {} s goes to the same endpoint while that is in the set (E10)",
                affinity.timeout_s
            ),
        }
    }
}

/// What is wrong with the Service, its slices and frontends.
fn noted(explanation: &Explanation<'_>) -> Vec<Row> {
    let diagnostics = explanation.diagnostics();
    let more = diagnostics.len().saturating_sub(NOTES_MAX);
    let mut rows: Vec<Row> =
        diagnostics.iter().take(NOTES_MAX).map(|diagnostic| ("note", diagnostic.to_string())).collect();
    rows.extend((more > 0).then(|| ("note", format!("{more} more things are wrong with it"))));
    rows
}

/// Rows under each other; a label that repeats is written once.
fn aligned(rows: &[Row]) -> String {
    let mut last = "";
    let line = |(label, text): &Row| {
        let label = if *label == std::mem::replace(&mut last, label) { "" } else { label };
        format!("  {label:<12}{text}")
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
