//! Ports that come back: a socket has the source port of another flow to the same backend, that was translated elsewhere. The kernel gives
//! ports without knowing of translations, so sooner or later it happens on every busy node.
use crate::NEEDS;
use crate::sockets::node::{Node, Web, udp_frontends};
use serde_json::json;
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);

fn asked(socket: &UdpSocket, vip: SocketAddr) -> std::io::Result<usize> {
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.connect(vip).unwrap();
    socket.send(b"ask 1 x\n").unwrap();
    socket.recv(&mut [0; 512])
}

/// A socket of the node is translated at connect(), with the port of one that was decided at a device and is closed (R8: source ranges
/// are left to devices).
#[test]
fn a_socket_with_the_port_of_an_earlier_one_gets_its_own_answers() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let ranges = json!({ "loadBalancerSourceRanges": ["172.30.0.0/16", "10.180.0.0/16", "fd30::/16", "fd18::/16"] });
    let node = Node::serving(&Web { spec: ranges, ..Web::on(&["far"]) });
    for (of, any) in [(0, IpAddr::from(Ipv4Addr::UNSPECIFIED)), (1, IpAddr::from(Ipv6Addr::UNSPECIFIED))] {
        let [cluster_ip, _, load_balancer, ..] = udp_frontends(of);
        let first = node.udp(any);
        let port = first.local_addr().unwrap().port();
        asked(&first, load_balancer).unwrap_or_else(|error| panic!("{load_balancer}: {error}"));
        drop(first);
        let second = node.sandbox().run(move || UdpSocket::bind((any, port))).unwrap().unwrap();
        asked(&second, cluster_ip).unwrap_or_else(|error| panic!("{cluster_ip}, from port {port} again: {error}"));
    }
}
