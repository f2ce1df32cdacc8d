//! A destination as a user writes it: an address with a port, a ping, or a Service.
use super::question::BadQuestion;
use sheave_core::decide::Transport;
use sheave_core::{Port, Protocol, ServiceName};
use sheave_kube_source::address::{BadAddress, parse_ip, parse_unicast};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Where a packet goes, by address or by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// What a client dials.
    Address {
        /// Destination address.
        addr: IpAddr,
        /// What is above IP.
        transport: Transport,
    },
    /// The ClusterIP of a Service, of the source's family.
    Service {
        /// The Service.
        service: ServiceName,
        /// Its port; `None` = its only one.
        port: Option<PortRef>,
        /// The protocol, where a number does not tell.
        protocol: Option<Protocol>,
    },
}

/// A port of a Service, as a user names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortRef {
    /// By the number that clients dial.
    Number(Port),
    /// By its name.
    Name(Arc<str>),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = BadQuestion;

    fn from_str(text: &str) -> Result<Self, BadQuestion> {
        let (head, suffix) = text.rsplit_once('/').map_or((text, None), |(head, suffix)| (head, Some(suffix)));
        if !looks_like_an_address(head) {
            return service(text).ok_or_else(|| BadQuestion::Form(text.to_owned()));
        }
        let (addr, port) = split_port(head, text)?;
        let transport = match (port, suffix.map(str::to_ascii_lowercase).as_deref()) {
            (None, Some("icmp")) => Transport::Echo,
            (Some(_), Some("icmp")) => return Err(BadQuestion::Form(text.to_owned())),
            (None, _) => return Err(BadQuestion::NoPort { addr }),
            (Some(port), None) => Transport::Port(Protocol::Tcp, port.get()),
            (Some(port), Some(protocol)) => {
                let protocol = protocol.parse().map_err(|_| BadQuestion::Form(text.to_owned()))?;
                Transport::Port(protocol, port.get())
            }
        };
        Ok(Self::Address { addr, transport })
    }
}

/// A namespace has neither dots nor colons, so what has one before the slash is an address.
fn looks_like_an_address(head: &str) -> bool {
    let before_slash = head.split('/').next().unwrap_or_default();
    before_slash.contains(['.', ':'])
}

/// `IP`, `IPV4:PORT`, `[IPV6]` or `[IPV6]:PORT`.
fn split_port(head: &str, text: &str) -> Result<(IpAddr, Option<Port>), BadQuestion> {
    let (addr, port) = match head.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((addr, "")) => (addr, None),
        Some((addr, rest)) => (addr, Some(rest.strip_prefix(':').ok_or_else(|| BadQuestion::Form(text.to_owned()))?)),
        // More than one colon and no brackets: an IPv6 address.
        None => {
            head.split_once(':').filter(|(_, port)| !port.contains(':')).map_or((head, None), |(a, p)| (a, Some(p)))
        }
    };
    let addr = address(addr).map_err(|error| BadQuestion::Address { text: text.to_owned(), error })?;
    let bad_port = |port: &str| BadQuestion::Port { text: text.to_owned(), port: port.to_owned() };
    let port = port.map(|port| number(port).ok_or_else(|| bad_port(port))).transpose()?;
    Ok((addr, port))
}

/// An address a packet may carry. Loopback is the node's own business, but a node may dial itself (A6).
pub(super) fn address(text: &str) -> Result<IpAddr, BadAddress> {
    let addr = parse_ip(text)?;
    if addr.is_loopback() { Ok(addr) } else { parse_unicast(text) }
}

fn number(text: &str) -> Option<Port> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().and_then(Port::new))?
}

/// `NAMESPACE/NAME[:PORT][/PROTOCOL]`
fn service(text: &str) -> Option<Target> {
    let (namespace, rest) = text.split_once('/')?;
    let (rest, protocol) = match rest.split_once('/') {
        None => (rest, None),
        Some((rest, protocol)) => (rest, Some(protocol.parse().ok()?)),
    };
    let (name, port) = rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
    let usable =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let port = match port {
        None => None,
        Some(port) => Some(number(port).map(PortRef::Number).or_else(|| {
            let name = Some(port).filter(usable).filter(|name| name.bytes().any(|byte| byte.is_ascii_alphabetic()))?;
            Some(PortRef::Name(name.into()))
        })?),
    };
    [namespace, name].iter().all(usable).then(|| {
        let service = ServiceName::new(namespace, name);
        Target::Service { service, port, protocol }
    })
}

