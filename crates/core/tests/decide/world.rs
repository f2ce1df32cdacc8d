//! A small cluster, seen from node `a` (192.168.0.1, fd00::1), and questions about it in one line.
use ipnet::IpNet;
use sheave_core::decide::Transport;
use sheave_core::{
    DetectLocal, Endpoint, EndpointSlice, Event, Family, Index, Kind, Node, Object, Packet, Port, Protocol,
    ProxyConfig, Service, ServiceCidr, ServiceName, ServicePort, SliceName, SlicePort, decide,
};
use std::net::IpAddr;

/// A pod of this node, a pod of another, the node, a host outside.
pub(crate) const POD: &str = "10.0.1.9";
pub(crate) const NODE: &str = "192.168.0.1";
pub(crate) const OUTSIDE: &str = "203.0.113.2";

pub(crate) struct World {
    pub(crate) index: Index,
    pub(crate) config: ProxyConfig,
}

/// The pods of this node are told by their CIDR, 10.0.1.0/24 and fd10::/64.
pub(crate) fn world() -> World {
    let mut index = Index::new("a");
    for kind in Kind::ALL {
        index.apply(Event::Listed { kind, objects: Vec::new(), kept: Vec::new() });
    }
    let config = ProxyConfig { detect_local: cidrs(&["10.0.1.0/24", "fd10::/64"]), ..ProxyConfig::default() };
    World { index, config }.with(node(&[NODE, "fd00::1", "192.168.0.2"]))
}

pub(crate) fn cidrs(cidrs: &[&str]) -> DetectLocal {
    DetectLocal::ClusterCidr(cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect())
}

pub(crate) fn node(addresses: &[&str]) -> Object {
    let addresses = addresses.iter().map(|addr| ip(addr)).collect();
    Object::Node(Node {
        name: "a".into(),
        zone: Some("x".into()),
        addresses,
        pod_cidrs: vec![net("10.0.1.0/24")],
        leaving: None,
    })
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A Service `shop/NAME` with port `http` 80/TCP at these ClusterIPs.
pub(crate) fn service(name: &str, cluster_ips: &[&str]) -> Service {
    Service {
        cluster_ips: cluster_ips.iter().map(|addr| ip(addr)).collect(),
        ports: vec![port("http", Protocol::Tcp, 80, 0)],
        ..Service::new(ServiceName::new("shop", name))
    }
}

/// NodePort 0 = none.
pub(crate) fn port(name: &str, protocol: Protocol, port: u16, node_port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol, port: Port::new(port).unwrap(), node_port: Port::new(node_port) }
}

/// A slice of `shop/SERVICE` with target port 8080 for each port of it: addresses, each with the node it is on.
pub(crate) fn slice(service: &Service, endpoints: &[(&str, &str)]) -> Object {
    let ready = |(addr, node): &(&str, &str)| Endpoint { node: Some((*node).into()), ..Endpoint::ready(ip(addr)) };
    let target =
        |p: &ServicePort| SlicePort { name: p.name.clone(), protocol: p.protocol, port: Port::new(8080).unwrap() };
    let family = endpoints.first().map_or(Family::V4, |(addr, _)| Family::of(ip(addr)));
    Object::EndpointSlice(EndpointSlice {
        name: SliceName::new("shop", &format!("{}-{family}", service.name.name)),
        service: service.name.clone(),
        family,
        ports: service.ports.iter().map(target).collect(),
        endpoints: endpoints.iter().map(ready).collect(),
    })
}

pub(crate) fn service_cidr(cidrs: &[&str]) -> Object {
    Object::ServiceCidr(ServiceCidr { name: "kubernetes".into(), cidrs: cidrs.iter().map(|cidr| net(cidr)).collect() })
}

impl World {
    pub(crate) fn with(mut self, object: Object) -> Self {
        self.index.apply(Event::Applied(object));
        self
    }

    /// A Service with one endpoint on this node and one on another: 10.0.1.N and 10.0.2.N.
    pub(crate) fn serving(self, service: Service, number: u8) -> Self {
        let (here, there) = (format!("10.0.1.{number}"), format!("10.0.2.{number}"));
        let slice = slice(&service, &[(&here, "a"), (&there, "b")]);
        self.with(Object::Service(service)).with(slice)
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut ProxyConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// The answer as `VERDICT RULE [ENDPOINT …] [masquerade]`. `to` is `ADDRESS:PORT/PROTOCOL`, or `ADDRESS/icmp`.
    pub(crate) fn ask(&self, from: &str, to: &str) -> String {
        self.ask_by(from, to, None)
    }

    pub(crate) fn ask_by(&self, from: &str, to: &str, interface: Option<&str>) -> String {
        let decision = decide(&packet(from, to, interface), &self.index, &self.config);
        let mut answer = format!("{} {}", decision.verdict.as_str(), decision.rule);
        if decision.verdict.as_str() == "forward" {
            let hosts = decision.endpoints.iter().map(|backend| match backend.addr {
                IpAddr::V4(addr) => format!("{}.{}", addr.octets()[2], addr.octets()[3]),
                IpAddr::V6(addr) => addr.to_string(),
            });
            answer = format!("{answer} [{}]", hosts.collect::<Vec<_>>().join(" "));
            if decision.masquerade.as_str() != "never" {
                answer = format!("{answer} {}", decision.masquerade.as_str());
            }
        } else {
            assert_eq!((decision.endpoints.len(), decision.masquerade.as_str()), (0, "never"), "{from} {to}");
            assert_eq!(decision.affinity, None, "{from} {to}");
        }
        assert!(!decision.why.is_empty(), "{from} {to}: no answer without a reason");
        answer
    }
}

pub(crate) fn packet(from: &str, to: &str, interface: Option<&str>) -> Packet {
    let (at, protocol) = to.rsplit_once('/').unwrap();
    let (destination, transport) = match protocol.parse() {
        Ok(protocol) => {
            let (addr, port) = at.rsplit_once(':').unwrap();
            (ip(addr.trim_matches(['[', ']'])), Transport::Port(protocol, port.parse().unwrap()))
        }
        Err(_) => (ip(at), Transport::Echo),
    };
    Packet { source: ip(from), destination, transport, interface: interface.map(Into::into) }
}
