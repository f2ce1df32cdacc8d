//! What the one who asks may have meant instead.
use super::Observed;
use sheave_core::decide::Transport;
use sheave_core::{Family, Index, ObjectName, Packet, Service, ServiceName, ServicePort};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

/// More would not be read.
const TOLD_MAX: usize = 5;
/// Two names that are at least so alike are taken for each other, from 0 to 1.
const ALIKE_MIN: f64 = 0.85;

/// Sentences for a packet that no frontend takes.
pub(super) fn of_packet(packet: &Packet, index: &Index) -> Vec<String> {
    let services = || index.names().into_iter().filter_map(|name| index.service(&name));
    let here: Vec<_> =
        services().filter(|service| service.addresses().any(|addr| addr == packet.destination)).collect();
    if !here.is_empty() {
        return here.into_iter().map(|service| format!("{} has {}", service.name, ports(service))).collect();
    }
    if let Some(service) = services().find(|service| is_endpoint(&service.name, packet.destination, index)) {
        return vec![format!(
            "{} is an endpoint of {}: who dials it goes there without any Service",
            packet.destination, service.name
        )];
    }
    let same_port = services().flat_map(|service| at_port(service, packet));
    let same_port: Vec<_> = same_port.collect();
    told("with this port there are", same_port).into_iter().collect()
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
    let mut found: Vec<String> = dialled
        .flat_map(|_| service.addresses().filter(|addr| Family::of(*addr) == family))
        .map(|addr| format!("{} of {}", SocketAddr::new(addr, number), service.name))
        .collect();
    let node_ports = service.ports.iter().filter(|port| port.protocol == protocol);
    let node_ports = node_ports.filter(|port| port.node_port.is_some_and(|port| port.get() == number));
    found.extend(node_ports.map(|_| format!("NodePort {number} of {}", service.name)));
    found
}

/// Services whose name is nearly this one: in another namespace, or with another letter.
pub(super) fn of_name(wanted: &ServiceName, observed: &Observed<'_>) -> Vec<String> {
    let index = observed.index;
    let names = index.names().into_iter().filter(|name| index.service(name).is_some());
    let absent = observed.absent.keys().filter_map(|name| match name {
        ObjectName::Service(service) => Some(service.clone()),
        _ => None,
    });
    let mut found: Vec<(f64, ServiceName)> = names
        .chain(absent)
        .map(|name| (likeness(wanted, &name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE_MIN)
        .collect();
    found.sort_by(|(a, a_name), (b, b_name)| b.total_cmp(a).then_with(|| a_name.cmp(b_name)));
    found.dedup();
    told("there is", found.into_iter().map(|(_, name)| name).collect()).into_iter().collect()
}

fn likeness(wanted: &ServiceName, name: &ServiceName) -> f64 {
    if wanted.name == name.name || (wanted.name == name.namespace && wanted.namespace == name.name) {
        return 1.0;
    }
    let (namespace, name) =
        (strsim::jaro_winkler(&wanted.namespace, &name.namespace), strsim::jaro_winkler(&wanted.name, &name.name));
    namespace.min(name)
}

fn told<T: Display>(what: &str, found: Vec<T>) -> Option<String> {
    (!found.is_empty()).then(|| format!("{what} {}", listed(found)))
}

fn listed<T: Display>(found: Vec<T>) -> String {
    let more = found.len().saturating_sub(TOLD_MAX);
    let mut told: Vec<_> = found.into_iter().take(TOLD_MAX).map(|found| found.to_string()).collect();
    told.extend((more > 0).then(|| format!("{more} more")));
    told.join(", ")
}
