//! Names of objects. Text is shared, not copied: an index of 100,000 Services holds each string once per object.
use crate::net::{Family, Protocol};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `namespace/name` of a Service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceName {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name within the namespace.
    pub name: Arc<str>,
}

impl ServiceName {
    /// From its two parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `namespace/name` of an EndpointSlice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SliceName {
    /// Namespace; slices serve Services of their own namespace only.
    pub namespace: Arc<str>,
    /// Name within the namespace.
    pub name: Arc<str>,
}

impl SliceName {
    /// From its two parts.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A port of a Service. Ports are matched by name and protocol, never by number (W6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServicePortName {
    /// The Service.
    pub service: ServiceName,
    /// The port's name, empty for a Service's only, unnamed port.
    pub port: Arc<str>,
    /// The port's protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServicePortName {
    /// `namespace/name:port`, without the colon for an unnamed port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.port {
            "" => self.service.fmt(f),
            port => write!(f, "{}:{port}", self.service),
        }
    }
}

/// One family of a Service port: the unit that has a set of backends, and in the kernel a `ServiceId`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceKey {
    /// The Service port.
    pub port: ServicePortName,
    /// The family of its frontends and backends.
    pub family: Family,
}

impl fmt::Display for ServiceKey {
    /// `namespace/name:port/PROTOCOL/FAMILY`; parsed back by [`FromStr`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServicePortName { service, port, protocol } = &self.port;
        write!(f, "{service}:{port}/{}/{}", protocol.as_str(), self.family)
    }
}

/// The text is no [`ServiceKey`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not NAMESPACE/NAME:PORT/PROTOCOL/FAMILY")]
pub struct BadServiceKey(pub String);

impl FromStr for ServiceKey {
    type Err = BadServiceKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_key(text).ok_or_else(|| BadServiceKey(text.to_owned()))
    }
}

fn parse_key(text: &str) -> Option<ServiceKey> {
    let (rest, family) = text.rsplit_once('/')?;
    let (rest, protocol) = rest.rsplit_once('/')?;
    let (service, port) = rest.split_once(':')?;
    let (namespace, name) = service.split_once('/')?;
    let family = [Family::V4, Family::V6].into_iter().find(|f| f.to_string() == family)?;
    let service = ServiceName::new(namespace, name);
    Some(ServiceKey { port: ServicePortName { service, port: port.into(), protocol: protocol.parse().ok()? }, family })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_key_reads_back_what_it_prints() {
        for text in ["shop/web:http/TCP/IPv4", "shop/web:/UDP/IPv6", "a/b:c-1/SCTP/IPv4"] {
            assert_eq!(text.parse::<ServiceKey>().unwrap().to_string(), text);
        }
        for text in ["", "shop/web", "shop/web:http/TCP", "shop/web:http/ICMP/IPv4", "web:http/TCP/IPv4/x"] {
            assert_eq!(text.parse::<ServiceKey>(), Err(BadServiceKey(text.to_owned())));
        }
    }
}