#[cfg(test)]
mod tests {
    use super::super::question::Question;
    use super::*;
    use proptest::prelude::*;

    fn target(text: &str) -> Result<Target, String> {
        text.parse().map_err(|error: BadQuestion| error.to_string())
    }

    fn to(addr: &str, protocol: Protocol, port: u16) -> Target {
        Target::Address { addr: addr.parse().unwrap(), transport: Transport::Port(protocol, port) }
    }

    #[test]
    fn a_destination_is_an_address_with_a_port_or_a_ping() {
        let ping = |addr: &str| Target::Address { addr: addr.parse().unwrap(), transport: Transport::Echo };
        for (text, want) in [
            ("10.96.0.10:80", to("10.96.0.10", Protocol::Tcp, 80)),
            ("10.96.0.010:080/udp", to("10.96.0.10", Protocol::Udp, 80)),
            ("10.96.0.10:80/SCTP", to("10.96.0.10", Protocol::Sctp, 80)),
            ("[fd00::1]:53/udp", to("fd00::1", Protocol::Udp, 53)),
            ("[::ffff:10.0.0.1]:53", to("10.0.0.1", Protocol::Tcp, 53)),
            ("127.0.0.1:30080", to("127.0.0.1", Protocol::Tcp, 30080)),
            ("10.96.0.10/icmp", ping("10.96.0.10")),
            ("fd00::1/icmp", ping("fd00::1")),
            ("[fd00::1]/ICMP", ping("fd00::1")),
        ] {
            assert_eq!(target(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn a_destination_is_a_service_with_a_port_by_name_or_number() {
        let service = |port: Option<PortRef>, protocol| Target::Service {
            service: ServiceName::new("shop", "web"),
            port,
            protocol,
        };
        let number = || Some(PortRef::Number(Port::new(53).unwrap()));
        for (text, want) in [
            ("shop/web", service(None, None)),
            ("shop/web:http-2", service(Some(PortRef::Name("http-2".into())), None)),
            ("shop/web:53", service(number(), None)),
            ("shop/web:53/udp", service(number(), Some(Protocol::Udp))),
        ] {
            assert_eq!(target(text), Ok(want), "{text}");
        }
        let tcp = Target::Service { service: ServiceName::new("shop", "tcp"), port: None, protocol: None };
        assert_eq!(target("shop/tcp"), Ok(tcp), "a Service may have the name of a protocol");
    }

    #[test]
    fn what_is_no_destination_is_refused_with_what_to_write() {
        for (text, want) in [
            ("", "\"\" is no destination; write IP:PORT"),
            ("web", "is no destination"),
            ("shop/", "is no destination"),
            ("/web", "is no destination"),
            ("shop/web/x/y", "is no destination"),
            ("shop/web:", "is no destination"),
            ("shop/web:70000", "is no destination"),
            ("shop/web:-", "is no destination"),
            ("sh op/web", "is no destination"),
            ("10.0.0.1:80/icmp", "is no destination"),
            ("[fd00::1]80", "is no destination"),
            ("10.0.0.1", "10.0.0.1 has no port; write 10.0.0.1:80 for TCP, or 10.0.0.1/icmp for a ping"),
            ("fd00::1:80", "fd00::1:80 has no port; write [fd00::1:80]:80 for TCP"),
            ("10.0.0.1/tcp", "has no port"),
            ("10.0.0.1:http", "\"http\" in \"10.0.0.1:http\" is no port; ports are 1 to 65535"),
            ("10.0.0.1:65536", "\"65536\""),
            ("10.0.0.1:+8", "\"+8\""),
            ("10.0.0.256:80", "\"10.0.0.256\" is not an IP address"),
            ("example.com:80", "\"example.com\" is not an IP address"),
            ("224.0.0.1:80", "a multicast address"),
        ] {
            let error = target(text).unwrap_err();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(any: String, near in r"[a-z0-9.:/\[\]-]{0,24}") {
            let _ = (target(&any), target(&near), Question::parse(&any, &near, None));
        }
    }
}
