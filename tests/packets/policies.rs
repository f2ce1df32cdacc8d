//! Who may dial what, and which endpoints a new flow may go to (A4, A5, A12, E4 to E6, E10, R8).
use crate::frame::{Frame, SYN};
use crate::rig::{DROP, NEXT, Net, REDIRECT, Rig, in_both, service_id};
use ipnet::IpNet;
use sheave_bpf::ops::MapOp;
use sheave_core::rules::LocalPods;
use sheave_core::{Affinity, FrontendKind, Protocol, TrafficPolicy};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The key of a NodePort.
fn node_port(net: Net, port: u16) -> SocketAddr {
    let any: IpAddr = if net.vip(1, 1).is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, port)
}

fn pods(net: Net) -> LocalPods {
    match net.vip(1, 1).is_ipv4() {
        true => LocalPods::Cidr { v4: Some("10.1.0.0/16".parse().unwrap()), v6: None },
        false => LocalPods::Cidr { v4: None, v6: Some("fd00:1::/32".parse().unwrap()) },
    }
}

#[test]
fn a_node_port_is_served_at_the_addresses_that_accept_it_and_nowhere_else_a4_a5() {
    in_both("policy-node-port", |rig, net| {
        let service = service_id(1);
        rig.service(1, net.vip(10, 80), Protocol::Tcp, &[net.backend(1, 8080)]);
        rig.lead(service, node_port(net, 30080), Protocol::Tcp, FrontendKind::NodePort);
        rig.node_addr(net.node(1, 0).ip(), true, true);
        rig.node_addr(net.node(2, 0).ip(), true, false);
        for (name, dst, counted) in [
            ("accepted", net.node(1, 30080), "flow_new"),
            ("own, not accepted", net.node(2, 30080), "pass_no_frontend"),
            ("another port", net.node(1, 30081), "pass_no_frontend"),
            ("another host", net.node(3, 30080), "pass_no_frontend"),
            ("the wildcard address itself", node_port(net, 30080), "pass_no_frontend"),
        ] {
            let out = rig.ingress(&Frame::tcp(net.outside(1, 40000), dst, SYN), &[counted]);
            assert_eq!(out.verdict, NEXT, "{name}");
        }
    });
}

#[test]
fn an_exact_address_goes_before_a_node_port_and_an_own_one_before_a_claim_x1_a12() {
    in_both("policy-exact", |rig, net| {
        let (own, dns) = (net.node(1, 30080), net.node(2, 53));
        rig.service(1, net.vip(1, 80), Protocol::Udp, &[net.backend(1, 1)]);
        rig.lead(service_id(1), node_port(net, 30080), Protocol::Udp, FrontendKind::NodePort);
        rig.service(2, net.vip(2, 80), Protocol::Udp, &[net.backend(2, 2)]);
        rig.lead(service_id(2), own, Protocol::Udp, FrontendKind::ExternalIp);
        rig.node_addr(own.ip(), true, true);
        rig.node_addr(dns.ip(), true, false);
        rig.exec(&MapOp::PutVip { addr: dns.ip() });
        let seen = rig.ingress(&Frame::udp(net.outside(1, 1), own, b"!"), &["flow_new"]).seen();
        assert_eq!(seen.dst, net.backend(2, 2));
        rig.ingress(&Frame::udp(net.outside(1, 1), dns, b"!"), &["pass_no_frontend"]);
    });
}

#[test]
fn external_policy_local_sends_each_kind_of_source_where_it_belongs_e5_e6() {
    in_both("policy-external", |rig, net| {
        let (vip, local, remote) = (net.vip(20, 80), net.backend(1, 8080), net.backend(2, 8080));
        let service = service_id(1);
        rig.write_sets(service, &[remote], &[local]);
        rig.amend(service, |entry| entry.external = TrafficPolicy::Local);
        rig.lead(service, vip, Protocol::Udp, FrontendKind::LoadBalancer);
        rig.rules(false, pods(net));
        rig.device(1, net.device(1));
        rig.node_addr(net.node(1, 0).ip(), true, false);
        for (name, client, backend, masqueraded) in [
            ("outside", net.outside(1, 1), local, false),
            ("a pod", net.client(2), remote, false),
            ("the node", net.node(1, 3), remote, true),
        ] {
            let seen = rig.ingress(&Frame::udp(client, vip, b"!"), &["flow_new"]).seen();
            assert_eq!((seen.src, seen.dst), (client, backend), "{name}");
            let counted = if masqueraded { "flow_masquerade" } else { "pass_no_frontend" };
            rig.egress(&Frame::udp(client, backend, b"!"), &[counted]);
        }
        rig.amend(service, |entry| entry.external = TrafficPolicy::Cluster);
        let seen = rig.ingress(&Frame::udp(net.outside(1, 9), vip, b"!"), &["flow_new"]).seen();
        assert_eq!(seen.dst, remote);
        rig.egress(&Frame::udp(net.outside(1, 9), remote, b"!"), &["flow_masquerade"]);
    });
}

