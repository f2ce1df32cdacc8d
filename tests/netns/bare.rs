//! A device whose packets have no Ethernet header, between the node and its VIPs.
use crate::NEEDS;
use crate::devices::{ip, node, served};
use crate::world::{BACKENDS, World, answer, answering, eventually, targets, web};
use sheave_agent::config::SocketLb;
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;

/// Enough that a backend of three is missed once in 10^11 runs.
const REQUESTS: usize = 64;

/// The request gets an Ethernet header on its way to a pod, and the answer loses it on its way back.
#[test]
fn what_the_node_sends_to_a_vip_behind_a_bare_device_reaches_every_backend_and_is_answered() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let world = World::serving(SocketLb::Off, &service);
    let node = node(&world);
    ip(node, &["tuntap add dev tun0 mode tun", "link set tun0 up"]);
    eventually("a device without Ethernet is served", || served(node, "tun0"));
    ip(node, &["route add 10.96.0.10 dev tun0 src 172.30.0.1", "-6 route add fd96::10 dev tun0 src fd30::1"]);
    let client = world.client("node-a");
    for target in targets(&service) {
        let all: BTreeSet<String> = BACKENDS.iter().map(|&pod| pod.to_owned()).collect();
        assert_eq!(answering(&client, target, REQUESTS), all, "{target}");
        for payload in [1000, 20_000] {
            let answer = answer(&client.clone().with_payload(payload), target);
            assert!(world.addrs("node-a").contains(&answer.peer.ip()), "{target}, {payload} bytes: {answer:?}");
        }
    }
}
