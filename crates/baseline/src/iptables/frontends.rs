//! Rules that lead from what is dialled to the Service port's chains. They stand in shared chains, so every sync writes those
//! of every Service.
use super::names::{Chains, uses_firewall};
use super::tables::Tables;
use super::{push, rule};
use crate::ruleset::ServedPort;
use crate::script::Lines;
use sheave_core::{Port, Protocol, TrafficPolicy};
use std::fmt;
use std::net::IpAddr;

/// The match of an address and a port.
pub(super) struct To(pub(super) Protocol, pub(super) IpAddr, pub(super) Port);

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(protocol, addr, port) = self;
        write!(f, "-m {protocol} -p {protocol} -d {addr} --dport {port}")
    }
}

/// Where traffic goes that has no endpoint, and why.
struct Refusal {
    target: &'static str,
    reason: &'static str,
}

impl Refusal {
    fn of(port: &ServedPort) -> Self {
        if port.has_endpoints() {
            Self { target: "DROP", reason: "has no local endpoints" }
        } else {
            Self { target: "REJECT", reason: "has no endpoints" }
        }
    }
}

/// Writes all of a Service port's.
pub(super) fn write(tables: &mut Tables, port: &ServedPort) {
    let chains = Chains::of(port);
    cluster_ip(tables, port, &chains);
    external_ips(tables, port, &chains);
    load_balancer_ips(tables, port, &chains);
    node_port(tables, port, &chains);
    if let Some(check) = port.health_check_node_port {
        let name = &port.name;
        rule!(
            &mut tables.filter,
            "KUBE-NODEPORTS",
            "-m comment --comment \"{name} health check node port\" -m tcp -p tcp --dport {check} -j ACCEPT"
        );
    }
}

fn cluster_ip(tables: &mut Tables, port: &ServedPort, chains: &Chains) {
    let (name, to) = (&port.name, To(port.name.protocol, port.cluster_ip, port.port));
    if port.has_internal_endpoints() {
        let chain = match port.internal {
            TrafficPolicy::Cluster => chains.cluster,
            TrafficPolicy::Local => chains.local,
        };
        rule!(&mut tables.nat, "KUBE-SERVICES", "-m comment --comment \"{name} cluster IP\" {to} -j {chain}");
    } else {
        refuse(&mut tables.filter, "KUBE-SERVICES", port, format_args!("{to}"));
    }
}

fn external_ips(tables: &mut Tables, port: &ServedPort, chains: &Chains) {
    for addr in &port.external_ips {
        let (name, to) = (&port.name, To(port.name.protocol, *addr, port.port));
        if port.has_endpoints() {
            let chain = chains.external;
            rule!(&mut tables.nat, "KUBE-SERVICES", "-m comment --comment \"{name} external IP\" {to} -j {chain}");
        }
        refuse_external(tables, port, format_args!("{to}"));
    }
}

fn load_balancer_ips(tables: &mut Tables, port: &ServedPort, chains: &Chains) {
    let restricted = uses_firewall(port);
    let chain = if restricted { chains.firewall } else { chains.external };
    for addr in &port.load_balancer_ips {
        let (name, to) = (&port.name, To(port.name.protocol, *addr, port.port));
        if port.has_endpoints() {
            rule!(&mut tables.nat, "KUBE-SERVICES", "-m comment --comment \"{name} loadbalancer IP\" {to} -j {chain}");
        }
        if restricted {
            let firewall = chains.firewall;
            rule!(
                &mut tables.filter,
                "KUBE-PROXY-FIREWALL",
                "-m comment --comment \"{name} traffic not accepted by {firewall}\" {to} -j DROP"
            );
        }
        refuse_external(tables, port, format_args!("{to}"));
    }
}

fn node_port(tables: &mut Tables, port: &ServedPort, chains: &Chains) {
    let Some(number) = port.node_port else { return };
    let (name, protocol, chain) = (&port.name, port.name.protocol, chains.external);
    if port.has_endpoints() {
        rule!(
            &mut tables.nat,
            "KUBE-NODEPORTS",
            "-m comment --comment {name} -m {protocol} -p {protocol} --dport {number} -j {chain}"
        );
    }
    let matches = format_args!("-m addrtype --dst-type LOCAL -m {protocol} -p {protocol} --dport {number}");
    refuse_external(tables, port, matches);
}

fn refuse_external(tables: &mut Tables, port: &ServedPort, matches: fmt::Arguments<'_>) {
    if !port.has_external_endpoints() {
        refuse(&mut tables.filter, "KUBE-EXTERNAL-SERVICES", port, matches);
    }
}

fn refuse(filter: &mut Lines, chain: &str, port: &ServedPort, matches: fmt::Arguments<'_>) {
    let (name, Refusal { target, reason }) = (&port.name, Refusal::of(port));
    rule!(filter, chain, "-m comment --comment \"{name} {reason}\" {matches} -j {target}");
}
