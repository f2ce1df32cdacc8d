//! What is there whatever the Services.
use crate::nft::{Transaction, Words, rule, words};
use crate::node::{MASQUERADE_MARK, NodeConfig};
use sheave_core::Family;

/// The set of pairs of one address.
pub(super) const HAIRPINS: &str = "hairpins";

/// Writes all of it.
pub(super) fn write(transaction: &mut Transaction, node: &NodeConfig) {
    let Words { ip, addr, .. } = words(Family::of(node.addr));
    transaction.table("one map for all Services");
    let key = format!("{ip} daddr . meta l4proto . th dport");
    transaction.set("map", "frontends", format_args!("typeof {key} : verdict"));
    transaction.set("map", "backends", format_args!("typeof {key} . numgen random mod 2 : {ip} daddr . tcp dport"));
    transaction.set("set", HAIRPINS, format_args!("type {addr} . {addr}"));
    transaction.chain("refuse", "");
    rule!(transaction, "refuse", "reject");
    for (chain, hook) in [("nat-prerouting", "prerouting"), ("nat-output", "output")] {
        transaction.chain(chain, &format!(" {{ type nat hook {hook} priority -100 ; }}"));
        rule!(transaction, chain, "{key} vmap @frontends");
    }
    let chain = "nat-postrouting";
    transaction.chain(chain, " { type nat hook postrouting priority 100 ; }");
    rule!(
        transaction,
        chain,
        "meta mark and {MASQUERADE_MARK} != 0 meta mark set meta mark xor {MASQUERADE_MARK} masquerade fully-random"
    );
    rule!(transaction, chain, "ct status dnat {ip} saddr . {ip} daddr @{HAIRPINS} masquerade fully-random");
}
