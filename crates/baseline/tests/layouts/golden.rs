//! The text of each layout for one Service of each kind, against files. `UPDATE_EXPECT=1` writes them anew.
use crate::fixture::{changed, node, of_each_kind};
use sheave_baseline::{Baseline, Iptables, Nftables, Restore, SingleMap, Variant};
use sheave_core::Family;
use std::path::Path;

fn expect(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layouts/golden").join(name);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).expect("the directory of golden files is there");
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == want, "{name} differs; UPDATE_EXPECT=1 writes it anew, git diff shows how. It is now:\n{text}");
}

fn check(name: &str, baseline: &mut dyn Baseline, family: Family) {
    let (before, after) = (of_each_kind(family), changed(family));
    expect(&format!("{name}-cold"), &baseline.cold(&before).text);
    expect(&format!("{name}-change"), &baseline.change(&after, &after.changed_since(&before)).text);
    let swept = baseline.sweep().map(|script| script.text).unwrap_or_default();
    let removed = baseline.remove().text;
    expect(&format!("{name}-end"), &format!("{swept}{removed}"));
}

#[test]
fn iptables_writes_what_kube_proxy_writes() {
    for (name, family) in [("iptables-v4", Family::V4), ("iptables-v6", Family::V6)] {
        check(name, &mut Iptables::new(Variant::Legacy, Restore::Partial, node(family)), family);
    }
}

#[test]
fn nftables_writes_what_kube_proxy_writes() {
    for (name, family) in [("nftables-v4", Family::V4), ("nftables-v6", Family::V6)] {
        check(name, &mut Nftables::new(node(family)), family);
    }
}

#[test]
fn the_single_map_is_two_maps_and_a_set() {
    for (name, family) in [("single-map-v4", Family::V4), ("single-map-v6", Family::V6)] {
        check(name, &mut SingleMap::new(node(family)), family);
    }
}
