//! By which device packets leave, and whether they fit there.
use crate::frame::{ACK, Frame, SYN, Unreachable};
use crate::rig::{NETS, NEXT, Net, REDIRECT, Rig, ip, with_devices};
use sheave_abi::{DEVICE_BRIDGE_PORT, DEVICE_UPLINK, DeviceValue};
use sheave_bpf::test_run::Metadata;
use sheave_core::Protocol;
use sheave_lab::Device;
use std::net::SocketAddr;

/// Clients are behind either device, backends behind the first one, where IP packets of 1400 bytes are the longest. Of IPv6 routes with
/// different metrics the kernel looks at the best ones only, whatever device is asked for (`bpf_ipv6_fib_lookup`).
const ROUTES: [&str; 7] = [
    "link set up0 mtu 1400",
    "route add 192.168.0.0/16 dev up0 metric 1",
    "route add 192.168.0.0/16 dev up1 metric 2",
    "-6 route add fd00:192::/32 dev up0 metric 1",
    "-6 route append fd00:192::/32 dev up1 metric 1",
    "route add 10.2.0.0/16 dev up0",
    "-6 route add fd00:2::/32 dev up0",
];

fn in_both(name: &str, test: fn(&mut Rig, Net, [Device; 2])) {
    for net in NETS {
        with_devices(name, &ROUTES, move |rig, devices| test(rig, net, devices));
    }
}

/// A flow of a client outside that has come in by a device: client, VIP, backend.
fn flow(rig: &mut Rig, net: Net, device: Device) -> [SocketAddr; 3] {
    let [client, vip, backend] = [net.outside(1, 40000), net.vip(10, 80), net.backend(1, 8080)];
    rig.service(1, vip, Protocol::Tcp, &[backend]);
    rig.by("ingress", device, &Frame::tcp(client, vip, SYN), "flow_new");
    [client, vip, backend]
}

/// The verdict on a reply at a device.
#[track_caller]
fn reply(rig: &mut Rig, device: Device, [client, vip, backend]: [SocketAddr; 3]) -> i32 {
    let out = rig.by("egress", device, &Frame::tcp(backend, client, SYN | ACK), "flow_reply");
    assert_eq!((out.seen().src, out.seen().dst), (vip, client));
    out.verdict
}

#[test]
fn a_reply_leaves_by_the_uplink_its_flow_came_in_by_if_there_is_a_way_from_there() {
    in_both("ways-uplinks", |rig, net, [here, there]| {
        let flow = flow(rig, net, there);
        let (uplink, none) = (DeviceValue { flags: DEVICE_UPLINK, ..DeviceValue::default() }, DeviceValue::default());
        for (name, at_here, at_there, lines, verdict) in [
            ("neither is an uplink", none, none, &[][..], NEXT),
            ("it leaves to a pod", none, uplink, &[], NEXT),
            ("two uplinks", uplink, uplink, &[], REDIRECT),
            ("the other one is down", uplink, uplink, &["link set up1 down"], NEXT),
            ("the other one leads elsewhere", uplink, uplink, &["link set up1 up"], NEXT),
        ] {
            rig.device(here.index, at_here);
            rig.device(there.index, at_there);
            lines.iter().for_each(|line| ip(line));
            assert_eq!(reply(rig, here, flow), verdict, "{name}");
        }
    });
}

/// The node's address is the bridge's, and packets are decided at the port.
#[test]
fn a_reply_leaves_by_the_bridge_if_its_flow_came_in_by_a_port_of_it() {
    const PORT: u32 = 1;
    in_both("ways-bridge", |rig, net, [here, there]| {
        let uplink = DeviceValue { flags: DEVICE_UPLINK, ..DeviceValue::default() };
        let [client, vip, backend] = [net.outside(1, 40000), net.vip(10, 80), net.backend(1, 8080)];
        rig.service(1, vip, Protocol::Tcp, &[backend]);
        rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_new"]);
        rig.device(here.index, uplink);
        for (name, bridge, at_there, verdict) in [
            ("no port", 0, uplink, NEXT),
            ("of an uplink", there.index, uplink, REDIRECT),
            ("of a bridge of pods", there.index, DeviceValue::default(), NEXT),
            ("of this one", here.index, uplink, NEXT),
        ] {
            let flags = if bridge == 0 { 0 } else { DEVICE_BRIDGE_PORT };
            rig.device(PORT, DeviceValue { flags, bridge, ..DeviceValue::default() });
            rig.device(there.index, at_there);
            assert_eq!(reply(rig, here, [client, vip, backend]), verdict, "{name}");
        }
    });
}

