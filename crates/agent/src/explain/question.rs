//! The question: which packet is meant.
use super::Observed;
use super::target::{PortRef, Target, address};
use sheave_core::decide::Transport;
use sheave_core::{Family, ObjectName, Packet, Port, Problem, Protocol, Service, ServiceName, ServicePort};
use sheave_kube_source::address::BadAddress;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The first packet of a flow, as a user asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Its source.
    pub from: IpAddr,
    /// Where it goes.
    pub to: Target,
    /// The device it comes in by; `None` where it is not known, and for what the node sends.
    pub interface: Option<Arc<str>>,
}

/// No packet follows from the question.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadQuestion {
    /// The text is neither an address nor a Service.
    #[error("{0:?} is no destination; write {FORMS}")]
    Form(String),
    /// The text begins like an address.
    #[error("in {text:?}: {error}")]
    Address {
        /// The text.
        text: String,
        /// What is wrong with it.
        error: BadAddress,
    },
    /// An address without a port.
    #[error("{addr} has no port; write {} for TCP, or {addr}/icmp for a ping", SocketAddr::new(*.addr, 80))]
    NoPort {
        /// The address.
        addr: IpAddr,
    },
    /// A port that is no port.
    #[error("{port:?} in {text:?} is no port; ports are 1 to 65535")]
    Port {
        /// The text.
        text: String,
        /// What stands in the port's place.
        port: String,
    },
    /// Source and destination of different families.
    #[error("{from} is {}, and {to} is {}: no packet has both", Family::of(*from), Family::of(*to))]
    Families {
        /// Source address.
        from: IpAddr,
        /// Destination address.
        to: IpAddr,
    },
    /// A Service without an address of the source's family.
    #[error("{service} has no {family} ClusterIP; ask with an {other} source, its ClusterIP is {has}")]
    Family {
        /// The Service.
        service: ServiceName,
        /// The family of the source.
        family: Family,
        /// The other one.
        other: Family,
        /// An address that it has.
        has: IpAddr,
    },
    /// A Service with several ports, or none of that name.
    #[error("{service} has {}; {}", listed(.ports), match (.asked, .protocol) {
        (Some(asked), None) => format!("none is called {asked:?}"),
        (Some(asked), Some(protocol)) => format!("none is called {asked:?} and takes {protocol}"),
        (None, Some(protocol)) if !.takes => format!("none takes {protocol}"),
        (None, _) => format!("say which, as in {service}:{}", .ports.first().map_or("80", |port| port.split(' ').next().unwrap_or("80"))),
    })]
    WhichPort {
        /// The Service.
        service: ServiceName,
        /// The name that was asked for.
        asked: Option<Arc<str>>,
        /// The protocol that was asked for.
        protocol: Option<Protocol>,
        /// Whether a port takes that protocol.
        takes: bool,
        /// Its ports.
        ports: Vec<String>,
    },
}

const FORMS: &str = "IP:PORT[/tcp|udp|sctp], [IPV6]:PORT, IP/icmp or NAMESPACE/NAME[:PORT][/tcp|udp|sctp]";

fn listed(ports: &[String]) -> String {
    match ports {
        [] => "no ports".to_owned(),
        [only] => format!("the port {only}"),
        several => format!("the ports {}", several.join(", ")),
    }
}

/// What a question comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// A packet.
    Packet {
        packet: Packet,
        /// The Service that was named, if one was.
        service: Option<ServiceName>,
        /// What was taken for it.
        taken: Option<String>,
    },
    /// A Service that nothing can be sent to.
    Undialled { service: ServiceName, lack: Lack },
}

/// Why nothing can be sent to a Service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    /// It is not there.
    Missing,
    /// It is there, but nothing of it can be read.
    Unreadable,
    /// It gives no rules (W1, W2, W3), or none of its ClusterIPs can be used.
    Address,
    /// None of its ports can be used.
    Port,
}

impl Question {
    /// Reads a source and a destination.
    ///
    /// # Errors
    /// [`BadQuestion`] names what cannot be read.
    pub fn parse(from: &str, to: &str, interface: Option<&str>) -> Result<Self, BadQuestion> {
        let bad = |error| BadQuestion::Address { text: from.to_owned(), error };
        let bare = from.strip_prefix('[').and_then(|from| from.strip_suffix(']')).unwrap_or(from);
        let from = address(bare).map_err(bad)?;
        Ok(Self { from, to: to.parse()?, interface: interface.map(Into::into) })
    }

