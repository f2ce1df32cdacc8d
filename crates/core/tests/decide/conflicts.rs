//! X1: two Services claim one frontend.
use crate::world::{OUTSIDE, POD, World, ip, packet, port, service, slice, world};
use sheave_core::{Object, Protocol, Service, decide};

/// The winner, and whether the answer names the loser.
fn winner(world: &World, from: &str, to: &str) -> String {
    let decision = decide(&packet(from, to, None), &world.index, &world.config);
    decision.service.map_or("nobody".to_owned(), |service| service.service.name.to_string())
}

fn two(a: Service, b: Service) -> World {
    world().serving(a, 1).serving(b, 2)
}

#[test]
fn the_stronger_claim_wins_then_the_older_service_then_the_name() {
    let at = |name: &str, cluster: &str| service(name, &[cluster]);
    let allocated = |name, created_unix_s| Service { created_unix_s, ..at(name, "10.96.0.9") };
    let balanced = |name, created_unix_s, ip_: &str| Service {
        created_unix_s,
        load_balancer_ips: vec![ip(ip_)],
        ..at(name, if name == "a" { "10.96.0.1" } else { "10.96.0.2" })
    };
    let external = |name, created_unix_s, ip_: &str| Service {
        created_unix_s,
        external_ips: vec![ip(ip_)],
        ..at(name, if name == "a" { "10.96.0.1" } else { "10.96.0.2" })
    };
    let shared = "1.2.3.4";
    for (case, a, b, to, want) in [
        ("older", allocated("a", 1), allocated("b", 2), "10.96.0.9", "a"),
        ("older", allocated("a", 2), allocated("b", 1), "10.96.0.9", "b"),
        ("by name", allocated("a", 1), allocated("b", 1), "10.96.0.9", "a"),
        (
            "an external IP never captures a ClusterIP",
            external("a", 1, "10.96.0.9"),
            allocated("b", 2),
            "10.96.0.9",
            "b",
        ),
        ("nor does a balancer address", balanced("a", 1, "10.96.0.9"), allocated("b", 2), "10.96.0.9", "b"),
        ("balancer before external", external("a", 1, shared), balanced("b", 2, shared), shared, "b"),
        ("balancer before external", balanced("a", 2, shared), external("b", 1, shared), shared, "a"),
        ("two balancers: older", balanced("a", 2, shared), balanced("b", 1, shared), shared, "b"),
        ("two externals: older", external("a", 1, shared), external("b", 2, shared), shared, "a"),
    ] {
        assert_eq!(winner(&two(a, b), POD, &format!("{to}:80/tcp")), want, "X1 {case}");
    }
}

#[test]
fn the_answer_names_who_else_claims_it() {
    let claim = |name, created_unix_s| Service { created_unix_s, ..service(name, &["10.96.0.9"]) };
    let world = two(claim("a", 1), claim("b", 2));
    let said = decide(&packet(POD, "10.96.0.9:80/tcp", None), &world.index, &world.config).why.join("; ");
    assert!(said.contains("shop/b:http claims it as well"), "{said}");
}

#[test]
fn an_exact_address_beats_a_node_port() {
    let at_node = Service { external_ips: vec![ip("192.168.0.1")], ..service("exact", &["10.96.0.1"]) };
    let at_node = Service { ports: vec![port("http", Protocol::Tcp, 30080, 0)], ..at_node };
    let any = Service { ports: vec![port("http", Protocol::Tcp, 80, 30080)], ..service("any", &["10.96.0.2"]) };
    let both = two(at_node, any.clone());
    assert_eq!(winner(&both, OUTSIDE, "192.168.0.1:30080/tcp"), "exact", "X1");
    let alone = world().with(slice(&any, &[("10.0.1.1", "a")])).with(Object::Service(any));
    assert_eq!(winner(&alone, OUTSIDE, "192.168.0.1:30080/tcp"), "any", "X1: nobody else claims it");
}
