//! Two VIPs with one backend: the client uses one port for both, the backend must not see one connection.
use crate::frame::{Frame, SYN};
use crate::rig::{DROP, NETS, with_rig, with_sized_rig};
use sheave_abi::{FLOW_HALF_OPEN_IDLE_NS, FLOW_ONE_WAY_IDLE_NS};
use sheave_core::Protocol;

#[test]
fn a_clash_gets_another_source_port_and_replies_find_the_clients_own() {
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_rig("clash", move |rig| {
            let (client, vips, backend) = (net.client(40000), [net.vip(1, 80), net.vip(2, 80)], net.backend(1, 8080));
            rig.service(1, vips[0], protocol, &[backend]);
            rig.service(2, vips[1], protocol, &[backend]);
            let frame = |src, dst| match protocol {
                Protocol::Tcp => Frame::tcp(src, dst, SYN),
                _ => Frame::udp(src, dst, b"!"),
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
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_rig("clash-dead", move |rig| {
            let (client, vips, backend) = (net.client(40000), [net.vip(1, 80), net.vip(2, 80)], net.backend(1, 8080));
            rig.service(1, vips[0], protocol, &[backend]);
            rig.service(2, vips[1], protocol, &[backend]);
            let (frame, idle_ns) = match protocol {
                Protocol::Tcp => (Frame::tcp(client, vips[0], SYN), FLOW_HALF_OPEN_IDLE_NS),
                _ => (Frame::udp(client, vips[0], b"!"), FLOW_ONE_WAY_IDLE_NS),
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
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_rig("clash-direct", move |rig| {
            let (client, vip, backend) = (net.client(40000), net.vip(1, 80), net.backend(1, 8080));
            rig.service(1, vip, protocol, &[backend]);
            let frame = |src, dst| match protocol {
                Protocol::Tcp => Frame::tcp(src, dst, SYN),
                _ => Frame::udp(src, dst, b"!"),
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
