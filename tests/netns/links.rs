//! Traffic by devices that are no plain Ethernet: a second way between the two nodes, of one kind or another, that their pods and a client
//! outside are led over. Kernels that have all of them are asked by `cargo xtask vm`.
use crate::NEEDS;
use crate::outside::{EXTERNAL, ips, publish};
use crate::world::{BACKENDS, DNS, HTTP, TIMEOUT, World, answer, eventually, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_lab::probe::{Client, Target};
use sheave_tests::{device_or_defer, kernel_or_skip};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

/// The ends of the way at node-a and at node-b.
const NEAR_END: [&str; 2] = ["10.77.0.1", "fd77::1"];
const FAR_END: [&str; 2] = ["10.77.0.2", "fd77::2"];
const FAMILIES: [&str; 2] = ["-4", "-6"];
/// Enough that one of three backends is missed once in 10^7 runs.
const REQUESTS: usize = 40;

/// What the commands of each end call the two nodes.
const NAMES: [&str; 2] = [
    "me=a; peer=b; own4=172.30.0.1; other4=172.30.0.2; own6=fd30::1; other6=fd30::2",
    "me=b; peer=a; own4=172.30.0.2; other4=172.30.0.1; own6=fd30::2; other6=fd30::1",
];

/// A kind of way between two nodes.
struct Way {
    /// What `ip link` calls it.
    kind: &'static str,
    /// Makes one that is of no use.
    probe: &'static str,
    /// The commands that make each end. `wire0` and `wire1` lead to the devices of the same names at the other end.
    ends: [&'static str; 2],
    /// The device of each family at each end.
    devices: [[&'static str; 2]; 2],
}

/// What every kernel has: a second NIC.
const SECOND: Way = Way { kind: "veth", probe: "probe type veth", ends: ["true"; 2], devices: [["wire0"; 2]; 2] };

const VLAN: Way = Way {
    kind: "vlan",
    probe: "link base name probe type vlan id 7",
    ends: ["ip link add link wire0 name nic.7 type vlan id 7"; 2],
    devices: [["nic.7"; 2]; 2],
};

/// A tag without a VLAN, for its priority alone: what node-b sends has one, what it gets has none (IEEE 802.1Q, 6.8).
const PRIORITY: Way = Way {
    ends: [
        "true",
        "tc qdisc add dev wire0 clsact; tc filter add dev wire0 egress matchall action vlan push id 0 priority 5",
    ],
    devices: [["wire0"; 2]; 2],
    ..VLAN
};

const BOND: Way = Way {
    kind: "bond",
    probe: "probe type bond",
    ends: [
        "ip link add bond0 type bond mode active-backup miimon 20
         ip link set wire0 down; ip link set wire1 down
         ip link set wire0 master bond0; ip link set wire1 master bond0",
        "ip link add switch type bridge
         ip link set wire0 master switch; ip link set wire1 master switch",
    ],
    devices: [["bond0"; 2], ["switch"; 2]],
};

const IPIP_AND_SIT: Way = Way {
    kind: "ipip",
    probe: "probe type ipip local 192.0.2.1 remote 192.0.2.2",
    ends: ["ip link add tunnel4 type ipip local $own4 remote $other4
         ip link add tunnel6 type sit local $own4 remote $other4"; 2],
    devices: [["tunnel4", "tunnel6"]; 2],
};

const OVER_IPV6: Way = Way {
    kind: "ip6tnl",
    probe: "probe type ip6tnl mode any local 2001:db8::1 remote 2001:db8::2",
    ends: ["ip link add tunnel type ip6tnl mode any local $own6 remote $other6"; 2],
    devices: [["tunnel"; 2]; 2],
};

/// The keys are of these tests only; the public ones follow from them (`wg pubkey`).
const WIREGUARD: Way = Way {
    kind: "wireguard",
    probe: "probe type wireguard",
    ends: ["ip link add wg0 type wireguard
         key() { printf '%s' sheave-tests-of-wireguard-node-$1 | base64; }
         key $me >/run/wg-$me; public=$(key $peer | wg pubkey)
         wg set wg0 listen-port 51820 private-key /run/wg-$me
         wg set wg0 peer $public endpoint $other4:51820 allowed-ips 0.0.0.0/0,::/0"; 2],
    devices: [["wg0"; 2]; 2],
};

/// Runs commands of a shell in a place; each has to succeed.
pub(crate) fn shell(sandbox: &Sandbox, script: String) {
    let run = move || {
        let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    sandbox.run(run).unwrap();
}

/// Whether this kernel can make such a device.
fn has(way: &Way) -> bool {
    let script = format!("ip link add base type veth; ip link add {}", way.probe);
    let made = move || Command::new("sh").args(["-ec", &script]).output().unwrap().status.success();
    Sandbox::new("probe").unwrap().run(made).unwrap()
}

/// A world whose nodes have that way between them, and a published Service.
fn connected(way: &Way) -> World {
    let world = World::new(SocketLb::Off);
    let nodes = ["node-a", "node-b"].map(|name| world.cluster.node(name).unwrap().sandbox());
    let peer = nodes[1].thread_id();
    for wire in ["wire0", "wire1"] {
        shell(nodes[0], format!("ip link add {wire} type veth peer name {wire} netns {peer}"));
    }
    for end in 0..2 {
        shell(nodes[end], "ip link set wire0 up; ip link set wire1 up".to_owned());
        shell(nodes[end], format!("{}\n{}", NAMES[end], way.ends[end]));
        for family in 0..2 {
            let (device, own) = (way.devices[end][family], [NEAR_END, FAR_END][end][family]);
            let length = ["24", "64"][family];
            let nodad = ["", "nodad"][family];
            shell(nodes[end], format!("ip link set {device} up; ip address add {own}/{length} dev {device} {nodad}"));
        }
    }
    for (family, flag) in FAMILIES.into_iter().enumerate() {
        let (near, far) = (NEAR_END[family], FAR_END[family]);
        // The node's own flows begin with the address of the way as well: reverse path filters are strict.
        for network in [["10.180.1.0/24", "fd18:0:0:1::/64"][family], ["10.96.0.0/16", "fd96::/64"][family]] {
            shell(nodes[0], format!("ip {flag} route replace {network} via {far}"));
        }
        for network in [["10.180.0.0/24", "fd18::/64"][family], EXTERNAL[family]] {
            shell(nodes[1], format!("ip {flag} route replace {network} via {near}"));
        }
    }
    world.put(&web(&BACKENDS));
    publish(&world, "Cluster");
    world
}

fn external() -> Vec<Target> {
    let both = |addr| [Target::tcp(SocketAddr::new(addr, HTTP.2)), Target::udp(SocketAddr::new(addr, DNS.2))];
    ips(EXTERNAL).into_iter().flat_map(both).collect()
}

/// Every backend answers, and sees one of these addresses; also where a request is bigger than the way's MTU.
fn every_backend_answers(world: &World, place: &str, target: Target, seen: &[IpAddr]) {
    let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
    let case = format!("{place} dials {target}");
    eventually(&case, || client.request(target).unwrap().is_ok());
    let answers: Vec<_> = (0..REQUESTS).map(|_| answer(&client, target)).collect();
    let pods: BTreeSet<&str> = answers.iter().map(|answer| answer.pod.as_str()).collect();
    assert_eq!(pods, BTreeSet::from(BACKENDS), "case: {case}");
    for payload in [1000, 1472, 20_000] {
        let (client, mut answered) = (client.clone().with_payload(payload), BTreeSet::new());
        // A datagram that is too long for the way is lost, and its sender told: the next one is shorter (RFC 1191, RFC 8201).
        eventually(&format!("every backend answers {payload} bytes: {case}"), || {
            let Ok(answer) = client.request(target).unwrap() else { return false };
            assert!(
                world.addrs(&answer.pod).contains(&answer.backend.ip()),
                "case: {case}, {payload} bytes, {answer:?}"
            );
            assert!(seen.contains(&answer.peer.ip()), "case: {case}, {payload} bytes, {answer:?}");
            assert_eq!(answer.dialled, target.addr, "case: {case}");
            answered.insert(answer.pod);
            answered.len() == BACKENDS.len()
        });
    }
}

/// What a pod and the node itself send goes out by the way; what the other node and its pods send for an external IP comes in by it, and goes
/// back by it where the backend is there (A1, A10, R1, R2).
fn carries(way: &Way) {
    if !kernel_or_skip(NEEDS) || !device_or_defer(way.kind, has(way)) {
        return;
    }
    let mut world = connected(way);
    world.start_agent();
    let near: Vec<IpAddr> = world.addrs("node-a").iter().copied().chain(ips(NEAR_END)).collect();
    for place in ["client", "node-a"] {
        let seen = if place == "node-a" { near.as_slice() } else { world.addrs(place) };
        targets(&web(&BACKENDS)).into_iter().for_each(|target| every_backend_answers(&world, place, target, seen));
    }
    for place in ["node-b", "stranger"] {
        external().into_iter().for_each(|target| every_backend_answers(&world, place, target, &near));
    }
}

#[test]
fn a_second_nic_carries_a_service() {
    carries(&SECOND);
}

#[test]
fn a_vlan_of_a_nic_carries_a_service() {
    carries(&VLAN);
}

#[test]
fn frames_with_a_priority_tag_are_served() {
    carries(&PRIORITY);
}

#[test]
fn a_bond_carries_a_service() {
    carries(&BOND);
}

#[test]
fn tunnels_over_ipv4_carry_a_service() {
    carries(&IPIP_AND_SIT);
}

#[test]
fn a_tunnel_over_ipv6_carries_a_service_of_both_families() {
    carries(&OVER_IPV6);
}

#[test]
fn wireguard_carries_a_service() {
    carries(&WIREGUARD);
}

/// E9, L1: whichever port of the bond is in use, the flow is the same one.
#[test]
fn a_flow_outlives_the_failure_of_a_port_of_a_bond() {
    if !kernel_or_skip(NEEDS) || !device_or_defer(BOND.kind, has(&BOND)) {
        return;
    }
    let mut world = connected(&BOND);
    world.start_agent();
    let node = world.cluster.node("node-a").unwrap().sandbox();
    let out = targets(&web(&BACKENDS)).into_iter().map(|target| ("client", target));
    for (place, target) in out.chain(external().into_iter().map(|target| ("node-b", target))) {
        shell(
            node,
            "ip link set wire0 up; ip link set wire1 up; ip link set bond0 type bond active_slave wire0".to_owned(),
        );
        let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
        let case = format!("{place} dials {target}");
        eventually(&case, || client.request(target).unwrap().is_ok());
        // Of the two or three backends some are behind the bond, in both directions: enough flows that they are met.
        let mut held: Vec<_> = (0..12).map(|_| client.hold(target).unwrap().unwrap()).collect();
        let before: Vec<_> = held.iter_mut().map(|flow| flow.round_trip().unwrap().backend).collect();
        shell(node, "ip link set wire0 down".to_owned());
        for (flow, backend) in held.iter_mut().zip(before) {
            // A datagram may be lost at the very moment; TCP sends its bytes again.
            let mut answered = None;
            eventually(&case, || {
                answered = flow.round_trip().ok().map(|answer| answer.backend);
                answered.is_some()
            });
            assert_eq!(answered, Some(backend), "case: {case}");
        }
    }
}
