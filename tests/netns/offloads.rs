//! Packets whose checksums are done or left to the device, whole or in segments: offloads of the devices on either side, off and on.
use crate::NEEDS;
use crate::links::shell;
use crate::outside::{EXTERNAL, ips, open_to_the_outside};
use crate::world::{BACKENDS, DNS, HTTP, TIMEOUT, World, answer, eventually, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_lab::probe::{Client, Target};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// For each size; enough that one of three backends is missed once in 10^8 runs, all sizes together.
const REQUESTS: usize = 15;
const SIZES: [usize; 4] = [1, 1000, 1472, 20_000];

/// What `ethtool` is to say of every device of a place.
#[derive(Clone, Copy)]
enum Offloads {
    On,
    Off,
}
use Offloads::{Off, On};

/// Nodes and what is between them; pods and the client outside.
const CASES: [(&str, Offloads, Offloads); 4] = [
    ("off everywhere", Off, Off),
    ("off at nodes alone", Off, On),
    ("off at pods and outside alone", On, Off),
    ("on everywhere, GRO included", On, On),
];

fn set(place: &Sandbox, offloads: Offloads) {
    let is = match offloads {
        On => "on",
        Off => "off",
    };
    let script = format!(
        "for device in $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do
             ethtool -K $device tx {is} rx {is} tso {is} gso {is} gro {is}
             features='rx-checksumming|tx-checksumming|tcp-segmentation-offload|generic-(segmentation|receive)-offload'
             ethtool -k $device | grep -cE \"^($features): {is}\" | grep -qx 5 || {{ ethtool -k $device >&2; exit 1; }}
         done"
    );
    shell(place, script);
}

fn set_all(world: &World, nodes: Offloads, ends: Offloads) {
    set(world.cluster.fabric(), nodes);
    for node in world.cluster.nodes() {
        set(node.sandbox(), nodes);
        node.pods().for_each(|pod| set(pod.sandbox(), ends));
    }
    set(world.cluster.host("outside").unwrap().sandbox(), ends);
}

/// A1, A10, R2: destinations translated where packets come in and where they leave, and masqueraded ones.
#[test]
fn whatever_devices_do_of_the_stacks_work_every_backend_gets_every_byte() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let world = open_to_the_outside(SocketLb::Off, &service, "Cluster");
    let both = |addr| [Target::tcp(SocketAddr::new(addr, HTTP.2)), Target::udp(SocketAddr::new(addr, DNS.2))];
    let external: Vec<Target> = ips(EXTERNAL).into_iter().flat_map(both).collect();
    for (case, nodes, ends) in CASES {
        set_all(&world, nodes, ends);
        for (place, dialled, seen) in [
            ("client", targets(&service), "client"),
            ("node-a", targets(&service), "node-a"),
            ("outside", external.clone(), "node-a"),
        ] {
            let client = Client::new(world.cluster.place(place).unwrap(), TIMEOUT);
            for target in dialled {
                eventually(&format!("{place} reaches {target}"), || client.request(target).unwrap().is_ok());
                let mut pods = BTreeSet::new();
                for size in SIZES.into_iter().flat_map(|size| [size; REQUESTS]) {
                    let answer = answer(&client.clone().with_payload(size), target);
                    let told = format!("case: {case}, {place} sends {target} {size} bytes: {answer:?}");
                    assert!(world.addrs(&answer.pod).contains(&answer.backend.ip()), "{told}");
                    assert!(world.addrs(seen).contains(&answer.peer.ip()), "{told}");
                    assert_eq!(answer.dialled, target.addr, "{told}");
                    pods.insert(answer.pod);
                }
                let all: BTreeSet<String> = BACKENDS.iter().map(|&pod| pod.to_owned()).collect();
                assert_eq!(pods, all, "case: {case}, {place} dials {target}");
            }
        }
    }
}
