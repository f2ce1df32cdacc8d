//! What is there whatever the Services (kubernetes/kubernetes, `pkg/proxy/nftables/proxier.go`, `setupNFTables`).
use super::elements::Map;
use crate::nft::{Transaction, Words, rule, words};
use crate::node::{MASQUERADE_MARK, NodeConfig};
use ipnet::IpNet;
use sheave_core::Family;

const SERVICES: &str = "services";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";
const SERVICE_CHECK: &str = "service-endpoints-check";
const NODE_PORT_CHECK: &str = "nodeport-endpoints-check";
const FIREWALL_CHECK: &str = "firewall-check";
const MASQUERADING: &str = "masquerading";
const NODE_PORT_IPS: &str = "nodeport-ips";

/// Where the chain of this name is hooked in. dstnat is −100: what looks at the address that was dialled comes before.
const BASE: [(&str, &str); 8] = [
    ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110"),
    ("filter-output-pre-dnat", "type filter hook output priority -110"),
    ("filter-input", "type filter hook input priority 0"),
    ("filter-forward", "type filter hook forward priority 0"),
    ("filter-output", "type filter hook output priority 0"),
    ("nat-prerouting", "type nat hook prerouting priority -100"),
    ("nat-output", "type nat hook output priority -100"),
    ("nat-postrouting", "type nat hook postrouting priority 100"),
];

const NEW: &str = "ct state new ";

/// Which chain leads to which, and for what packets.
const JUMPS: [(&str, &str, &str); 11] = [
    ("filter-input", NEW, NODE_PORT_CHECK),
    ("filter-input", NEW, SERVICE_CHECK),
    ("filter-forward", NEW, SERVICE_CHECK),
    ("filter-output", NEW, SERVICE_CHECK),
    ("filter-prerouting-pre-dnat", NEW, FIREWALL_CHECK),
    ("filter-output-pre-dnat", NEW, FIREWALL_CHECK),
    ("nat-output", "", SERVICES),
    ("nat-prerouting", "", SERVICES),
    ("nat-postrouting", "", MASQUERADING),
    ("filter-forward", NEW, CLUSTER_IPS_CHECK),
    ("filter-output", NEW, CLUSTER_IPS_CHECK),
];

/// The chains that others lead to.
const TOP: [&str; 7] = [
    NODE_PORT_CHECK,
    SERVICE_CHECK,
    FIREWALL_CHECK,
    SERVICES,
    MASQUERADING,
    CLUSTER_IPS_CHECK,
    super::MARK_FOR_MASQUERADE,
];

/// Writes all of it.
pub(super) fn write(transaction: &mut Transaction, node: &NodeConfig) {
    let words = words(Family::of(node.addr));
    transaction.table("rules for kube-proxy");
    BASE.iter().for_each(|(chain, _)| transaction.delete_chain_if_any(chain));
    for (chain, hook) in BASE {
        transaction.chain(chain, &format!(" {{ {hook} ; }}"));
    }
    TOP.iter().for_each(|chain| transaction.chain(chain, ""));
    for (from, matches, to) in JUMPS {
        rule!(transaction, from, "{matches}jump {to}");
    }
    masquerading(transaction);
    cluster_ips(transaction, node, &words);
    node_port_ips(transaction, node, &words);
    no_endpoints(transaction, &words);
    dispatch(transaction, &words);
}

fn masquerading(transaction: &mut Transaction) {
    rule!(transaction, super::MARK_FOR_MASQUERADE, "mark set mark or {MASQUERADE_MARK}");
    rule!(transaction, MASQUERADING, "mark and {MASQUERADE_MARK} == 0 return");
    rule!(transaction, MASQUERADING, "mark set mark xor {MASQUERADE_MARK}");
    rule!(transaction, MASQUERADING, "masquerade fully-random");
}

fn cluster_ips(transaction: &mut Transaction, node: &NodeConfig, words: &Words) {
    let (set, Words { ip, addr, .. }) = (Map::ClusterIps, words);
    transaction.set("set", set, format_args!("type {addr} ; comment \"Active ClusterIPs\""));
    rule!(
        transaction,
        CLUSTER_IPS_CHECK,
        "{ip} daddr @{set} reject comment \"Reject traffic to invalid ports of ClusterIPs\""
    );
    if !node.service_cidrs.is_empty() {
        let cidrs: Vec<String> = node.service_cidrs.iter().map(IpNet::to_string).collect();
        let cidrs = cidrs.join(",");
        rule!(
            transaction,
            CLUSTER_IPS_CHECK,
            "{ip} daddr {{ {cidrs} }} drop comment \"Drop traffic to unallocated ClusterIPs\""
        );
    }
}

/// nftables mode accepts NodePort traffic at the node's primary address unless told otherwise.
fn node_port_ips(transaction: &mut Transaction, node: &NodeConfig, words: &Words) {
    let comment = "IPs that accept NodePort traffic";
    transaction.set("set", NODE_PORT_IPS, format_args!("type {} ; comment \"{comment}\"", words.addr));
    transaction.element(NODE_PORT_IPS, node.addr);
}

fn no_endpoints(transaction: &mut Transaction, words: &Words) {
    let Words { ip, .. } = words;
    let services = Map::NoEndpointServices;
    let node_ports = Map::NoEndpointNodePorts;
    let comment = "vmap to drop or reject packets to services with no endpoints";
    verdicts(transaction, services, &by_addr(words), comment);
    let comment = "vmap to drop or reject packets to service nodeports with no endpoints";
    verdicts(transaction, node_ports, BY_PORT, comment);
    let comment = " { comment \"helper for @no-endpoint-services / @no-endpoint-nodeports\" ; }";
    transaction.chain("reject-chain", comment);
    rule!(transaction, "reject-chain", "reject");
    rule!(transaction, SERVICE_CHECK, "{ip} daddr . meta l4proto . th dport vmap @{services}");
    rule!(transaction, NODE_PORT_CHECK, "{ip} daddr @{NODE_PORT_IPS} meta l4proto . th dport vmap @{node_ports}");
}

fn dispatch(transaction: &mut Transaction, words: &Words) {
    let Words { ip, .. } = words;
    let (firewall, services, node_ports) = (Map::FirewallIps, Map::ServiceIps, Map::ServiceNodePorts);
    verdicts(transaction, firewall, &by_addr(words), "destinations that are subject to LoadBalancerSourceRanges");
    rule!(transaction, FIREWALL_CHECK, "{ip} daddr . meta l4proto . th dport vmap @{firewall}");
    verdicts(transaction, services, &by_addr(words), "ClusterIP, ExternalIP and LoadBalancer IP traffic");
    verdicts(transaction, node_ports, BY_PORT, "NodePort traffic");
    rule!(transaction, SERVICES, "{ip} daddr . meta l4proto . th dport vmap @{services}");
    rule!(transaction, SERVICES, "{ip} daddr @{NODE_PORT_IPS} meta l4proto . th dport vmap @{node_ports}");
}

const BY_PORT: &str = "inet_proto . inet_service";

fn by_addr(words: &Words) -> String {
    format!("{} . {BY_PORT}", words.addr)
}

fn verdicts(transaction: &mut Transaction, map: Map, key: &str, comment: &str) {
    transaction.set("map", map, format_args!("type {key} : verdict ; comment \"{comment}\""));
}
