//! Ports that come back: a socket has the source port of another flow to the same backend, that was translated elsewhere. The kernel gives
//! ports without knowing of translations, so sooner or later it happens on every busy node.
use crate::NEEDS;
use crate::sockets::node::{Node, Web, served_by_far, tcp_frontends, udp_frontends};
use nix::sys::socket::sockopt::{ReceiveTimeout, ReuseAddr, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket as new_socket,
};
use nix::sys::time::TimeVal;
use serde_json::json;
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(2);
const ANY: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
const PORT: u16 = 40000;

fn asked(socket: &UdpSocket, vip: SocketAddr) -> io::Result<usize> {
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
    for (of, any) in ANY.into_iter().enumerate() {
        let [cluster_ip, _, load_balancer, ..] = udp_frontends(of);
        let first = node.udp(any);
        let port = first.local_addr().unwrap().port();
        asked(&first, load_balancer).unwrap_or_else(|error| panic!("{load_balancer}: {error}"));
        drop(first);
        let second = node.sandbox().run(move || UdpSocket::bind((any, port))).unwrap().unwrap();
        asked(&second, cluster_ip).unwrap_or_else(|error| panic!("{cluster_ip}, from port {port} again: {error}"));
    }
}

/// A socket of a pod's that is connected from [`PORT`], which others may have as well.
fn dial(pod: &Sandbox, kind: SockType, to: SocketAddr) -> File {
    let dialled = move || {
        let (family, any) = if to.is_ipv4() { (AddressFamily::Inet, ANY[0]) } else { (AddressFamily::Inet6, ANY[1]) };
        let socket = new_socket(family, kind, SockFlag::empty(), None).unwrap();
        let timeout = TimeVal::new(2, 0);
        setsockopt(&socket, ReuseAddr, &true).unwrap();
        setsockopt(&socket, SendTimeout, &timeout).unwrap();
        setsockopt(&socket, ReceiveTimeout, &timeout).unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, PORT))).unwrap();
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap_or_else(|errno| panic!("{to}: {errno}"));
        File::from(socket)
    };
    pod.run(dialled).unwrap()
}

/// Asks over a socket, and says what port the server sees.
fn port_seen(mut socket: &File) -> io::Result<u16> {
    socket.write_all(b"ask 1 x\n")?;
    let mut answer = [0; 512];
    let len = socket.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..len]);
    let peer = answer.split(' ').nth(3).unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Ok(peer.parse::<SocketAddr>().unwrap().port())
}

/// What goes to the backend itself, as the socket has dialled it or since connect() was translated, leaves no entry in the flow tables. The
/// kernel lets another socket have the same port, since it dials another address.
#[test]
fn a_pods_connection_goes_on_when_a_flow_to_another_frontend_of_its_backend_begins_with_its_port() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Host] {
        let node = Node::configured(&Web::on(&["far"]), |config| config.socket_lb = socket_lb);
        for of in [0, 1] {
            let [tcp, udp] = served_by_far(of);
            let ([cluster_ip, external_ip, ..], [dns, ..]) = (tcp_frontends(of), udp_frontends(of));
            let of_socket = match socket_lb {
                SocketLb::All => (SockType::Stream, cluster_ip, external_ip),
                _ => (SockType::Stream, tcp, cluster_ip),
            };
            for (kind, first, second) in [of_socket, (SockType::Datagram, udp, dns)] {
                let case = format!("socketLb {socket_lb:?}, {first} before {second}");
                let direct = dial(node.client(), kind, first);
                assert_eq!(port_seen(&direct).unwrap(), PORT, "{case}");
                let translated = dial(node.client(), kind, second);
                port_seen(&translated).unwrap_or_else(|error| panic!("{case}, the second: {error}"));
                let again = port_seen(&direct).unwrap_or_else(|error| panic!("{case}, the first again: {error}"));
                assert!(again == PORT || kind == SockType::Datagram, "{case}: {again}");
                port_seen(&translated).unwrap_or_else(|error| panic!("{case}, the second again: {error}"));
            }
        }
    }
}
