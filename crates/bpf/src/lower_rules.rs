//! What holds for the node, as kernel writes.
use crate::image::Image;
use crate::lower::room_for_ranges;
use crate::ops::{AddrUse, MapOp, RulesEntry};
use crate::refused::{Full, Refused, Remedy};
use ipnet::IpNet;
use sheave_abi::NODE_ADDRS_MAX;
use sheave_core::{Family, NodeRules};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The operations that make these rules hold. After each of them nothing is dropped that neither the old nor the new rules
/// drop, and every address is what either takes it for: first goes what drops, then comes what addresses are, then what is
/// masqueraded; what takes away comes last, in the opposite order ([`NodeRules::relaxed`]).
pub(crate) fn lower_rules(image: &Image, rules: &NodeRules) -> Result<Vec<MapOp>, Refused> {
    let wanted = uses(rules);
    room_for_addrs(image, &wanted).map_err(|full| Refused::Rules { full })?;
    let held = image.ranges(None);
    let cidrs: BTreeSet<IpNet> = rules.service_cidrs.iter().copied().collect();
    let new: Vec<IpNet> = cidrs.difference(held).copied().collect();
    room_for_ranges(image, &new).map_err(|full| Refused::Rules { full })?;
    let mut ops: Vec<_> =
        held.difference(&cidrs).map(|range| MapOp::DeleteRange { service: None, range: *range }).collect();
    ops.extend(wider(image, &wanted));
    let entry = RulesEntry { masquerade_all: rules.masquerade_all, local_pods: rules.local_pods.clone() };
    ops.extend((entry != *image.rules_entry()).then_some(MapOp::WriteRules { rules: entry }));
    ops.extend(narrower(image, &wanted));
    ops.extend(new.into_iter().map(|range| MapOp::PutRange { service: None, range }));
    Ok(ops)
}

/// What each address is to be.
fn uses(rules: &NodeRules) -> BTreeMap<IpAddr, AddrUse> {
    let mut uses: BTreeMap<IpAddr, AddrUse> = BTreeMap::new();
    rules.own.iter().for_each(|addr| uses.entry(*addr).or_default().own = true);
    rules.node_port_addrs.iter().for_each(|addr| uses.entry(*addr).or_default().node_ports = true);
    uses
}

/// What the address is on the way from one use to another one: both.
fn both(held: AddrUse, wanted: AddrUse) -> AddrUse {
    AddrUse { own: held.own || wanted.own, node_ports: held.node_ports || wanted.node_ports }
}

fn held(image: &Image, addr: IpAddr) -> AddrUse {
    image.addrs().get(&addr).copied().unwrap_or_default()
}

fn wider(image: &Image, wanted: &BTreeMap<IpAddr, AddrUse>) -> impl Iterator<Item = MapOp> {
    wanted.iter().filter_map(|(addr, uses)| {
        let held = held(image, *addr);
        let uses = both(held, *uses);
        (uses != held).then_some(MapOp::PutAddr { addr: *addr, uses })
    })
}

fn narrower(image: &Image, wanted: &BTreeMap<IpAddr, AddrUse>) -> impl Iterator<Item = MapOp> {
    image.addrs().iter().filter_map(|(addr, held)| match wanted.get(addr) {
        None => Some(MapOp::DeleteAddr { addr: *addr }),
        Some(uses) => (both(*held, *uses) != *uses).then_some(MapOp::PutAddr { addr: *addr, uses: *uses }),
    })
}

/// What comes is there before what goes is gone.
fn room_for_addrs(image: &Image, wanted: &BTreeMap<IpAddr, AddrUse>) -> Result<(), Full> {
    for family in Family::ALL {
        let of_family = |addr: &&IpAddr| Family::of(**addr) == family;
        let new = wanted.keys().filter(of_family).filter(|addr| !image.addrs().contains_key(*addr)).count();
        let used = image.addrs().keys().filter(of_family).count();
        if new > 0 && used + new > NODE_ADDRS_MAX as usize {
            let map = ["node_addrs_v4", "node_addrs_v6"][usize::from(family == Family::V6)];
            return Err(Full { map, max: NODE_ADDRS_MAX, remedy: Remedy::Fewer("addresses on the node") });
        }
    }
    Ok(())
}
