//! Two VIPs with one backend: the client uses one port for both, the backend must not see one connection.
use crate::frame::{Frame, INIT, SYN};
use crate::rig::{DROP, NETS, in_both, ip, with_rig, with_sized_rig};
use ipnet::IpNet;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, connect, getsockname, socket,
};
use sheave_abi::{DeviceValue, FLOW_HALF_OPEN_IDLE_NS, FLOW_ONE_WAY_IDLE_NS};
use sheave_core::Protocol;
use sheave_lab::Sandbox;
use sheave_node::survey;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

#[test]
fn a_clash_gets_another_source_port_and_replies_find_the_clients_own() {
    for (net, protocol) in NETS.into_iter().flat_map(|net| PROTOCOLS.map(|protocol| (net, protocol))) {
        with_rig("clash", move |rig| {
            let (client, vips, backend) = (net.client(40000), [net.vip(1, 80), net.vip(2, 80)], net.backend(1, 8080));
            rig.service(1, vips[0], protocol, &[backend]);
            rig.service(2, vips[1], protocol, &[backend]);
            let frame = |src, dst| match protocol {
                Protocol::Tcp => Frame::tcp(src, dst, SYN),
                Protocol::Udp => Frame::udp(src, dst, b"!"),
                Protocol::Sctp => Frame::sctp(src, dst, INIT),
            };
            let first = rig.ingress(&frame(client, vips[0]), &["flow_new"]).seen();
            let second = rig.ingress(&frame(client, vips[1]), &["flow_new", "event_port_taken"]).seen();
            assert_eq!((first.src, first.dst, second.dst), (client, backend, backend));
            assert_eq!(second.src.ip(), client.ip());
            assert_ne!(second.src.port(), client.port());
            assert!(second.src.port() >= 32768, "ephemeral: {}", second.src);
            assert_eq!(rig.ingress(&frame(client, vips[1]), &["flow_forward"]).seen().src, second.src, "again");
            for (seen, vip) in [(&first, vips[0]), (&second, vips[1])] {
                let reply = rig.egress(&frame(backend, seen.src), &["flow_reply"]).seen();
                assert_eq!((reply.src, reply.dst), (vip, client));
            }
        });
    }
}

#[test]
fn the_port_of_a_dead_flow_is_free_again() {
    for (net, protocol) in NETS.into_iter().flat_map(|net| PROTOCOLS.map(|protocol| (net, protocol))) {
        with_rig("clash-dead", move |rig| {
            let (client, vips, backend) = (net.client(40000), [net.vip(1, 80), net.vip(2, 80)], net.backend(1, 8080));
            rig.service(1, vips[0], protocol, &[backend]);
            rig.service(2, vips[1], protocol, &[backend]);
            let (frame, idle_ns) = match protocol {
                Protocol::Tcp => (Frame::tcp(client, vips[0], SYN), FLOW_HALF_OPEN_IDLE_NS),
                Protocol::Udp => (Frame::udp(client, vips[0], b"!"), FLOW_ONE_WAY_IDLE_NS),
                Protocol::Sctp => (Frame::sctp(client, vips[0], INIT), FLOW_HALF_OPEN_IDLE_NS),
            };
            rig.ingress(&frame, &["flow_new"]);
            rig.age_flows(idle_ns + 1);
            let seen = rig.ingress(&Frame { dst: vips[1], ..frame }, &["flow_new"]).seen();
            assert_eq!(seen.src, client);
        });
    }
}

#[test]
fn a_client_with_every_tried_port_taken_loses_the_packet_and_the_reason_is_counted() {
    with_sized_rig("clash-full", 1 << 17, |rig| {
        let [net, _] = NETS;
        let (client, backend) = (net.client(40000), net.backend(1, 8080));
        rig.occupy(backend, client, 1..=65535);
        rig.service(1, net.vip(1, 80), Protocol::Udp, &[backend]);
        let want = [("drop_no_source_port", 1), ("event_port_taken", 32)];
        let out = rig.ingress_with_events(&Frame::udp(client, net.vip(1, 80), b"!"), &want);
        assert_eq!(out.verdict, DROP);
    });
}