#[test]
fn an_empty_local_set_drops_and_an_empty_service_refuses_e4_e5_e11() {
    in_both("policy-empty", |rig, net| {
        let (cluster_ip, external, backend) = (net.vip(10, 80), net.vip(20, 80), net.backend(1, 8080));
        let service = service_id(1);
        rig.service(1, cluster_ip, Protocol::Tcp, &[backend]);
        rig.lead(service, external, Protocol::Tcp, FrontendKind::ExternalIp);
        rig.amend(service, |entry| (entry.internal, entry.external) = (TrafficPolicy::Local, TrafficPolicy::Local));
        for dst in [cluster_ip, external] {
            let frame = Frame::tcp(net.outside(1, 40000), dst, SYN);
            let out = rig.ingress(&frame, &["drop_no_local_endpoint"]);
            assert_eq!((out.verdict, out.bytes), (DROP, frame.bytes()), "{dst}");
        }
        rig.write_set(service, &[]);
        for dst in [cluster_ip, external] {
            let out = rig.ingress(&Frame::tcp(net.outside(1, 40000), dst, SYN), &["reject_reset"]);
            assert_eq!(out.verdict, REDIRECT, "{dst}");
        }
    });
}

#[test]
fn source_ranges_drop_who_is_outside_on_load_balancer_addresses_before_anything_else_r8() {
    in_both("policy-ranges", |rig, net| {
        let service = service_id(1);
        let (load_balancer, external, cluster_ip) = (net.vip(20, 80), net.vip(21, 80), net.vip(10, 80));
        rig.service(1, cluster_ip, Protocol::Udp, &[net.backend(1, 8080)]);
        rig.lead(service, load_balancer, Protocol::Udp, FrontendKind::LoadBalancer);
        rig.lead(service, external, Protocol::Udp, FrontendKind::ExternalIp);
        let inside = net.outside(7, 1);
        let range = IpNet::new(inside.ip(), if inside.is_ipv4() { 32 } else { 128 }).unwrap();
        rig.exec(&MapOp::PutRange { service: Some(service), range });
        rig.exec(&MapOp::PutRange {
            service: Some(service_id(2)),
            range: IpNet::new(net.outside(0, 0).ip(), 16).unwrap(),
        });
        rig.amend(service, |entry| entry.restricted = true);
        for (name, src, dst, counted) in [
            ("inside", inside, load_balancer, "flow_new"),
            ("outside; another Service's range has it", net.outside(8, 1), load_balancer, "drop_source_range"),
            ("external IPs are not restricted", net.outside(8, 1), external, "flow_new"),
            ("nor is the ClusterIP", net.outside(8, 3), cluster_ip, "flow_new"),
        ] {
            let out = rig.ingress(&Frame::udp(src, dst, b"!"), &[counted]);
            assert_eq!(out.verdict == DROP, counted == "drop_source_range", "{name}");
        }
        rig.write_set(service, &[]);
        rig.ingress(&Frame::udp(net.outside(8, 2), load_balancer, b"!"), &["drop_source_range"]);
        rig.ingress(&Frame::udp(net.outside(7, 2), load_balancer, b"!"), &["reject_unreachable"]);
    });
}

