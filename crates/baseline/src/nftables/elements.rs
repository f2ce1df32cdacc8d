//! Elements of the maps by which traffic finds its Service.
use super::names::Names;
use crate::nft::{Elements, Value};
use crate::ruleset::ServedPort;
use sheave_core::TrafficPolicy;
use std::fmt;
use std::net::IpAddr;

/// A set or map of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Map {
    ClusterIps,
    ServiceIps,
    FirewallIps,
    NoEndpointServices,
    NoEndpointNodePorts,
    ServiceNodePorts,
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIps => "cluster-ips",
            Self::ServiceIps => "service-ips",
            Self::FirewallIps => "firewall-ips",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::ServiceNodePorts => "service-nodeports",
        })
    }
}

/// The elements that a Service port has.
pub(super) fn of(port: &ServedPort, names: &Names) -> Elements<Map> {
    let mut elements = Collected { port, elements: Elements::default() };
    elements.elements.put(Map::ClusterIps, port.cluster_ip.to_string(), Value::default());
    let internal = match port.internal {
        TrafficPolicy::Cluster => &names.cluster,
        TrafficPolicy::Local => &names.local,
    };
    if port.has_internal_endpoints() {
        elements.goto(Map::ServiceIps, key(port, port.cluster_ip), internal);
    } else {
        elements.refuse(Map::NoEndpointServices, key(port, port.cluster_ip));
    }
    for addr in port.external_ips.iter().chain(&port.load_balancer_ips) {
        elements.external(Map::ServiceIps, Map::NoEndpointServices, &key(port, *addr), names);
    }
    for addr in port.load_balancer_ips.iter().filter(|_| port.restricts_sources()) {
        elements.goto(Map::FirewallIps, key(port, *addr), &names.firewall);
    }
    if let Some(number) = port.node_port {
        let key = format!("{} . {number}", port.name.protocol);
        elements.external(Map::ServiceNodePorts, Map::NoEndpointNodePorts, &key, names);
    }
    elements.elements
}

fn key(port: &ServedPort, addr: IpAddr) -> String {
    format!("{addr} . {} . {}", port.name.protocol, port.port)
}

struct Collected<'a> {
    port: &'a ServedPort,
    elements: Elements<Map>,
}

impl Collected<'_> {
    /// What comes from outside is led on if there is any endpoint, because some of it may be short-circuited, and refused if
    /// there is none for the rest.
    fn external(&mut self, lead: Map, refuse: Map, key: &str, names: &Names) {
        if self.port.has_endpoints() {
            self.goto(lead, key.to_owned(), &names.external);
        }
        if !self.port.has_external_endpoints() {
            self.refuse(refuse, key.to_owned());
        }
    }

    fn goto(&mut self, map: Map, key: String, chain: &str) {
        self.elements.put(map, key, Value::of(format!("goto {chain}")));
    }

    fn refuse(&mut self, map: Map, key: String) {
        let verdict = if self.port.has_endpoints() { "drop" } else { "goto reject-chain" };
        self.elements.put(map, key, Value { data: verdict.to_owned(), comment: self.port.name.to_string() });
    }
}
