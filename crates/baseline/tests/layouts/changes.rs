//! What a sync after a change writes, in numbers.
use crate::fixture::{many, node, service};
use sheave_baseline::{Baseline, Counts, Iptables, Nftables, Restore, SingleMap, Variant};
use sheave_core::{Family, ServiceName};
use std::collections::BTreeSet;

/// What one endpoint more in a Service of `endpoints` among `services` Services costs.
fn one_more(baseline: &mut dyn Baseline, services: u32, endpoints: u32) -> Counts {
    let before = many(services, endpoints, false);
    let mut after = before.clone();
    after.insert(service(Family::V4, "s0", 2, (0..endpoints).chain([1_000_000])));
    baseline.cold(&before);
    baseline.change(&after, &after.changed_since(&before)).counts
}

#[test]
fn a_partial_restore_writes_one_rule_for_each_service_and_all_of_the_changed_one() {
    for (services, endpoints) in [(10, 10), (1000, 10), (10, 250)] {
        let mut iptables = Iptables::new(Variant::Legacy, Restore::Partial, node(Family::V4));
        let counts = one_more(&mut iptables, services, endpoints);
        let (s, e) = (services as usize, endpoints as usize + 1);
        assert_eq!(counts.nat_rules, 5 + s + 1 + 3 * e, "{s} Services");
        assert_eq!(counts.hooks, 0, "{s} Services");
    }
}

#[test]
fn a_full_restore_writes_everything() {
    let mut iptables = Iptables::new(Variant::Legacy, Restore::Full, node(Family::V4));
    let counts = one_more(&mut iptables, 100, 10);
    assert_eq!(counts.nat_rules, 5 + 100 * 32 + 3);
}

#[test]
fn nftables_writes_all_of_the_changed_service_and_nothing_else() {
    for (services, endpoints) in [(10, 10), (1000, 10), (10, 250)] {
        let counts = one_more(&mut Nftables::new(node(Family::V4)), services, endpoints);
        let e = endpoints as usize + 1;
        let found = (counts.chains, counts.rules, counts.elements, counts.deletions);
        assert_eq!(found, (1 + e, 2 + 2 * e, 0, 0), "{services} Services");
    }
}

#[test]
fn the_single_map_writes_as_much_whatever_the_number_of_services_and_endpoints() {
    for (services, endpoints) in [(10, 10), (1000, 10), (10, 250)] {
        let counts = one_more(&mut SingleMap::new(node(Family::V4)), services, endpoints);
        // The chain for the new size; frontend, slot, hairpin; the old frontend.
        let found = (counts.chains, counts.rules, counts.elements, counts.deletions);
        assert_eq!(found, (1, 2, 3, 1), "{services} Services with {endpoints} endpoints");
    }
}

#[test]
fn nothing_changed_is_nothing_to_write_for_nft() {
    let rules = many(10, 10, false);
    let baselines: [&mut dyn Baseline; 2] =
        [&mut Nftables::new(node(Family::V4)), &mut SingleMap::new(node(Family::V4))];
    for baseline in baselines {
        baseline.cold(&rules);
        assert_eq!(baseline.change(&rules, &BTreeSet::new()).counts, Counts::default());
    }
}

/// In a small cluster a chain goes at once, in a large one later; in nftables always later.
#[test]
fn chains_without_use_are_taken_away() {
    let (small, large) = (&many(10, 10, false), &many(200, 10, false));
    let iptables = || Iptables::new(Variant::Legacy, Restore::Partial, node(Family::V4));
    let mut small_iptables = iptables();
    let mut large_iptables = iptables();
    let mut nftables = Nftables::new(node(Family::V4));
    for (case, baseline, before, at_once, later) in [
        ("a small cluster", &mut small_iptables as &mut dyn Baseline, small, 11, 0),
        ("a large cluster", &mut large_iptables, large, 0, 11),
        // Two elements, in cluster-ips and service-ips.
        ("nftables", &mut nftables, small, 2, 11),
    ] {
        let mut after = before.clone();
        after.remove(&ServiceName::new("shop", "s3"));
        baseline.cold(before);
        let counts = baseline.change(&after, &after.changed_since(before)).counts;
        let swept = baseline.sweep().map_or(0, |script| script.counts.deletions);
        assert_eq!((counts.deletions, swept), (at_once, later), "{case}");
        assert_eq!(baseline.sweep(), None, "{case}");
    }
}

#[test]
fn a_chain_that_comes_back_is_not_taken_away() {
    let baselines: [Box<dyn Baseline>; 2] = [
        Box::new(Iptables::new(Variant::Nft, Restore::Partial, node(Family::V4))),
        Box::new(Nftables::new(node(Family::V4))),
    ];
    for mut baseline in baselines {
        let before = many(200, 10, false);
        let mut without = before.clone();
        without.remove(&ServiceName::new("shop", "s3"));
        baseline.cold(&before);
        let changed = without.changed_since(&before);
        baseline.change(&without, &changed);
        baseline.change(&before, &changed);
        assert_eq!(baseline.sweep(), None);
    }
}
