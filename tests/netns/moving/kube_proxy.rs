//! kube-proxy's rules on the node, as they stand when it has synced, or has ended and left them.
use crate::outside::NODE_PORTS;
use crate::world::{BACKENDS, DNS, HTTP, World, web};
use sheave_baseline::{Layout, NodeConfig, Ruleset, Script, ServedPort, exec};
use sheave_core::{Backend, Family, Port, Protocol, ServiceName, ServicePortName};
use sheave_lab::Sandbox;
use std::net::IpAddr;
use std::process::Command;

/// The rules of a layout for the Service `web`.
pub(crate) struct KubeProxy {
    node: Sandbox,
    scripts: Vec<Script>,
}

impl KubeProxy {
    /// Nothing is written yet.
    pub(crate) fn new(layout: Layout, world: &World) -> Self {
        let node = world.cluster.node("node-a").unwrap();
        let script = |&addr: &IpAddr| {
            let config = NodeConfig { addr, pods: None, service_cidrs: Vec::new() };
            layout.baseline(config).cold(&ruleset(Family::of(addr)))
        };
        Self { node: node.sandbox().clone(), scripts: node.addrs().iter().map(script).collect() }
    }

    /// Writes them.
    pub(crate) fn start(&self) {
        for script in self.scripts.clone() {
            let found = script.tool.find().unwrap_or_else(|missing| panic!("{missing}"));
            let applied = self.node.run(move || exec::apply(&found, &script)).unwrap();
            applied.unwrap_or_else(|refused| panic!("{refused}"));
        }
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn ruleset(family: Family) -> Ruleset {
    let service = web(&BACKENDS);
    let vip = service.vips.iter().copied().find(|vip| Family::of(*vip) == family).unwrap();
    let mut rules = Ruleset::new(family);
    for (spec, protocol, node_port) in [(HTTP, Protocol::Tcp, NODE_PORTS[0].1), (DNS, Protocol::Udp, NODE_PORTS[1].1)] {
        let addrs = service.endpoints.iter().map(|(addr, _)| *addr).filter(|addr| Family::of(*addr) == family);
        let backends = addrs.map(|addr| Backend { addr, port: port(spec.3) });
        let name = ServicePortName { service: ServiceName::new("test", "web"), port: spec.0.into(), protocol };
        let served = ServedPort::cluster_ip(name, vip, port(spec.2), backends);
        rules.insert(ServedPort { node_port: Some(port(node_port)), ..served });
    }
    rules
}

/// Turns connection tracking on, as the rules of a network plug-in do on every node.
pub(crate) fn track_connections() {
    let rules =
        "table inet plug-in { chain forward { type filter hook forward priority 0; ct state invalid counter; }; }";
    let output = Command::new("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Empties the node's connection tracking, as time does.
pub(crate) fn forget_flows(world: &World) {
    let flush = || Command::new("conntrack").arg("-F").output().unwrap();
    let output = world.cluster.node("node-a").unwrap().sandbox().run(flush).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
