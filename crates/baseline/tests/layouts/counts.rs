//! How many rules a layout has, against kube-proxy's own numbers.
use crate::fixture::{OUTSIDE, addr, many, node, port, service};
use sheave_baseline::{Baseline, Counts, Iptables, Nftables, Restore, Ruleset, ServedPort, SingleMap, Variant};
use sheave_core::Family;

fn iptables(rules: &Ruleset) -> Counts {
    Iptables::new(Variant::Legacy, Restore::Partial, node(Family::V4)).cold(rules).counts
}

/// The table of kube-proxy's own test (kubernetes/kubernetes, `pkg/proxy/iptables/number_generated_rules_test.go`). It has one
/// rule less in the table filter throughout: it does not make NodePorts work on 127.0.0.1, which is the default.
#[test]
fn iptables_has_as_many_rules_as_kube_proxy() {
    for (services, endpoints, filter, nat) in [
        (0, 0, 3, 5),
        (1, 0, 4, 5),
        (1, 1, 3, 10),
        (1, 2, 3, 13),
        (1, 10, 3, 37),
        (10, 0, 13, 5),
        (10, 1, 3, 55),
        (10, 2, 3, 85),
        (10, 10, 3, 325),
    ] {
        let counts = iptables(&many(services, endpoints, false));
        let found = (counts.rules - counts.nat_rules - 1, counts.nat_rules);
        assert_eq!(found, (filter, nat), "{services} Services with {endpoints} endpoints");
    }
}

#[test]
fn at_10_000_services_with_10_endpoints_iptables_has_320_010_nat_rules() {
    let counts = iptables(&many(10_000, 10, true));
    assert_eq!(counts.nat_rules, 320_010);
    assert_eq!(counts.hooks, 14);
    // A chain for each Service and each endpoint, ten on top.
    assert_eq!(counts.chains, 10 + 10_001 + 100_001);
}

#[test]
fn load_balancers_have_their_rules_in_iptables() {
    let mut rules = Ruleset::new(Family::V4);
    for number in 0..10 {
        rules.insert(ServedPort {
            node_port: Some(port(30_000 + number)),
            external_ips: vec![addr(Family::V4, OUTSIDE, 1)],
            load_balancer_ips: vec![addr(Family::V4, OUTSIDE, 1)],
            source_ranges: vec!["192.0.2.0/28".parse().unwrap()],
            ..service(Family::V4, &format!("s{number}"), u32::from(number), 0..10)
        });
    }
    let counts = iptables(&rules);
    // Each: three ways in, two rules in KUBE-EXT, two in KUBE-FW, one drop in the table filter.
    assert_eq!(counts.nat_rules, 5 + 10 * (2 + 3 * 10 + 7));
    assert_eq!(counts.rules - counts.nat_rules, 4 + 10);
}

#[test]
fn nftables_has_as_many_chains_rules_and_elements_as_its_formula_says() {
    for (services, endpoints) in [(0, 0), (1, 1), (10, 10), (10_000, 10)] {
        let counts = Nftables::new(node(Family::V4)).cold(&many(services, endpoints, false)).counts;
        let (s, e) = (services as usize, endpoints as usize);
        // One of the rules is for the ServiceCIDR.
        let found = (counts.chains, counts.rules, counts.sets, counts.elements);
        assert_eq!(found, (16 + s * (1 + e), 23 + s * (2 + 2 * e), 7, 1 + 2 * s), "{s} Services with {e} endpoints");
    }
}

#[test]
fn the_single_map_has_as_many_rules_whatever_the_number_of_services() {
    for services in [1, 10, 10_000] {
        let counts = SingleMap::new(node(Family::V4)).cold(&many(services, 10, false)).counts;
        let services = services as usize;
        // A frontend, ten slots, and ten addresses against hairpins.
        assert_eq!((counts.rules, counts.elements), (7, services * 21), "{services} Services");
    }
}