    /// Finds the packet that is meant.
    pub(super) fn resolve(&self, observed: &Observed<'_>) -> Result<Asked, BadQuestion> {
        match &self.to {
            Target::Address { addr, transport } => {
                if Family::of(*addr) != Family::of(self.from) {
                    return Err(BadQuestion::Families { from: self.from, to: *addr });
                }
                let packet = self.packet(*addr, *transport);
                Ok(Asked::Packet { packet, service: None, taken: None })
            }
            Target::Service { service, port, protocol } => {
                let numbered = matches!(port, Some(PortRef::Number(_)));
                let lack = match observed.index.service(service) {
                    None => lack(service, observed),
                    Some(found) if found.cluster_ips.is_empty() => Lack::Address,
                    Some(found) if found.ports.is_empty() && !numbered => Lack::Port,
                    Some(found) => return self.resolve_service(found, port.as_ref(), *protocol),
                };
                Ok(Asked::Undialled { service: service.clone(), lack })
            }
        }
    }

    fn resolve_service(
        &self,
        service: &Service,
        port: Option<&PortRef>,
        protocol: Option<Protocol>,
    ) -> Result<Asked, BadQuestion> {
        let family = Family::of(self.from);
        let (protocol, number, called) = port_of(service, port, protocol)?;
        let Some(addr) = service.cluster_ips.iter().copied().find(|addr| Family::of(*addr) == family) else {
            let has = service.cluster_ips[0];
            let (service, other) = (service.name.clone(), Family::of(has));
            return Err(BadQuestion::Family { service, family, other, has });
        };
        let dialled = SocketAddr::new(addr, number.get());
        let taken = format!("{dialled}/{protocol}: the {family} ClusterIP of {}{called}", service.name);
        let packet = self.packet(addr, Transport::Port(protocol, number.get()));
        Ok(Asked::Packet { packet, service: Some(service.name.clone()), taken: Some(taken) })
    }

    fn packet(&self, destination: IpAddr, transport: Transport) -> Packet {
        Packet { source: self.from, destination, transport, interface: self.interface.clone() }
    }
}

/// Of a Service that is not served.
fn lack(service: &ServiceName, observed: &Observed<'_>) -> Lack {
    let mut wrong = observed.wrong_with(&ObjectName::Service(service.clone()));
    match observed.absent(service) {
        Some(_) => Lack::Address,
        None if wrong.any(|diagnostic| diagnostic.problem == Problem::Unreadable) => Lack::Unreadable,
        None => Lack::Missing,
    }
}

/// The port that is meant, and how to say so. A number that no port has is dialled all the same: the answer tells what
/// comes of it (A2).
fn port_of(
    service: &Service,
    port: Option<&PortRef>,
    protocol: Option<Protocol>,
) -> Result<(Protocol, Port, String), BadQuestion> {
    let of_protocol = |found: &&ServicePort| protocol.is_none_or(|protocol| found.protocol == protocol);
    let ports = || service.ports.iter().filter(of_protocol);
    let found = match port {
        None if ports().count() == 1 => ports().next(),
        None => None,
        Some(PortRef::Name(name)) => ports().find(|port| port.name == *name),
        // DNS has 53/tcp and 53/udp: without a protocol it is TCP that is meant.
        Some(PortRef::Number(number)) => ports().filter(|port| port.port == *number).min_by_key(|port| port.protocol),
    };
    if let Some(ServicePort { name, port, protocol, .. }) = found {
        let called = if name.is_empty() { String::new() } else { format!(", its port {name:?}") };
        return Ok((*protocol, *port, called));
    }
    if let Some(PortRef::Number(number)) = port {
        let protocol = protocol.unwrap_or(Protocol::Tcp);
        return Ok((protocol, *number, String::new()));
    }
    let (asked, takes) = (port.map(|port| port.to_string().into()), ports().next().is_some());
    let ports = service.ports.iter().map(described).collect();
    Err(BadQuestion::WhichPort { service: service.name.clone(), asked, protocol, takes, ports })
}

fn described(port: &ServicePort) -> String {
    let ServicePort { name, port, protocol, .. } = port;
    if name.is_empty() { format!("{port}/{protocol}") } else { format!("{name} ({port}/{protocol})") }
}
