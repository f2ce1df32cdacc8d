//! What the kernel programs are told of each device, by tables.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_abi::{DEVICE_BRIDGE_PORT, DEVICE_FALLBACK, DEVICE_NO_ETHERNET, DEVICE_PODS, DEVICE_UPLINK, DeviceValue};
use sheave_core::rules::LocalPods;
use sheave_node::{
    Layer, Link, LinkIndex, NetnsId, NodeAddresses, SourceAddr, Surroundings, Upper, device_values, fallback_addresses,
};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A node as text would have it.
#[derive(Clone)]
struct Node {
    links: BTreeMap<LinkIndex, Link>,
    addresses: NodeAddresses,
    primary: Vec<IpAddr>,
    local_pods: LocalPods,
}

const BRIDGE: u32 = 5;
const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 5];

fn link(index: u32, name: &str, kind: &str) -> Link {
    let layer = match (name, kind) {
        ("lo", _) => Layer::Loopback,
        (_, "wireguard" | "ipip") => Layer::Ip,
        _ => Layer::Ethernet,
    };
    let mac = (layer == Layer::Ethernet).then_some([2, 0, 0, 0, 0, u8::try_from(index).unwrap()]);
    Link {
        index: LinkIndex::new(index),
        name: name.into(),
        kind: kind.into(),
        upper: Upper::None,
        layer,
        mac,
        xdp_program: None,
        peer_netns: None,
    }
}

impl Node {
    /// One with `lo`, `eth0`, and the bridge `cni0` with a port.
    fn new() -> Self {
        let mut node = Self {
            links: BTreeMap::new(),
            addresses: NodeAddresses::default(),
            primary: Vec::new(),
            local_pods: LocalPods::default(),
        };
        node.put(link(1, "lo", ""), &[]);
        node.put(link(2, "eth0", ""), &["192.0.2.7/24", "2001:db8::7/64"]);
        node.put(link(BRIDGE, "cni0", "bridge"), &["10.244.1.1/24"]);
        node.put(Link { upper: Upper::Other(LinkIndex::new(BRIDGE)), ..link(6, "veth6", "veth") }, &[]);
        node
    }

    fn put(&mut self, link: Link, sources: &[&str]) {
        for source in sources {
            let (addr, prefix_len) = source.split_once('/').unwrap();
            let source = SourceAddr { addr: addr.parse().unwrap(), prefix_len: prefix_len.parse().unwrap() };
            self.addresses.own.insert(source.addr);
            self.addresses.sources.entry(link.index).or_default().push(source);
        }
        self.links.insert(link.index, link);
    }

    fn with(&self, link: Link, sources: &[&str]) -> Self {
        let mut node = self.clone();
        node.put(link, sources);
        node
    }

    fn values(&self) -> BTreeMap<u32, DeviceValue> {
        let Self { links, addresses, primary, local_pods } = self;
        device_values(Surroundings { links, addresses, primary, local_pods })
    }

    fn value(&self, index: u32) -> DeviceValue {
        self.values()[&index]
    }
}

