//! The chains of one Service port: who is masqueraded, who may come, and which endpoint it will be.
use super::MARK_FOR_MASQUERADE;
use super::names::Names;
use crate::nft::{Transaction, rule, words};
use crate::node::NodeConfig;
use crate::ruleset::ServedPort;
use sheave_core::{Backend, Family, TrafficPolicy};
use std::fmt::Write as _;

/// Makes or empties all of a Service port's chains.
pub(super) fn make(transaction: &mut Transaction, port: &ServedPort, names: &Names) {
    names.chains(port).for_each(|chain| transaction.chain(chain, ""));
}

/// Fills them.
pub(super) fn write(transaction: &mut Transaction, port: &ServedPort, names: &Names, node: &NodeConfig) {
    let ip = words(Family::of(node.addr)).ip;
    internal(transaction, port, names, node, ip);
    external(transaction, port, names, node, ip);
    firewall(transaction, port, names, node, ip);
    if let Some(affinity) = port.affinity {
        let addr = words(Family::of(node.addr)).addr;
        for set in names.affinity_sets(port) {
            let timeout = affinity.timeout_s;
            transaction.set("set", set, format_args!("type {addr} ; flags dynamic,timeout ; timeout {timeout}s"));
        }
    }
    if port.uses_cluster() {
        choose(transaction, port, names, &names.cluster, &port.cluster, ip);
    }
    if port.uses_local() {
        choose(transaction, port, names, &names.local, &port.local, ip);
    }
    translate(transaction, port, names, ip);
}

/// What is not from a pod and dials the ClusterIP is masqueraded, because the endpoint may run on another node.
fn internal(transaction: &mut Transaction, port: &ServedPort, names: &Names, node: &NodeConfig, ip: &str) {
    let Some(pods) = node.pods.filter(|_| port.has_internal_endpoints()) else { return };
    let chain = match port.internal {
        TrafficPolicy::Cluster => &names.cluster,
        TrafficPolicy::Local => &names.local,
    };
    let addr = port.cluster_ip;
    rule!(transaction, chain, "{ip} daddr {addr} {ip} saddr != {pods} jump {MARK_FOR_MASQUERADE}");
}

fn external(transaction: &mut Transaction, port: &ServedPort, names: &Names, node: &NodeConfig, ip: &str) {
    if !port.uses_external() {
        return;
    }
    let (chain, cluster) = (&names.external, &names.cluster);
    let next = match port.external {
        TrafficPolicy::Cluster => {
            rule!(transaction, chain, "jump {MARK_FOR_MASQUERADE}");
            cluster
        }
        TrafficPolicy::Local => {
            if let Some(pods) = node.pods {
                rule!(transaction, chain, "{ip} saddr {pods} goto {cluster} comment \"short-circuit pod traffic\"");
            }
            let local = "fib saddr type local";
            rule!(transaction, chain, "{local} jump {MARK_FOR_MASQUERADE} comment \"masquerade local traffic\"");
            rule!(transaction, chain, "{local} goto {cluster} comment \"short-circuit local traffic\"");
            &names.local
        }
    };
    if port.has_external_endpoints() {
        rule!(transaction, chain, "goto {next}");
    }
}

fn firewall(transaction: &mut Transaction, port: &ServedPort, names: &Names, node: &NodeConfig, ip: &str) {
    if !port.restricts_sources() {
        return;
    }
    let mut sources: Vec<String> = port.source_ranges.iter().map(ToString::to_string).collect();
    if port.source_ranges.iter().any(|range| range.contains(&node.addr)) {
        sources.extend(port.load_balancer_ips.iter().map(ToString::to_string));
    }
    rule!(transaction, &names.firewall, "{ip} saddr != {{ {} }} drop", sources.join(" , "));
}

/// One rule that draws an endpoint; before it one for each that takes who was there lately.
fn choose(
    transaction: &mut Transaction,
    port: &ServedPort,
    names: &Names,
    chain: &str,
    endpoints: &[Backend],
    ip: &str,
) {
    let named = || endpoints.iter().map(|endpoint| names.endpoint(endpoint));
    for endpoint in named().filter(|_| port.affinity.is_some()) {
        rule!(transaction, chain, "{ip} saddr @{} goto {}", endpoint.affinity, endpoint.chain);
    }
    let mut elements = String::new();
    for (at, endpoint) in named().enumerate() {
        let comma = if at == 0 { "" } else { " , " };
        write!(elements, "{comma}{at} : goto {}", endpoint.chain).expect("invariant: a String takes all");
    }
    rule!(transaction, chain, "numgen random mod {} vmap {{ {elements} }}", endpoints.len());
}

/// Masquerades what comes from the endpoint itself, remembers the client, and translates.
fn translate(transaction: &mut Transaction, port: &ServedPort, names: &Names, ip: &str) {
    let protocol = port.name.protocol;
    for endpoint in &names.endpoints {
        let chain = &endpoint.chain;
        rule!(transaction, chain, "{ip} saddr {} jump {MARK_FOR_MASQUERADE}", endpoint.endpoint.addr);
        if port.affinity.is_some() {
            rule!(transaction, chain, "update @{} {{ {ip} saddr }}", endpoint.affinity);
        }
        rule!(transaction, chain, "meta l4proto {protocol} dnat to {}", endpoint.endpoint);
    }
}
