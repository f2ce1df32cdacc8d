//! What one Service port has: frontends, slots, and chains for the size of its set.
use crate::nft::{Elements, Transaction, Value, rule, words};
use crate::node::{MASQUERADE_MARK, NodeConfig};
use crate::ruleset::ServedPort;
use sheave_core::{Backend, Family, Port};
use std::fmt;
use std::net::IpAddr;

/// A map of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Map {
    Frontends,
    Backends,
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontends => "frontends",
            Self::Backends => "backends",
        })
    }
}

/// Who is masqueraded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Scope {
    /// At a ClusterIP: who is no pod.
    Internal,
    /// At any other address: everyone.
    External,
}

/// The chain of all frontends of a scope whose sets have the same size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Group {
    scope: Scope,
    size: usize,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = match self.scope {
            Scope::Internal => "internal",
            Scope::External => "external",
        };
        write!(f, "{scope}-{}", self.size)
    }
}

impl Group {
    /// Those a port needs whose set is not empty.
    pub(super) fn of(port: &ServedPort) -> impl Iterator<Item = Self> {
        let scopes = [(true, Scope::Internal), (port.externally_accessible(), Scope::External)];
        let size = port.cluster.len();
        scopes.into_iter().filter_map(move |(used, scope)| used.then_some(Self { scope, size }))
    }
}

/// Makes a group's chain.
pub(super) fn chain(transaction: &mut Transaction, node: &NodeConfig, group: Group) {
    let ip = words(Family::of(node.addr)).ip;
    transaction.chain(group, "");
    match (group.scope, node.pods) {
        (Scope::External, _) => rule!(transaction, group, "meta mark set meta mark or {MASQUERADE_MARK}"),
        (Scope::Internal, Some(pods)) => {
            rule!(transaction, group, "{ip} saddr != {pods} meta mark set meta mark or {MASQUERADE_MARK}");
        }
        (Scope::Internal, None) => {}
    }
    let size = group.size;
    rule!(
        transaction,
        group,
        "dnat {ip} to {ip} daddr . meta l4proto . th dport . numgen random mod {size} map @backends"
    );
}

/// The elements a port has with its backends in these slots.
pub(super) fn elements(port: &ServedPort, node: &NodeConfig, slots: &[Backend]) -> Elements<Map> {
    let mut elements = Elements::default();
    for (addr, number, scope) in frontends(port, node) {
        let key = format!("{addr} . {} . {number}", port.name.protocol);
        for (slot, backend) in slots.iter().enumerate() {
            let data = format!("{} . {}", backend.addr, backend.port);
            elements.put(Map::Backends, format!("{key} . {slot}"), Value::of(data));
        }
        let verdict = match slots.len() {
            0 => "goto refuse".to_owned(),
            size => format!("goto {}", Group { scope, size }),
        };
        elements.put(Map::Frontends, key, Value::of(verdict));
    }
    elements
}

fn frontends<'a>(port: &'a ServedPort, node: &'a NodeConfig) -> impl Iterator<Item = (IpAddr, Port, Scope)> + 'a {
    let external = port.external_ips.iter().chain(&port.load_balancer_ips);
    let external = external.map(|addr| (*addr, port.port, Scope::External));
    let node_port = port.node_port.map(|number| (node.addr, number, Scope::External));
    [(port.cluster_ip, port.port, Scope::Internal)].into_iter().chain(external).chain(node_port)
}
