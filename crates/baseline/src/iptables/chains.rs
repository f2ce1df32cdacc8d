//! The chains of one Service port: who is masqueraded, who may come, and which endpoint it will be.
use super::frontends::To;
use super::names::{self, Chain, Chains, uses_firewall};
use super::tables::{Table, Tables};
use super::{push, rule};
use crate::node::NodeConfig;
use crate::ruleset::ServedPort;
use sheave_core::{Backend, TrafficPolicy};
use std::fmt;

/// Writes all of a Service port's chains; without comments at its endpoints if the cluster is `large`.
pub(super) fn write(tables: &mut Tables, port: &ServedPort, node: &NodeConfig, large: bool) {
    let chains = Chains::of(port);
    let endpoints = Endpoints { port, chains: names::endpoints(port), large };
    internal(tables, port, node, &chains);
    external(tables, port, node, &chains);
    firewall(tables, port, node, &chains);
    if port.uses_cluster() {
        endpoints.choose(tables, chains.cluster, &port.cluster);
    }
    if port.uses_local() {
        endpoints.choose(tables, chains.local, &port.local);
    }
    for (endpoint, chain) in &endpoints.chains {
        endpoints.translate(tables, *endpoint, *chain);
    }
}

/// What is not from a pod and dials the ClusterIP is masqueraded, because the endpoint may run on another node.
fn internal(tables: &mut Tables, port: &ServedPort, node: &NodeConfig, chains: &Chains) {
    let Some(pods) = node.pods.filter(|_| port.has_internal_endpoints()) else { return };
    let (name, to) = (&port.name, To(port.name.protocol, port.cluster_ip, port.port));
    let chain = match port.internal {
        TrafficPolicy::Cluster => chains.cluster,
        TrafficPolicy::Local => chains.local,
    };
    rule!(&mut tables.nat, chain, "-m comment --comment \"{name} cluster IP\" {to} ! -s {pods} -j KUBE-MARK-MASQ");
}

fn external(tables: &mut Tables, port: &ServedPort, node: &NodeConfig, chains: &Chains) {
    if !port.uses_external() {
        return;
    }
    let (name, chain) = (&port.name, chains.external);
    tables.chain(Table::Nat, chain);
    let nat = &mut tables.nat;
    let next = match port.external {
        TrafficPolicy::Cluster => {
            rule!(
                nat,
                chain,
                "-m comment --comment \"masquerade traffic for {name} external destinations\" -j KUBE-MARK-MASQ"
            );
            chains.cluster
        }
        TrafficPolicy::Local => {
            let to = chains.cluster;
            if let Some(pods) = node.pods {
                rule!(
                    nat,
                    chain,
                    "-m comment --comment \"pod traffic for {name} external destinations\" -s {pods} -j {to}"
                );
            }
            let local = "-m addrtype --src-type LOCAL";
            rule!(
                nat,
                chain,
                "-m comment --comment \"masquerade LOCAL traffic for {name} external destinations\" {local} -j KUBE-MARK-MASQ"
            );
            rule!(
                nat,
                chain,
                "-m comment --comment \"route LOCAL traffic for {name} external destinations\" {local} -j {to}"
            );
            chains.local
        }
    };
    if port.has_external_endpoints() {
        rule!(nat, chain, "-j {next}");
    }
}

/// Lets sources through; what reaches the end was not translated, and KUBE-PROXY-FIREWALL drops it.
fn firewall(tables: &mut Tables, port: &ServedPort, node: &NodeConfig, chains: &Chains) {
    if !uses_firewall(port) {
        return;
    }
    let (name, chain, to) = (&port.name, chains.firewall, chains.external);
    tables.chain(Table::Nat, chain);
    let nat = &mut tables.nat;
    for range in &port.source_ranges {
        rule!(nat, chain, "-m comment --comment \"{name} loadbalancer IP\" -s {range} -j {to}");
    }
    if port.source_ranges.iter().any(|range| range.contains(&node.addr)) {
        for addr in &port.load_balancer_ips {
            rule!(nat, chain, "-m comment --comment \"{name} loadbalancer IP\" -s {addr} -j {to}");
        }
    }
    rule!(nat, chain, "-m comment --comment \"other traffic to {name} will be dropped by KUBE-PROXY-FIREWALL\"");
}

/// Writes the rules about endpoints.
struct Endpoints<'a> {
    port: &'a ServedPort,
    /// In order.
    chains: Vec<(Backend, Chain)>,
    large: bool,
}

/// A comment, with the space after it, or nothing.
struct Comment<'a>(bool, fmt::Arguments<'a>);

impl fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 { write!(f, "-m comment --comment {} ", self.1) } else { Ok(()) }
    }
}

impl Endpoints<'_> {
    /// One rule for each endpoint, taken with a probability that makes all equally likely; before them one for each that
    /// takes who was there lately.
    fn choose(&self, tables: &mut Tables, chain: Chain, endpoints: &[Backend]) {
        tables.chain(Table::Nat, chain);
        let nat = &mut tables.nat;
        let name = &self.port.name;
        let with_names = || endpoints.iter().map(|endpoint| (endpoint, self.chain(endpoint)));
        if let Some(affinity) = self.port.affinity {
            for (endpoint, to) in with_names() {
                let comment = format_args!("\"{name} -> {endpoint}\"");
                rule!(
                    nat,
                    chain,
                    "{}-m recent --name {to} --rcheck --seconds {} --reap -j {to}",
                    Comment(!self.large, comment),
                    affinity.timeout_s
                );
            }
        }
        for (left, (endpoint, to)) in (1..=endpoints.len()).rev().zip(with_names()) {
            let comment = format_args!("\"{name} -> {endpoint}\"");
            let comment = Comment(!self.large, comment);
            match left {
                1 => rule!(nat, chain, "{comment}-j {to}"),
                _ => rule!(
                    nat,
                    chain,
                    "{comment}-m statistic --mode random --probability {:.10} -j {to}",
                    probability(left)
                ),
            }
        }
    }

    fn chain(&self, endpoint: &Backend) -> Chain {
        let at = self.chains.binary_search_by(|(held, _)| held.cmp(endpoint));
        self.chains[at.expect("invariant: what is chosen from can be reached")].1
    }

    /// Masquerades what comes from the endpoint itself, and translates.
    fn translate(&self, tables: &mut Tables, endpoint: Backend, chain: Chain) {
        let (name, protocol) = (&self.port.name, self.port.name.protocol);
        let comment = Comment(!self.large, format_args!("{name}"));
        tables.chain(Table::Nat, chain);
        let nat = &mut tables.nat;
        rule!(nat, chain, "{comment}-s {} -j KUBE-MARK-MASQ", endpoint.addr);
        let comment = Comment(!self.large, format_args!("{name}"));
        match self.port.affinity {
            Some(_) => rule!(
                nat,
                chain,
                "{comment}-m recent --name {chain} --set -m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}"
            ),
            None => rule!(nat, chain, "{comment}-m {protocol} -p {protocol} -j DNAT --to-destination {endpoint}"),
        }
    }
}

/// Of taking this one when `left` are left, itself included.
fn probability(left: usize) -> f64 {
    1.0 / f64::from(u32::try_from(left).unwrap_or(u32::MAX))
}