#[test]
fn a_flow_to_the_backends_own_address_gives_way_to_one_of_the_same_port_to_its_vip() {
    for (net, protocol) in NETS.into_iter().flat_map(|net| PROTOCOLS.map(|protocol| (net, protocol))) {
        with_rig("clash-direct", move |rig| {
            let (client, vip, backend) = (net.client(40000), net.vip(1, 80), net.backend(1, 8080));
            rig.service(1, vip, protocol, &[backend]);
            let frame = |src, dst| match protocol {
                Protocol::Tcp => Frame::tcp(src, dst, SYN),
                Protocol::Udp => Frame::udp(src, dst, b"!"),
                Protocol::Sctp => Frame::sctp(src, dst, INIT),
            };
            assert_eq!(rig.ingress(&frame(client, backend), &["pass_no_frontend"]).seen().src, client, "alone");
            let to_vip = rig.ingress(&frame(client, vip), &["flow_new"]).seen();
            assert_eq!((to_vip.src, to_vip.dst), (client, backend));
            let elsewhere = Frame { mac: [2, 9, 9, 9, 9, 9], ..frame(client, backend) };
            assert_eq!(rig.ingress(&elsewhere, &["pass_no_frontend"]).seen().src, client, "bridged past the node");
            let direct = rig.ingress(&frame(client, backend), &["flow_masquerade", "event_port_taken"]).seen();
            assert_eq!((direct.src.ip(), direct.dst), (client.ip(), backend));
            assert_ne!(direct.src.port(), client.port());
            assert_eq!(rig.ingress(&frame(client, backend), &["flow_forward"]).seen().src, direct.src, "again");
            let given = direct.src;
            let own = rig.ingress(&frame(given, backend), &["flow_masquerade", "event_port_taken"]).seen();
            assert!(
                ![client, given].contains(&own.src),
                "the client chooses the port that another flow was given: {own:?}"
            );
            for (seen, dialled, from) in [(&to_vip, vip, client), (&direct, backend, client), (&own, backend, given)] {
                let reply = rig.egress(&frame(backend, seen.src), &["flow_reply"]).seen();
                assert_eq!((reply.src, reply.dst), (dialled, from));
            }
        });
    }
}

/// What this namespace is told of a pair of devices that leads to another one.
fn told_of(pod: &Sandbox) -> DeviceValue {
    ip(&format!("link add pod type veth peer name eth0 netns {}", pod.thread_id()));
    let link = survey().unwrap().links.into_values().find(|link| link.name == "pod").unwrap();
    DeviceValue { peer_netns: link.peer_netns.unwrap().get() + 1, ..DeviceValue::default() }
}

/// A socket of this namespace that is connected from one address to another, and its port.
fn connected(kind: SockType, from: IpAddr, to: SocketAddr) -> (OwnedFd, u16) {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::empty(), None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).unwrap();
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    let bound: SockaddrStorage = getsockname(socket.as_raw_fd()).unwrap();
    let of_v6 = || bound.as_sockaddr_in6().map(SockaddrIn6::port);
    let port = bound.as_sockaddr_in().map(SockaddrIn::port).or_else(of_v6);
    (socket, port.unwrap())
}

/// A connection with the backend itself has no entry; what a socket has dialled says whether the answers would be its own.
#[test]
fn a_flow_leaves_its_port_to_a_socket_of_its_clients_namespace_that_talks_to_the_backend_itself() {
    in_both("clash-socket", |rig, net| {
        let (client, backend, vip) = (net.client(0), net.backend(1, 8080), net.vip(1, 80));
        for (service, protocol) in [(1, Protocol::Tcp), (2, Protocol::Udp)] {
            rig.service(service, vip, protocol, &[backend]);
        }
        let pod = Sandbox::new("clash-pod").unwrap();
        pod.talk_to_itself(client.ip(), &[IpNet::from(backend.ip()), IpNet::from(vip.ip())]).unwrap();
        let listen = |port| pod.run(move || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap().unwrap();
        let servers = [backend.port(), vip.port(), 0].map(listen);
        let listening = servers[2].local_addr().unwrap().port();
        let dial = |(kind, to)| pod.run(move || connected(kind, client.ip(), to)).unwrap();
        let (stream, datagram) = (SockType::Stream, SockType::Datagram);
        let sockets = [(stream, backend), (stream, backend), (stream, backend), (stream, vip), (datagram, backend)];
        let sockets = sockets.map(dial);
        let [direct, unknown, elsewhere, own, datagrams] = sockets.each_ref().map(|(_, port)| *port);
        let at = |port| SocketAddr::new(client.ip(), port);
        let tcp = |port| Frame::tcp(at(port), vip, SYN);
        let pods = told_of(&pod);
        let another = DeviceValue { peer_netns: pods.peer_netns + 1, ..pods };
        for (case, frame, device, keeps_port) in [
            ("a connection with the backend", tcp(direct), pods, false),
            ("in a namespace that is not known", tcp(unknown), DeviceValue::default(), true),
            ("in another namespace than is told", tcp(elsewhere), another, true),
            ("one with the VIP: the flow's own", tcp(own), pods, true),
            ("one that listens", tcp(listening), pods, true),
            ("datagrams to the backend", Frame::udp(at(datagrams), vip, b"!"), pods, true),
        ] {
            rig.device(1, device);
            let counted: &[&str] = if keeps_port { &["flow_new"] } else { &["flow_new", "event_port_taken"] };
            let seen = rig.ingress(&frame, counted).seen();
            assert_eq!((seen.src.ip(), seen.dst), (client.ip(), backend), "{case}");
            assert_eq!(seen.src == frame.src, keeps_port, "{case}: {} became {}", frame.src, seen.src);
        }
    });
}
