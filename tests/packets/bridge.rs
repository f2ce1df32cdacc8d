//! Ports of a bridge: what a pod sends to its bridge is decided at the port, once; replies from pod to pod are handed up.
use crate::frame::{ACK, Frame, SYN, reassembled};
use crate::rig::{NETS, NEXT, Net, Out, Rig, with_devices, with_rig};
use sheave_abi::{DEVICE_BRIDGE_PORT, DeviceValue};
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use sheave_lab::Device;
use std::net::SocketAddr;

/// Another pod's device.
const OTHER_MAC: [u8; 6] = [2, 9, 9, 9, 9, 9];

fn frame(protocol: Protocol, src: SocketAddr, dst: SocketAddr) -> Frame {
    match protocol {
        Protocol::Tcp => Frame::tcp(src, dst, SYN),
        _ => Frame::udp(src, dst, b"data"),
    }
}

/// A bridge and a port of it, with the way of a packet through both.
struct Bridged<'a> {
    rig: &'a mut Rig,
    port: Device,
    bridge: Device,
}

impl Bridged<'_> {
    /// A frame comes in by the port.
    #[track_caller]
    fn at_port(&mut self, frame: &Frame, counted: &[&str]) -> Out {
        let metadata = Metadata { ifindex: self.port.index, ..Metadata::default() };
        self.rig.at("ingress", metadata, &frame.bytes(), counted)
    }

    /// A frame that is addressed to the bridge comes in by the port. (What is noted for the bridge a run does not show.)
    #[track_caller]
    fn send(&mut self, frame: &Frame, counted: &[&str]) -> (SocketAddr, SocketAddr) {
        let out = self.at_port(&Frame { mac: self.bridge.mac, ..frame.clone() }, counted);
        assert_eq!(out.verdict, NEXT);
        (out.seen().src, out.seen().dst)
    }

    /// What the stack sends to a pod leaves by the bridge.
    #[track_caller]
    fn leave(&mut self, frame: &Frame, counted: &str) -> (SocketAddr, SocketAddr) {
        let metadata =
            Metadata { ifindex: self.bridge.index, ingress_ifindex: self.bridge.index, ..Metadata::default() };
        let out = self.rig.at("egress", metadata, &frame.bytes(), &[counted]);
        (out.seen().src, out.seen().dst)
    }
}

