//! Clients outside the cluster, at every address that they may dial: through the agent, the fabric and the node's uplink.
use crate::NEEDS;
use crate::manifests::ServiceSpec;
use crate::world::{BACKENDS, DNS, HTTP, TIMEOUT, World, answer, eventually, web};
use ipnet::IpNet;
use serde_json::json;
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Client, Target, Transport};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

pub(crate) const OUTSIDE: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];
const LED: [&str; 2] = ["203.0.113.0/24", "2001:db8:113::/64"];
const LOAD_BALANCER: [&str; 2] = ["203.0.113.10", "2001:db8:113::10"];
pub(crate) const EXTERNAL: [&str; 2] = ["203.0.113.20", "2001:db8:113::20"];
pub(crate) const NODE_PORTS: [(Transport, u16); 2] = [(Transport::Tcp, 30080), (Transport::Udp, 30053)];

pub(crate) fn ips(texts: [&str; 2]) -> [IpAddr; 2] {
    texts.map(|text| text.parse().unwrap())
}

/// The Service `web` with everything that leads to it from outside.
pub(crate) fn publish(world: &World, policy: &str) {
    let service = web(&BACKENDS);
    let ports = [HTTP, DNS].into_iter().zip(NODE_PORTS).map(|(port, (_, node_port))| {
        json!({"name": port.0, "protocol": port.1, "port": port.2, "targetPort": port.3, "nodePort": node_port})
    });
    let published = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": service.name, "namespace": "test"},
        "spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": policy,
            "clusterIP": service.vips[0].to_string(),
            "clusterIPs": service.vips.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
            "externalIPs": EXTERNAL,
            "ports": ports.collect::<Vec<_>>(),
        },
        "status": {"loadBalancer": {"ingress": LOAD_BALANCER.map(|addr| json!({"ip": addr}))}},
    });
    let (unfinished, path) = (world.manifests().join(".web.tmp"), world.manifests().join("web.json"));
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let slices = whole["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "EndpointSlice").cloned();
    let items: Vec<_> = [published].into_iter().chain(slices).collect();
    std::fs::write(&unfinished, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// A world where `web` with these endpoints is published from the start, and a host outside that is led to node-a.
pub(crate) fn open_to_the_outside(socket_lb: SocketLb, service: &ServiceSpec, policy: &str) -> World {
    let mut world = World::new(socket_lb);
    world.put(service);
    publish(&world, policy);
    world.cluster.add_host("outside", &ips(OUTSIDE)).unwrap();
    let led: Vec<IpNet> = LED.iter().map(|cidr| cidr.parse().unwrap()).collect();
    world.cluster.lead(&led, "node-a", &["outside"]).unwrap();
    world.start_agent();
    world
}

/// What a client outside may dial, by family.
fn destinations(world: &World) -> Vec<Target> {
    let node = world
        .addrs("node-a")
        .iter()
        .flat_map(|&addr| NODE_PORTS.map(|(transport, port)| Target { addr: SocketAddr::new(addr, port), transport }));
    let vips = ips(LOAD_BALANCER).into_iter().chain(ips(EXTERNAL)).flat_map(|addr| {
        [(Transport::Tcp, HTTP.2), (Transport::Udp, DNS.2)]
            .map(|(transport, port)| Target { addr: SocketAddr::new(addr, port), transport })
    });
    node.chain(vips).collect()
}

/// The pods that answer, and the addresses that they see.
fn seen(client: &Client, target: Target) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let answers: Vec<_> = (0..40).map(|_| answer(client, target)).collect();
    (answers.iter().map(|answer| answer.pod.clone()).collect(), answers.iter().map(|answer| answer.peer.ip()).collect())
}

/// A4, A7, A10, E5, R2, R3
#[test]
fn clients_outside_reach_a_service_by_its_node_port_its_load_balancer_and_its_external_ips() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    // A world for each policy: a client may get the port of a UDP flow that goes on as it was decided before (L6).
    for (policy, pods, masqueraded) in [("Cluster", &BACKENDS[..], true), ("Local", &["near"], false)] {
        let world = open_to_the_outside(SocketLb::All, &web(&BACKENDS), policy);
        let client = Client::new(world.cluster.host("outside").unwrap().sandbox(), TIMEOUT);
        for target in destinations(&world) {
            eventually(&format!("{target} of policy {policy} is served"), || client.request(target).unwrap().is_ok());
            let want: BTreeSet<String> = pods.iter().map(|&pod| pod.to_owned()).collect();
            let sources = if masqueraded { world.addrs("node-a").to_vec() } else { ips(OUTSIDE).to_vec() };
            let of_family = sources.into_iter().filter(|addr| addr.is_ipv4() == target.addr.is_ipv4());
            assert_eq!(seen(&client, target), (want, of_family.collect()), "{target} of policy {policy}");
        }
    }
}