/// The addresses of an entry, those it has.
fn sources(value: &DeviceValue) -> String {
    let addrs = fallback_addresses(&BTreeMap::from([(DEVICE_FALLBACK, *value)]));
    addrs.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_devices_that_are_served_have_an_entry_and_so_has_the_fallback() {
    let bond = LinkIndex::new(9);
    let node = Node::new()
        .with(link(9, "bond0", "bond"), &[])
        .with(Link { upper: Upper::Aggregate(bond), ..link(10, "eth1", "") }, &[])
        .with(link(11, "ifb0", "ifb"), &[]);
    assert_eq!(node.values().into_keys().collect::<Vec<_>>(), [DEVICE_FALLBACK, 2, BRIDGE, 6, 9]);
}

#[test]
fn a_port_of_a_bridge_has_the_bridges_mac_and_sends_from_its_address() {
    let node = Node::new();
    let port = node.value(6);
    assert_eq!(
        (port.flags, port.mac, port.bridge_mac, port.bridge),
        (DEVICE_BRIDGE_PORT, [2, 0, 0, 0, 0, 6], BRIDGE_MAC, BRIDGE),
        "{port:?}"
    );
    assert_eq!(sources(&port), "10.244.1.1");
    let bridge = node.value(BRIDGE);
    assert_eq!((bridge.flags, bridge.bridge_mac, bridge.bridge), (0, [0; 6], 0));
    let mut vrf = node.with(link(12, "red", "vrf"), &[]);
    vrf.put(Link { upper: Upper::Other(LinkIndex::new(12)), ..link(6, "veth6", "veth") }, &[]);
    assert_eq!(vrf.value(6).flags, 0, "a VRF is no bridge");
}

/// R5: the detector meets packets at the bridge, the programs at its ports.
#[test]
fn devices_lead_to_pods_by_their_name_or_that_of_their_bridge() {
    let base = Node::new().with(link(7, "cali7", "veth"), &[]);
    let pods = |local_pods: LocalPods| -> Vec<u32> {
        let node = Node { local_pods, ..base.clone() };
        let pods = node.values().into_iter().filter(|(_, value)| value.flags & DEVICE_PODS != 0);
        pods.map(|(index, _)| index).collect()
    };
    let everything = LocalPods::Cidr { v4: Some("0.0.0.0/0".parse().unwrap()), v6: Some("::/0".parse().unwrap()) };
    assert_eq!(pods(everything), [0; 0], "told by their addresses");
    assert_eq!(pods(LocalPods::Interface("cni0".into())), [BRIDGE, 6]);
    assert_eq!(pods(LocalPods::Interface("cni".into())), [0; 0]);
    assert_eq!(pods(LocalPods::InterfacePrefix("cali".into())), [7]);
    assert_eq!(pods(LocalPods::InterfacePrefix("veth".into())), [6]);
    assert_eq!(pods(LocalPods::InterfacePrefix("cni".into())), [BRIDGE, 6]);
}

#[test]
fn an_uplink_leads_out_of_the_node_by_itself() {
    let primary: IpAddr = "192.0.2.200".parse().unwrap();
    for (case, name, kind, sources, uplink) in [
        ("a NIC", "eth1", "", &["198.51.100.1/24"][..], true),
        ("a NIC of IPv6 alone", "eth1", "", &["2001:db8:1::1/64"], true),
        ("a NIC as some clouds have it", "eth1", "", &["198.51.100.1/32"], true),
        ("a NIC without addresses", "eth1", "", &[], false),
        ("a NIC without others than its link's", "eth1", "", &["169.254.3.4/16"], false),
        ("a VLAN", "eth0.7", "vlan", &["198.51.100.1/24"], true),
        ("a bond", "bond0", "bond", &["198.51.100.1/24"], true),
        ("a macvlan", "shim", "macvlan", &["198.51.100.1/24"], true),
        ("a container's eth0", "eth1", "veth", &["198.51.100.1/24"], true),
        ("a container's eth1", "eth1", "veth", &["198.51.100.1/32"], true),
        ("a pod's veth with the address of all of them", "vethp", "veth", &["10.244.1.1/32"], false),
        ("a bridge of pods", "cbr0", "bridge", &["10.244.2.1/24"], false),
        ("a bridge that has the node's address", "br0", "bridge", &["192.0.2.200/24"], true),
        ("flannel.1", "flannel.1", "vxlan", &["10.244.1.0/32"], false),
        ("tunl0", "tunl0", "ipip", &["10.244.1.0/32"], false),
        ("WireGuard", "wg0", "wireguard", &["10.8.0.1/24"], false),
        ("WireGuard between nodes", "wg0", "wireguard", &["192.0.2.200/24"], true),
        ("node-local DNS", "nodelocaldns", "dummy", &["169.254.20.10/32", "10.96.0.10/32"], false),
    ] {
        let node = Node { primary: vec![primary], ..Node::new().with(link(8, name, kind), sources) };
        assert_eq!(node.value(8).flags & DEVICE_UPLINK != 0, uplink, "case: {case}");
    }
    let pods = Node { local_pods: LocalPods::InterfacePrefix("vethp".into()), ..Node::new() };
    let pods = pods.with(link(8, "vethp", "veth"), &["10.244.3.1/24"]);
    assert_eq!(pods.value(8).flags, DEVICE_PODS, "a pod's by the detector");
}

/// The number 0 is one as any other, and the spare bytes of entries from before it was told are zero.
#[test]
fn the_namespace_of_a_veths_other_end_is_told_by_its_number_plus_one() {
    for (number, told) in [(None, 0), (Some(-1), 0), (Some(0), 1), (Some(i32::MAX), 1 << 31)] {
        let veth = Link { peer_netns: number.and_then(NetnsId::new), ..link(8, "veth8", "veth") };
        assert_eq!(Node::new().with(veth, &[]).value(8).peer_netns, told, "{number:?}");
    }
}

#[test]
fn a_device_without_ethernet_says_so() {
    let node = Node::new().with(link(8, "tunl0", "ipip"), &["10.244.1.0/32"]);
    let value = node.value(8);
    assert_eq!((value.flags, value.mac), (DEVICE_NO_ETHERNET, [0; 6]));
    assert_eq!(sources(&value), "10.244.1.0");
}

#[test]
fn a_node_sends_by_a_device_from_the_address_that_the_kernel_would_choose() {
    for (case, primary, given, want) in [
        ("the first", "192.0.2.1", &["198.51.100.9/24", "198.51.101.1/24"][..], "198.51.100.9"),
        ("the primary one", "198.51.101.1", &["198.51.100.9/24", "198.51.101.1/24"], "198.51.101.1"),
        ("one with a subnet", "192.0.2.1", &["203.0.113.1/32", "198.51.100.9/24"], "198.51.100.9"),
        ("the only one", "192.0.2.1", &["203.0.113.1/32"], "203.0.113.1"),
        ("one that others know", "192.0.2.1", &["169.254.0.9/16", "198.51.100.9/24"], "198.51.100.9"),
        ("the only one, of its link", "192.0.2.1", &["169.254.0.9/16"], "169.254.0.9"),
        ("the lowest of IPv6", "192.0.2.1", &["fd00::9/64", "fd00::7/64"], "fd00::7"),
        ("the primary one of IPv6", "fd00::9", &["fd00::9/64", "fd00::7/64"], "fd00::9"),
        ("of each family", "192.0.2.1", &["fd00::9/64", "198.51.100.9/24"], "198.51.100.9 fd00::9"),
        ("none", "192.0.2.1", &[], ""),
    ] {
        let node = Node { primary: vec![primary.parse().unwrap()], ..Node::new().with(link(8, "eth1", ""), given) };
        assert_eq!(sources(&node.value(8)), want, "case: {case}");
    }
}

#[test]
fn where_a_device_has_no_address_the_primary_one_is_sent_from_else_an_uplinks_else_any() {
    let primary = |addrs: &[&str]| addrs.iter().map(|addr| addr.parse().unwrap()).collect::<Vec<IpAddr>>();
    let node = Node::new().with(link(3, "eth1", ""), &["198.51.100.1/24", "2001:db8:1::1/64"]);
    for (case, given, want) in [
        ("of each family", &["198.51.100.1", "2001:db8:1::1"][..], "198.51.100.1 2001:db8:1::1"),
        ("of one", &["198.51.100.1"], "198.51.100.1 2001:db8::7"),
        ("the node does not have it", &["203.0.113.1"], "192.0.2.7 2001:db8::7"),
        ("not known", &[], "192.0.2.7 2001:db8::7"),
    ] {
        let node = Node { primary: primary(given), ..node.clone() };
        assert_eq!(sources(&node.value(DEVICE_FALLBACK)), want, "case: {case}");
        assert_eq!(node.value(DEVICE_FALLBACK).flags, 0, "case: {case}");
    }
    let mut pods_only = Node::new();
    pods_only.addresses.sources.remove(&LinkIndex::new(2));
    assert_eq!(sources(&pods_only.value(DEVICE_FALLBACK)), "10.244.1.1", "no uplink");
    let nothing = Node { links: BTreeMap::new(), addresses: NodeAddresses::default(), ..Node::new() };
    assert_eq!(nothing.values(), BTreeMap::from([(DEVICE_FALLBACK, DeviceValue::default())]));
}