#[test]
fn replies_follow_a_client_whose_packets_come_by_another_uplink_now() {
    in_both("ways-follow", |rig, net, [first, second]| {
        for uplink in [first, second] {
            rig.device(uplink.index, DeviceValue { flags: DEVICE_UPLINK, ..DeviceValue::default() });
        }
        let flow @ [client, vip, _] = flow(rig, net, first);
        assert_eq!((reply(rig, first, flow), reply(rig, second, flow)), (NEXT, REDIRECT));
        rig.by("ingress", second, &Frame::tcp(client, vip, ACK).ack(1), "flow_forward");
        assert_eq!((reply(rig, first, flow), reply(rig, second, flow)), (REDIRECT, NEXT));
        rig.by("ingress", first, &Frame::tcp(client, vip, ACK).ack(1), "flow_forward");
        assert_eq!((reply(rig, first, flow), reply(rig, second, flow)), (NEXT, REDIRECT), "and back");
    });
}

/// RFC 1191 §4, RFC 4443 §3.2
#[test]
fn what_is_too_long_for_the_way_past_the_stack_is_answered_with_what_would_fit() {
    in_both("ways-long", |rig, net, [_, other]| {
        let [client, vip, backend] = [net.node(1, 40000), net.vip(10, 80), net.backend(1, 8080)];
        let ip_header = if vip.is_ipv4() { 20 } else { 40 };
        for (service, protocol, headers, embedded) in
            [(1, Protocol::Tcp, ip_header + 20, ip_header + 20), (2, Protocol::Udp, ip_header + 8, ip_header + 8)]
        {
            rig.service(service, vip, protocol, &[backend]);
            let sent = |len| match protocol {
                Protocol::Tcp => Frame::tcp(client, vip, ACK).ack(1).payload(&vec![7; len]),
                _ => Frame::udp(client, vip, &vec![7; len]),
            };
            let first = Frame { flags: SYN, ..sent(0) };
            assert_eq!(rig.by("egress", other, &first, "flow_new").verdict, REDIRECT, "{protocol:?}");
            assert_eq!(rig.by("egress", other, &sent(1400 - headers), "flow_forward").verdict, REDIRECT);
            let long = sent(1401 - headers);
            let out = rig.by("egress", other, &long, "reject_too_long");
            let seen = Unreachable::read(&out.bytes);
            let kind = if vip.is_ipv4() { (3, 4) } else { (2, 0) };
            assert_eq!((out.verdict, seen.kind, seen.code), (REDIRECT, kind.0, kind.1), "{protocol:?}");
            assert_eq!((seen.src, seen.dst, seen.word), (vip.ip(), client.ip(), 1400_u32.to_be_bytes()));
            assert_eq!(seen.about, long.bytes()[14..14 + embedded], "{protocol:?}");
        }
    });
}

#[test]
fn what_is_cut_into_segments_that_fit_goes_its_way() {
    in_both("ways-gso", |rig, net, [_, other]| {
        let [client, vip, backend] = [net.node(1, 40000), net.vip(10, 80), net.backend(1, 8080)];
        rig.service(1, vip, Protocol::Tcp, &[backend]);
        let headers = if vip.is_ipv4() { 40 } else { 60 };
        rig.by("egress", other, &Frame::tcp(client, vip, SYN), "flow_new");
        let long = Frame::tcp(client, vip, ACK).ack(1).payload(&[7; 3000]).bytes();
        for (gso_size, counted) in [(1400 - headers, "flow_forward"), (1401 - headers, "reject_too_long")] {
            let metadata = Metadata { ifindex: other.index, gso_size, ..Metadata::default() };
            assert_eq!(rig.at("egress", metadata, &long, &[counted]).verdict, REDIRECT, "{gso_size}");
        }
    });
}
