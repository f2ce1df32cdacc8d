//! Datagrams that programs write themselves, headers included: no socket entrance sees them.
use crate::NEEDS;
use crate::world::{BACKENDS, DNS, TIMEOUT, World, web};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket};
use sheave_agent::config::SocketLb;
use sheave_bpf::counters::Counters;
use sheave_conformance::packet::Frame;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// For each size; enough that one of three backends is missed once in 10^9 runs, both sizes together.
const REQUESTS: usize = 30;

/// What a program writes of a datagram besides its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// The UDP header.
    Udp,
    /// The IP header as well.
    Ip,
}

/// With the data's sizes. The stack breaks up only what it writes the IP header of.
const CASES: [(Written, [usize; 2]); 2] = [(Written::Udp, [1000, 20_000]), (Written::Ip, [1, 1000])];

impl Written {
    fn send(self, datagram: &Frame) {
        let v4 = datagram.destination.is_ipv4();
        let family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let (protocol, skipped) = match (self, v4) {
            (Self::Udp, true) => (SockProtocol::Udp, 20),
            (Self::Udp, false) => (SockProtocol::Udp, 40),
            (Self::Ip, _) => (SockProtocol::Raw, 0),
        };
        let socket = socket(family, SockType::Raw, SockFlag::empty(), protocol).unwrap();
        // A port would be taken for a protocol.
        let to = SockaddrStorage::from(SocketAddr::new(datagram.destination, 0));
        let bytes = &datagram.ip_bytes()[skipped..];
        assert_eq!(sendto(socket.as_raw_fd(), bytes, &to, MsgFlags::empty()), Ok(bytes.len()));
    }
}

/// Asks from the port of a socket that is there for the answer only; returns the pod that answered.
fn ask(place: &Sandbox, source: SocketAddr, vip: SocketAddr, (written, size): (Written, usize)) -> String {
    let exchange = move || {
        let socket = UdpSocket::bind(source).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let (source, payload) = (socket.local_addr().unwrap(), "sheave".chars().cycle().take(size).collect::<String>());
        written.send(&Frame::udp(source, vip, format!("ask 7 {payload}\n").as_bytes()));
        let mut answer = vec![0; size + 512];
        let (len, from) = socket.recv_from(&mut answer).unwrap_or_else(|error| panic!("{vip}, {size}: {error}"));
        assert_eq!(from, vip, "the answer's source");
        let answer = String::from_utf8(answer[..len].to_vec()).unwrap();
        let [_, _, _, peer, pod, echoed] = answer.trim_end().split(' ').collect::<Vec<_>>()[..] else {
            panic!("no answer: {answer:?}")
        };
        assert_eq!((peer, echoed), (source.to_string().as_str(), payload.as_str()), "what {pod} saw");
        pod.to_owned()
    };
    place.run(exchange).unwrap()
}

/// What the socket entrance has counted on the node.
fn seen_at_sockets(world: &World) -> u64 {
    let read = || Counters::open(Path::new("/sys/fs/bpf")).unwrap().read().unwrap();
    let counters = world.cluster.node("node-a").unwrap().sandbox().run(read).unwrap();
    counters.into_iter().filter(|(name, _)| name.starts_with("socket_")).map(|(_, count)| count).sum()
}

/// A1, E9, R1: what a pod sends is decided where it comes in, what the node sends where it leaves.
#[test]
fn what_raw_sockets_send_reaches_every_backend_and_the_answer_comes_from_the_vip() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let world = World::serving(socket_lb, &service);
        let before = seen_at_sockets(&world);
        for (place, &vip) in
            ["node-a", "client"].into_iter().flat_map(|place| service.vips.iter().map(move |vip| (place, vip)))
        {
            let source = world.addrs(place).iter().find(|addr| addr.is_ipv4() == vip.is_ipv4()).copied().unwrap();
            let (source, vip) = (SocketAddr::new(source, 0), SocketAddr::new(vip, DNS.2));
            for (written, sizes) in CASES {
                let how = sizes.into_iter().flat_map(|size| [(written, size); REQUESTS]);
                let sandbox = world.cluster.place(place).unwrap();
                let pods: BTreeSet<String> = how.map(|how| ask(sandbox, source, vip, how)).collect();
                let all: BTreeSet<String> = BACKENDS.iter().map(|&pod| pod.to_owned()).collect();
                assert_eq!(pods, all, "{place} sends {vip}, {written:?}, socketLb {socket_lb:?}");
            }
        }
        assert_eq!(seen_at_sockets(&world), before, "the socket entrance, socketLb {socket_lb:?}");
    }
}
