//! Flows counted by Service port and by backend: each once, by whatever way it comes, and only at whom it was for. That every packet of every
//! other test here agrees with this the [`Rig`] checks.
use crate::frame::{ACK, Frame, SYN};
use crate::rig::{NETS, Net, Rig, service_id, with_rig, with_routes};
use sheave_abi::ServiceFlows;
use sheave_bpf::ops::MapOp;
use sheave_core::rules::LocalPods;
use sheave_core::{Family, FrontendKind, Protocol, TrafficPolicy};

fn in_both(name: &str, test: fn(&mut Rig, Net, Family)) {
    for (net, family) in NETS.into_iter().zip(Family::ALL) {
        with_rig(name, move |rig| test(rig, net, family));
    }
}

#[test]
fn a_flow_counts_once_at_its_service_and_at_its_backend_and_its_later_packets_do_not() {
    in_both("count-once", |rig, net, family| {
        let (vip, other) = (net.vip(10, 80), net.vip(11, 80));
        let ids = rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080), net.backend(2, 8080)]);
        let others = rig.service(2, other, Protocol::Tcp, &[net.backend(1, 8080)]);
        for port in 40000..40032 {
            let client = net.client(port);
            let backend = rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_new"]).seen().dst;
            rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_forward"]);
            rig.egress(&Frame::tcp(backend, client, SYN | ACK), &["flow_reply"]);
            rig.ingress(&Frame::tcp(client, vip, ACK), &["flow_forward"]);
        }
        assert_eq!(rig.service_flows(1), ServiceFlows { begun: 32, ..ServiceFlows::default() });
        let each: Vec<u64> = ids.iter().map(|id| rig.backend_flows(family, *id)).collect();
        assert_eq!(each.iter().sum::<u64>(), 32, "{each:?}");
        assert!(each.iter().all(|flows| *flows > 0), "E9: {each:?}");
        // The same address and port, but another Service's backend.
        assert_eq!((rig.service_flows(2), rig.backend_flows(family, others[0])), (ServiceFlows::default(), 0));
    });
}

#[test]
fn a_masqueraded_flow_and_one_decided_anew_count_as_often_as_they_are_decided() {
    in_both("count-anew", |rig, net, family| {
        let (vip, old, new) = (net.vip(10, 53), net.backend(1, 5300), net.backend(2, 5300));
        rig.rules(true, LocalPods::default());
        rig.device(1, net.device(1));
        let ids = rig.service(1, vip, Protocol::Udp, &[old]);
        let question = Frame::udp(net.client(5353), vip, b"question");
        rig.ingress(&question, &["flow_new"]);
        rig.egress(&Frame::udp(net.client(5353), old, b"question"), &["flow_masquerade"]);
        assert_eq!((rig.service_flows(1).begun, rig.backend_flows(family, ids[0])), (1, 1), "not its source once more");
        let next = rig.write_set(service_id(1), &[new]);
        rig.retire(1, ids[0], old);
        rig.ingress(&question, &["flow_new"]);
        assert_eq!((rig.service_flows(1).begun, rig.backend_flows(family, next[0])), (2, 1), "L2");
        assert_eq!(rig.backend_flows(family, ids[0]), 1, "what it had it has had");
    });
}

#[test]
fn a_flow_decided_at_egress_counts_there() {
    let [net, _] = NETS;
    with_routes("count-egress", &["10.2.0.0/16".parse().unwrap()], move |rig| {
        let ids = rig.service(1, net.vip(10, 80), Protocol::Tcp, &[net.backend(1, 8080)]);
        rig.egress(&Frame::tcp(net.node(1, 40000), net.vip(10, 80), SYN), &["flow_new"]);
        assert_eq!((rig.service_flows(1).begun, rig.backend_flows(Family::V4, ids[0])), (1, 1));
    });
}

#[test]
fn what_a_service_refuses_counts_at_it_by_its_reason() {
    in_both("count-refused", |rig, net, _| {
        let service = service_id(1);
        let (cluster_ip, lb) = (net.vip(10, 80), net.vip(20, 80));
        rig.service(1, cluster_ip, Protocol::Tcp, &[]);
        rig.lead(service, lb, Protocol::Tcp, FrontendKind::LoadBalancer);
        rig.exec(&MapOp::PutVip { addr: cluster_ip.ip() });
        let syn = |dst| Frame::tcp(net.outside(1, 40000), dst, SYN);
        let multicast = if net.vip(0, 0).is_ipv4() { "224.0.0.1:1" } else { "[ff02::1]:1" }.parse().unwrap();
        let mut want = ServiceFlows::default();
        for (name, frame, counted, rejected) in [
            ("no endpoint (E11)", syn(cluster_ip), "reject_reset", 1),
            ("the same once more", syn(cluster_ip), "reject_reset", 1),
            ("a port it does not have is no Service's (A2)", syn(net.vip(10, 81)), "reject_reset", 0),
            ("who may not be answered is not refused", Frame::tcp(multicast, cluster_ip, SYN), "pass_source", 0),
            (
                "nor is what is for another host",
                Frame { mac: [2, 9, 9, 9, 9, 9], ..syn(cluster_ip) },
                "pass_not_host",
                0,
            ),
            ("only a flow's first packet is", Frame::tcp(net.outside(1, 1), cluster_ip, ACK), "pass_not_first", 0),
        ] {
            rig.ingress(&frame, &[counted]);
            want.rejected += rejected;
            assert_eq!(rig.service_flows(1), want, "{name}");
        }
        rig.write_set(service, &[net.backend(1, 8080)]);
        rig.amend(service, |entry| (entry.internal, entry.restricted) = (TrafficPolicy::Local, true));
        rig.ingress(&syn(cluster_ip), &["drop_no_local_endpoint"]);
        rig.ingress(&syn(lb), &["drop_source_range"]);
        want = ServiceFlows { no_local_endpoint: 1, source_range: 1, ..want };
        assert_eq!(rig.service_flows(1), want, "E4, R8");
    });
}

#[test]
fn an_id_that_is_given_to_another_brings_no_count_along() {
    in_both("count-reuse", |rig, net, family| {
        let (vip, backend) = (net.vip(10, 80), net.backend(1, 8080));
        let ids = rig.service(1, vip, Protocol::Udp, &[backend]);
        let neighbours = rig.service(2, net.vip(11, 80), Protocol::Udp, &[backend]);
        let ask = |rig: &mut Rig, vip, port| drop(rig.ingress(&Frame::udp(net.client(port), vip, b"!"), &["flow_new"]));
        ask(rig, vip, 1);
        ask(rig, net.vip(11, 80), 2);
        rig.exec_uncounted(&MapOp::ClearServiceFlows { service: service_id(1) });
        rig.exec_uncounted(&MapOp::ClearBackendFlows { family, ids: ids.clone() });
        assert_eq!((rig.service_flows(1), rig.backend_flows(family, ids[0])), (ServiceFlows::default(), 0));
        let neighbour = (rig.service_flows(2).begun, rig.backend_flows(family, neighbours[0]));
        assert_eq!(neighbour, (1, 1), "only the one that is named");
        ask(rig, vip, 3);
        assert_eq!((rig.service_flows(1).begun, rig.backend_flows(family, ids[0])), (1, 1));
    });
}