#[test]
fn a_client_with_affinity_goes_where_it_went_whichever_vip_it_dials_e10() {
    in_both("policy-affinity", |rig, net| {
        let service = service_id(1);
        let backends: Vec<_> = (1..=32).map(|n| net.backend(n, 8080)).collect();
        let (cluster_ip, external) = (net.vip(10, 80), net.vip(20, 80));
        let ids = rig.write_sets(service, &backends, &[]);
        rig.amend(service, |entry| entry.affinity = Some(Affinity { timeout_s: 100 }));
        rig.lead(service, cluster_ip, Protocol::Tcp, FrontendKind::ClusterIp);
        rig.lead(service, external, Protocol::Tcp, FrontendKind::ExternalIp);
        let dial = |rig: &mut Rig, client: SocketAddr, vip| {
            rig.ingress(&Frame::tcp(client, vip, SYN), &["flow_new"]).seen().dst
        };
        let first = dial(rig, net.client(1), cluster_ip);
        for port in 2..20 {
            assert_eq!(dial(rig, net.client(port), if port % 2 == 0 { external } else { cluster_ip }), first);
        }
        let others: BTreeSet<_> = (1..50).map(|n| dial(rig, net.outside(n, 1), cluster_ip)).collect();
        assert!(others.len() > 10, "other clients go elsewhere: {others:?}");
        rig.age_affinity(99_000_000_000);
        assert_eq!(dial(rig, net.client(30), cluster_ip), first, "and this begins the time anew");
        rig.age_affinity(99_000_000_000);
        assert_eq!(dial(rig, net.client(31), cluster_ip), first);
        let at = backends.iter().position(|backend| *backend == first).unwrap();
        rig.retire(1, ids[at], first);
        rig.write_set(service, &[net.backend(100, 1)]);
        assert_eq!(dial(rig, net.client(32), cluster_ip), net.backend(100, 1), "replaced");
        rig.write_sets(service, &backends, &[]);
        let next = dial(rig, net.client(33), cluster_ip);
        rig.age_affinity(101_000_000_000);
        let drawn: BTreeSet<_> = (40..60)
            .map(|port| {
                rig.age_affinity(101_000_000_000);
                dial(rig, net.client(port), cluster_ip)
            })
            .collect();
        assert!(drawn.len() > 3, "after the time-out every flow draws: {next} {drawn:?}");
    });
}

#[test]
fn affinity_applies_within_the_set_of_the_policy_e10() {
    in_both("policy-affinity-set", |rig, net| {
        let (service, cluster_ip, external) = (service_id(1), net.vip(10, 80), net.vip(20, 80));
        rig.write_sets(service, &[net.backend(2, 2)], &[net.backend(1, 1)]);
        rig.amend(service, |entry| {
            (entry.external, entry.affinity) = (TrafficPolicy::Local, Some(Affinity { timeout_s: 100 }));
        });
        rig.lead(service, cluster_ip, Protocol::Tcp, FrontendKind::ClusterIp);
        rig.lead(service, external, Protocol::Tcp, FrontendKind::ExternalIp);
        for port in [1, 2, 3] {
            for (vip, backend) in [(cluster_ip, net.backend(2, 2)), (external, net.backend(1, 1))] {
                let seen = rig.ingress(&Frame::tcp(net.outside(1, port), vip, SYN), &["flow_new"]).seen();
                assert_eq!(seen.dst, backend);
            }
        }
    });
}

#[test]
fn the_node_is_one_client_whichever_of_its_addresses_it_dials_from_e10() {
    in_both("policy-affinity-node", |rig, net| {
        let (service, vip) = (service_id(1), net.vip(10, 80));
        let backends: Vec<_> = (1..=32).map(|n| net.backend(n, 8080)).collect();
        rig.write_sets(service, &backends, &[]);
        rig.amend(service, |entry| entry.affinity = Some(Affinity { timeout_s: 100 }));
        rig.lead(service, vip, Protocol::Tcp, FrontendKind::ClusterIp);
        for (own, want) in [(true, 1..=1), (false, 2..=8)] {
            let chosen: BTreeSet<_> = (1..=8)
                .map(|n| {
                    rig.node_addr(net.node(n, 0).ip(), own, false);
                    let port = if own { 1 } else { 2 };
                    rig.ingress(&Frame::tcp(net.node(n, port), vip, SYN), &["flow_new"]).seen().dst
                })
                .collect();
            assert!(want.contains(&chosen.len()), "addresses of the node: {own}; {chosen:?}");
        }
    });
}
