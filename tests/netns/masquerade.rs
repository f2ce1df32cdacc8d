//! Sources of the node's own that others give, too.
use crate::NEEDS;
use crate::outside::{EXTERNAL, publish};
use crate::world::{DNS, SHORT, World, eventually, web};
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

const PORT: u16 = 40000;
/// What network plugins do for pods that leave the pod network, here for one pod alone.
const RULES: [&str; 4] = [
    "add table inet plugin",
    "add chain inet plugin out { type nat hook postrouting priority 100 ; }",
    "add rule inet plugin out ip saddr 10.180.0.1 udp dport 5353 masquerade",
    "add rule inet plugin out ip6 saddr fd18::1 udp dport 5353 masquerade",
];

fn nft(node: &Sandbox, line: &'static str) {
    let output = node.run(move || Command::new("nft").args(line.split_whitespace()).output().unwrap()).unwrap();
    assert!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asks a server from one port, always the same; the client that it says it saw.
fn peer(pod: &Sandbox, server: SocketAddr) -> Option<SocketAddr> {
    let ask = move || {
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, PORT)).unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        socket.send_to(b"ask 1 x\n", server).unwrap();
        let mut answer = [0; 200];
        let (len, from) = socket.recv_from(&mut answer).ok()?;
        assert_eq!(from, server);
        let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
        answer.split(' ').nth(3).map(|peer| peer.parse().unwrap())
    };
    pod.run(ask).unwrap()
}

#[test]
fn a_flow_that_netfilter_masquerades_gives_way_to_one_of_the_same_port_that_is_there() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut world = World::new(SocketLb::Off);
    let service = web(&["far-1"]);
    world.put(&service);
    publish(&world, "Cluster");
    world.start_agent();
    world.until_served(&service);
    RULES.iter().for_each(|line| nft(world.cluster.node("node-a").unwrap().sandbox(), line));
    let pod = |name| world.cluster.pod(name).unwrap().sandbox();
    for (vip, backend) in EXTERNAL.iter().zip(world.addrs("far-1")) {
        let vip = SocketAddr::new(vip.parse().unwrap(), DNS.2);
        let node = world.addrs("node-a").iter().find(|addr| addr.is_ipv4() == vip.is_ipv4()).copied().unwrap();
        let mut first = None;
        eventually("the Service is served", || {
            first = peer(pod("client"), vip);
            first.is_some()
        });
        assert_eq!(first, Some(SocketAddr::new(node, PORT)), "{vip}");
        let second = peer(pod("near"), SocketAddr::new(*backend, DNS.3)).expect("an answer to the other pod");
        assert_eq!(second.ip(), node, "{vip}");
        assert_ne!(second.port(), PORT, "{vip}");
        assert_eq!(peer(pod("client"), vip), first, "{vip}, again");
    }
}
