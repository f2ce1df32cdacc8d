//! What the one who asks may have meant instead.
use super::Observed;
use sheave_core::decide::Transport;
use sheave_core::{Family, Index, NodeRules, ObjectName, Packet, Service, ServiceName, ServicePort};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// More would not be read.
const TOLD_MAX: usize = 5;
/// In how many letters a name may differ.
const LETTERS_MAX: usize = 2;

/// Sentences for a packet that no frontend takes.
pub(super) fn of_packet(packet: &Packet, index: &Index, rules: &NodeRules) -> Vec<String> {
    let here = index.services_where(|service| service.addresses().any(|addr| addr == packet.destination));
    if !here.is_empty() {
        let ping = if packet.transport == Transport::Echo { "a Service answers at its ports only: " } else { "" };
        return here.into_iter().map(|service| format!("{ping}{} has {}", service.name, ports(service))).collect();
    }
    if let Some(service) = index.services_where(|service| is_endpoint(&service.name, packet.destination, index)).first()
    {
        return vec![format!(
            "{} is an endpoint of {}: who dials it goes there without any Service",
            packet.destination, service.name
        )];
    }
    let same_port = index.services_where(|service| !at_port(service, packet).is_empty());
    let same_port: Vec<_> = same_port.into_iter().flat_map(|service| at_port(service, packet)).collect();
    let node_ports = index.services_where(|service| has_node_port(service, packet));
    let node_ports: Vec<_> = node_ports.into_iter().map(|service| &service.name).collect();
    let node_ports = (!node_ports.is_empty()).then(|| {
        format!("a NodePort of {}, dialled at {}", listed(node_ports), node_port_addresses(packet, index, rules))
    });
    // Every other Service has port 80: that helps nobody.
    let same_port = (1..=TOLD_MAX).contains(&same_port.len()).then(|| format!("with this port: {}", listed(same_port)));
    node_ports.into_iter().chain(same_port).collect()
}

/// Where clients of elsewhere dial NodePorts of the packet's family.
fn node_port_addresses(packet: &Packet, index: &Index, rules: &NodeRules) -> String {
    let of_family = |addr: &&IpAddr| Family::of(**addr) == Family::of(packet.destination);
    let at: Vec<_> = rules.node_port_addrs.iter().filter(of_family).filter(|addr| !addr.is_loopback()).collect();
    let at = if at.is_empty() { "no address".to_owned() } else { listed(at) };
    format!("{at} of {}", index.node_name())
}

fn ports(service: &Service) -> String {
    let port = |port: &ServicePort| {
        let name = if port.name.is_empty() { String::new() } else { format!(" ({})", port.name) };
        format!("{}/{}{name}", port.port, port.protocol)
    };
    match &service.ports[..] {
        [] => "no ports".to_owned(),
        [only] => format!("the port {}", port(only)),
        several => format!("the ports {}", listed(several.iter().map(port).collect())),
    }
}

fn is_endpoint(service: &ServiceName, addr: IpAddr, index: &Index) -> bool {
    index.slices(service).flat_map(|slice| &slice.endpoints).any(|endpoint| endpoint.addr == addr)
}

/// Frontends of a Service that have the packet's port, as a client would dial them.
fn at_port(service: &Service, packet: &Packet) -> Vec<String> {
    let Transport::Port(protocol, number) = packet.transport else { return Vec::new() };
    let family = Family::of(packet.destination);
    let dialled = service.ports.iter().filter(|port| port.protocol == protocol && port.port.get() == number);
    dialled
        .flat_map(|_| service.addresses().filter(|addr| Family::of(*addr) == family))
        .map(|addr| format!("{} of {}", SocketAddr::new(addr, number), service.name))
        .collect()
}

fn has_node_port(service: &Service, packet: &Packet) -> bool {
    let Transport::Port(protocol, number) = packet.transport else { return false };
    let here = |port: &&ServicePort| port.node_port.is_some_and(|port| port.get() == number);
    service.ports.iter().filter(|port| port.protocol == protocol).any(|port| here(&port))
}

/// Services whose name is nearly this one: in another namespace, or with another letter.
pub(super) fn of_name(wanted: &ServiceName, observed: &Observed<'_>) -> Vec<String> {
    let index = observed.index;
    let names = index.names().into_iter().filter(|name| index.service(name).is_some());
    let absent = observed.absent.keys().filter_map(|name| match name {
        ObjectName::Service(service) => Some(service.clone()),
        _ => None,
    });
    let mut found: Vec<_> = names.chain(absent).filter_map(|name| Some((distance(wanted, &name)?, name))).collect();
    found.sort();
    found.dedup();
    let found: Vec<_> = found.into_iter().map(|(_, name)| name).collect();
    (!found.is_empty()).then(|| listed(found)).into_iter().collect()
}

/// How far a name is from the wanted one; `None` where nobody would confuse them. A name that stands in the other counts as
/// one letter: `kube-dns` for `dns`.
fn distance(wanted: &ServiceName, name: &ServiceName) -> Option<usize> {
    let names = match wanted.name.contains(&*name.name) || name.name.contains(&*wanted.name) {
        true => usize::from(wanted.name != name.name),
        false => strsim::osa_distance(&wanted.name, &name.name),
    };
    let namespaces = strsim::osa_distance(&wanted.namespace, &name.namespace);
    let alike = names == 0 || (names <= LETTERS_MAX && namespaces <= LETTERS_MAX);
    alike.then_some(names + namespaces)
}

fn listed<T: Display>(found: Vec<T>) -> String {
    let more = found.len().saturating_sub(TOLD_MAX);
    let mut told: Vec<_> = found.into_iter().take(TOLD_MAX).map(|found| found.to_string()).collect();
    told.extend((more > 0).then(|| format!("{more} more")));
    told.join(", ")
}
