//! What the programs know of the node's devices, as it follows them.
use crate::NEEDS;
use crate::world::{BACKENDS, World, eventually, web};
use sheave_abi::{DEVICE_BRIDGE_PORT, DEVICE_FALLBACK, DEVICE_NO_ETHERNET, DEVICE_UPLINK, DeviceValue};
use sheave_agent::config::SocketLb;
use sheave_bpf::device_table::DeviceTable;
use sheave_lab::Sandbox;
use sheave_node::{Link, fallback_addresses, survey};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

const BPFFS: &str = "/sys/fs/bpf";

pub(crate) fn node(world: &World) -> &Sandbox {
    world.cluster.node("node-a").unwrap().sandbox()
}

/// Runs `ip` on the node for each line.
pub(crate) fn ip(node: &Sandbox, lines: &'static [&'static str]) {
    let run = move || {
        for line in lines {
            let output = Command::new("ip").args(line.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    };
    node.run(run).unwrap();
}

fn told(node: &Sandbox) -> BTreeMap<u32, DeviceValue> {
    node.run(|| DeviceTable::open(Path::new(BPFFS)).unwrap().held().clone()).unwrap()
}

fn device(node: &Sandbox, name: &'static str) -> Option<Link> {
    node.run(move || survey().unwrap().links.into_values().find(|link| link.name == name)).unwrap()
}

/// What the programs know of a device.
fn told_of(node: &Sandbox, name: &'static str) -> Option<DeviceValue> {
    told(node).get(&device(node, name)?.index.get()).copied()
}

fn sources(value: DeviceValue) -> Vec<IpAddr> {
    fallback_addresses(&BTreeMap::from([(DEVICE_FALLBACK, value)]))
}

/// Whether both programs are at a device.
pub(crate) fn served(node: &Sandbox, name: &'static str) -> bool {
    let Some(Link { index, .. }) = device(node, name) else { return false };
    let pins = move || ["ingress", "egress"].map(|way| format!("{BPFFS}/sheave/v3/links/device-{index}-{way}"));
    node.run(move || pins().iter().all(|pin| Path::new(pin).exists())).unwrap()
}

#[test]
fn the_programs_know_each_device_as_it_is_at_the_moment() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let world = World::serving(SocketLb::Off, &web(&BACKENDS));
    let (node, primary) = (node(&world), world.addrs("node-a"));
    let uplink = told_of(node, "eth0").unwrap();
    assert_eq!((uplink.flags, sources(uplink)), (DEVICE_UPLINK, primary.to_vec()));
    assert_eq!(sources(told(node)[&DEVICE_FALLBACK]), primary);
    assert_eq!(told_of(node, "lo"), None);

    ip(node, &["link add cni0 type bridge", "link add veth-new type veth peer name peer-new", "link set cni0 up"]);
    eventually("a veth that appears is served", || served(node, "veth-new"));
    assert_eq!(told_of(node, "veth-new").unwrap().flags, 0, "what is served was told of before");
    ip(node, &["link set veth-new master cni0", "address add 10.244.7.1/24 dev cni0"]);
    let bridge = device(node, "cni0").unwrap();
    eventually("the bridge's port is told with what the bridge has", || {
        told_of(node, "veth-new").is_some_and(|port| {
            (port.flags, port.bridge_mac) == (DEVICE_BRIDGE_PORT, bridge.mac.unwrap())
                && sources(port) == [IpAddr::from([10, 244, 7, 1])]
        })
    });
    assert!(served(node, "cni0"), "the bridge as well as its port");
    ip(node, &["tuntap add dev tun0 mode tun", "link set tun0 up"]);
    eventually("a device without Ethernet is served", || served(node, "tun0"));
    assert_eq!(told_of(node, "tun0").unwrap().flags, DEVICE_NO_ETHERNET);
    ip(node, &["link delete veth-new"]);
    let only_links = || {
        let links = node.run(|| survey().unwrap().links).unwrap();
        told(node).keys().all(|index| *index == DEVICE_FALLBACK || links.keys().any(|link| link.get() == *index))
    };
    eventually("what went is forgotten", only_links);
}

/// L6: what a previous process told goes on to hold while the node's object cannot be read.
#[test]
fn an_agent_that_starts_again_tells_the_same() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let mut world = World::serving(SocketLb::Off, &service);
    let before = told(node(&world));
    world.stop_agent();
    assert_eq!(told(node(&world)), before);
    world.start_agent();
    world.until_served(&service);
    assert_eq!(told(node(&world)), before);
}
