//! Associations of SCTP (A13) between real sockets, where the kernel has them: `cargo xtask vm` asks one that does.
use crate::NEEDS;
use crate::links::shell;
use crate::manifests::{PortSpec, ServiceSpec};
use crate::outside::{OUTSIDE, ips};
use crate::world::{BACKENDS, TIMEOUT, World, answer, eventually, web};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Client, Server, Target, has_sctp};
use sheave_tests::{device_or_defer, kernel_or_skip};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Another port at the endpoints, so that the checksum changes; and the same one.
const MOVED: PortSpec = PortSpec("moved", "SCTP", 2905, 3905);
const SAME: PortSpec = PortSpec("same", "SCTP", 2907, 2907);
const NODE_PORTS: [u16; 2] = [30905, 30907];
/// One packet; several, which a device may cut; enough that each backend is met.
const SIZES: [usize; 3] = [1, 1000, 20_000];
const REQUESTS: usize = 15;

fn service() -> ServiceSpec {
    ServiceSpec { ports: vec![MOVED, SAME], ..web(&BACKENDS) }
}

/// A world that serves it, and the backends.
fn serving() -> (World, Vec<Server>) {
    let mut world = World::new(SocketLb::All);
    world.put(&service());
    give_node_ports(&world);
    world.cluster.add_host("outside", &ips(OUTSIDE)).unwrap();
    let servers = BACKENDS.map(|pod| {
        let place = world.cluster.pod(pod).unwrap();
        let at = |&addr: &IpAddr| [MOVED, SAME].map(|port| Target::sctp(SocketAddr::new(addr, port.3)));
        let targets: Vec<Target> = place.addrs().iter().flat_map(at).collect();
        Server::start(place.sandbox(), pod, &targets).unwrap()
    });
    world.start_agent();
    (world, servers.into())
}

fn give_node_ports(world: &World) {
    let (unfinished, path) = (world.manifests().join(".web.tmp"), world.manifests().join("web.json"));
    let mut list: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let spec = &mut list["items"][0]["spec"];
    spec["type"] = "NodePort".into();
    NODE_PORTS.iter().enumerate().for_each(|(n, &port)| spec["ports"][n]["nodePort"] = port.into());
    std::fs::write(&unfinished, list.to_string()).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// Who dials what, and which place's addresses the backends see.
fn dials(world: &World) -> Vec<(&'static str, Target, &'static str)> {
    let vips = service().frontends().into_iter().map(|(addr, _)| Target::sctp(addr));
    let at_node = |&addr: &IpAddr| NODE_PORTS.map(|port| Target::sctp(SocketAddr::new(addr, port)));
    let node_ports = world.addrs("node-a").iter().flat_map(at_node).map(|target| ("outside", target, "node-a"));
    vips.flat_map(|target| [("client", target, "client"), ("node-a", target, "node-a")]).chain(node_ports).collect()
}

/// Every backend answers, with every byte, and associations go on over several requests.
fn every_backend_answers(world: &World, case: &str) {
    for (place, target, seen) in dials(world) {
        let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
        eventually(&format!("{case}: {place} reaches {target}"), || client.request(target).unwrap().is_ok());
        let mut pods = BTreeSet::new();
        for size in SIZES.into_iter().flat_map(|size| [size; REQUESTS]) {
            let answer = answer(&client.clone().with_payload(size), target);
            let told = format!("{case}: {place} sends {target} {size} bytes: {answer:?}");
            assert!(world.addrs(&answer.pod).contains(&answer.backend.ip()), "{told}");
            assert!(world.addrs(seen).contains(&answer.peer.ip()), "{told}");
            assert_eq!(answer.dialled, target.addr, "{told}");
            pods.insert(answer.pod);
        }
        assert_eq!(pods, BACKENDS.map(str::to_owned).into(), "{case}: {place} dials {target}");
        let mut held = client.hold(target).unwrap().unwrap();
        let answers: BTreeSet<SocketAddr> = (0..5).map(|_| held.round_trip().unwrap().backend).collect();
        assert_eq!(answers.len(), 1, "{case}: {place} dials {target}: {answers:?}");
    }
}

/// Lets the sockets of every place make the checksums themselves, or leave them to the device.
fn offload(world: &World, is: &str) {
    let script = format!(
        "for device in $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do
             ethtool -K $device tx-checksum-sctp {is}
             ethtool -k $device | grep -q '^.*tx-checksum-sctp: {is}'
         done"
    );
    shell(world.cluster.fabric(), script.clone());
    shell(world.cluster.host("outside").unwrap().sandbox(), script.clone());
    for node in world.cluster.nodes() {
        shell(node.sandbox(), script.clone());
        node.pods().for_each(|pod| shell(pod.sandbox(), script.clone()));
    }
}

/// A1, A4, R2: pods, the node and a client outside; where the checksum of a packet is not made yet and where it is.
#[test]
fn associations_with_every_backend_carry_every_byte() {
    if !kernel_or_skip(NEEDS) || !device_or_defer("SCTP socket", has_sctp()) {
        return;
    }
    let (world, _servers) = serving();
    for offloaded in ["on", "off"] {
        offload(&world, offloaded);
        every_backend_answers(&world, &format!("checksums left to devices: {offloaded}"));
    }
}

/// L1
#[test]
fn an_association_goes_on_when_its_endpoint_leaves_the_service() {
    if !kernel_or_skip(NEEDS) || !device_or_defer("SCTP socket", has_sctp()) {
        return;
    }
    let (world, _servers) = serving();
    for (place, target, _) in dials(&world) {
        world.put(&service());
        give_node_ports(&world);
        let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
        eventually(&format!("{place} reaches {target}"), || client.request(target).unwrap().is_ok());
        let mut held = client.hold(target).unwrap().unwrap();
        let before = held.round_trip().unwrap();
        let others: Vec<&str> = BACKENDS.into_iter().filter(|&pod| pod != before.pod).collect();
        world.put(&ServiceSpec { endpoints: web(&others).endpoints, ..service() });
        give_node_ports(&world);
        eventually("new associations go elsewhere", || {
            (0..10).all(|_| client.request(target).unwrap().is_ok_and(|answer| answer.pod != before.pod))
        });
        assert_eq!(held.round_trip().map(|answer| answer.backend), Ok(before.backend), "{place} dials {target}");
    }
}