/// For both families, over both protocols: a Service with one backend.
fn on_a_bridge(name: &str, test: fn(Bridged<'_>, Net, Protocol)) {
    for (net, protocol) in NETS.into_iter().flat_map(|net| [(net, Protocol::Tcp), (net, Protocol::Udp)]) {
        with_devices(name, &[], move |rig, [port, bridge]| {
            let flags = DEVICE_BRIDGE_PORT;
            let (bridge_mac, of) = (bridge.mac, bridge.index);
            rig.device(port.index, DeviceValue { flags, bridge_mac, bridge: of, mac: port.mac, ..net.device(1) });
            rig.device(bridge.index, DeviceValue { mac: bridge.mac, ..net.device(1) });
            rig.service(1, net.vip(10, 80), protocol, &[net.backend(1, 8080)]);
            test(Bridged { rig, port, bridge }, net, protocol);
        });
    }
}

#[test]
fn what_a_pod_sends_to_a_vip_is_translated_at_its_port() {
    on_a_bridge("bridge-once", |mut bridged, net, protocol| {
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        let sent = frame(protocol, client, vip);
        for counted in ["flow_new", "flow_forward", "flow_forward"] {
            assert_eq!(bridged.send(&sent, &[counted]), (client, backend), "{counted}");
        }
        let reply = frame(protocol, backend, client);
        assert_eq!(bridged.leave(&reply, "flow_reply"), (vip, client));
    });
}

/// R1: each of its packets, not only the first.
#[test]
fn what_is_masqueraded_at_the_bridge_was_translated_at_the_port() {
    on_a_bridge("bridge-masq", |mut bridged, net, protocol| {
        bridged.rig.rules(true, LocalPods::default());
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        for (at_port, at_bridge) in
            [("flow_new", "flow_masquerade"), ("flow_forward", "flow_forward"), ("flow_forward", "flow_forward")]
        {
            let between = bridged.send(&frame(protocol, client, vip), &[at_port]);
            let left = bridged.leave(&frame(protocol, between.0, between.1), at_bridge);
            assert_eq!((between, left), ((client, backend), (net.node(1, 40000), backend)), "{at_port}");
        }
    });
}

/// The agent was away when the pod came.
#[test]
fn a_flow_that_the_bridge_began_is_gone_on_with_at_a_port_that_is_served_later() {
    on_a_bridge("bridge-later", |mut bridged, net, protocol| {
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        let sent = frame(protocol, client, vip);
        let first = bridged.rig.by("ingress", bridged.bridge, &sent, "flow_new").seen();
        assert_eq!((first.src, first.dst), (client, backend));
        assert_eq!(bridged.send(&sent, &["flow_forward"]), (client, backend));
    });
}

#[test]
fn what_is_addressed_to_others_on_the_bridge_passes_the_port() {
    on_a_bridge("bridge-others", |mut bridged, net, protocol| {
        let (client, vip) = (net.client(40000), net.vip(10, 80));
        for mac in [OTHER_MAC, [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let sent = Frame { mac, ..frame(protocol, client, vip) };
            let out = bridged.at_port(&sent, &["pass_not_host"]);
            assert_eq!((out.verdict, out.bytes), (NEXT, sent.bytes()), "{mac:?}");
        }
        let value = DeviceValue { bridge_mac: bridged.bridge.mac, ..DeviceValue::default() };
        bridged.rig.device(bridged.port.index, value);
        let sent = Frame { mac: bridged.bridge.mac, ..frame(protocol, client, vip) };
        assert_eq!(bridged.at_port(&sent, &["pass_not_host"]).bytes, sent.bytes(), "no port of a bridge");
    });
}

#[test]
fn a_flow_to_the_backends_own_address_gives_way_at_the_port() {
    on_a_bridge("bridge-direct", |mut bridged, net, protocol| {
        let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
        assert_eq!(bridged.send(&frame(protocol, client, vip), &["flow_new"]), (client, backend));
        let direct = frame(protocol, client, backend);
        let (src, dst) = bridged.send(&direct, &["flow_masquerade", "event_port_taken"]);
        assert_eq!((src.ip(), dst), (client.ip(), backend));
        assert_ne!(src.port(), client.port());
        assert_eq!(bridged.send(&direct, &["flow_forward"]), (src, backend), "again");
        assert_eq!(bridged.leave(&frame(protocol, backend, src), "flow_reply"), (backend, client));
        assert_eq!(bridged.leave(&frame(protocol, backend, client), "flow_reply"), (vip, client));
    });
}

#[test]
fn a_reply_between_pods_of_one_bridge_is_handed_up() {
    for net in NETS {
        with_rig("bridge-reply", move |rig| {
            let (client, vip, backend) = (net.client(40000), net.vip(10, 80), net.backend(1, 8080));
            rig.service(1, vip, Protocol::Tcp, &[backend]);
            rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_new"]);
            let reply = Frame { mac: OTHER_MAC, ..Frame::tcp(backend, client, SYN | ACK) };
            rig.ingress(&reply, &["pass_not_first"]);
            let bridge_mac = [2, 0, 0, 0, 0, 7];
            rig.device(1, DeviceValue { flags: DEVICE_BRIDGE_PORT, bridge_mac, ..DeviceValue::default() });
            let out = rig.ingress(&reply, &["flow_handed_up"]);
            let seen = out.seen();
            assert_eq!((out.verdict, seen.src, seen.dst), (NEXT, backend, client));
            assert_eq!(seen.macs[..6], bridge_mac);
            rig.ingress(&Frame::tcp(backend, net.client(1), ACK), &["pass_not_first"]);
        });
    }
}

#[test]
fn all_fragments_of_a_reply_are_handed_up_and_those_of_others_none() {
    const DATA: &[u8] = b"more than the first fragment holds";
    for net in NETS {
        with_devices("bridge-fragments", &[], move |rig, [bridge, _]| {
            let (client, vip, backend) = (net.client(40000), net.vip(10, 53), net.backend(1, 5300));
            let bridge_mac = [2, 0, 0, 0, 0, 7];
            rig.service(1, vip, Protocol::Udp, &[backend]);
            rig.ingress(&Frame::udp(client, vip, b"!"), &["flow_new"]);
            rig.device(1, DeviceValue { flags: DEVICE_BRIDGE_PORT, bridge_mac, ..DeviceValue::default() });
            for (name, to, first, later) in [
                ("of the flow", client, "flow_handed_up", "flow_handed_up"),
                ("of none", net.client(1), "pass_no_frontend", "pass_fragment"),
            ] {
                let sent = Frame { mac: OTHER_MAC, ..Frame::udp(backend, to, DATA) };
                let parts = sent.fragments(16);
                let one = rig.run("ingress", &parts[0], &[first]);
                // The bridge sees each of them after its port, should the note on it be lost.
                let at_bridge = Metadata { ifindex: bridge.index, ..Metadata::default() };
                rig.at("ingress", at_bridge, &one.bytes, &["pass_no_frontend"]);
                let outs = [one, rig.run("ingress", &parts[1], &[later])];
                rig.at("ingress", at_bridge, &outs[1].bytes, &["pass_fragment"]);
                let seen = reassembled(&outs[0].bytes, &outs[1].bytes);
                assert_eq!((seen.src, seen.dst, &*seen.payload), (backend, to, DATA), "{name}");
                let mac = if first == "flow_handed_up" { bridge_mac } else { OTHER_MAC };
                for out in outs {
                    assert_eq!((out.verdict, &out.bytes[..6]), (NEXT, &mac[..]), "{name}");
                }
            }
        });
    }
}
