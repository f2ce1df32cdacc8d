//! What is there whatever the Services: the chains on top, masquerading, and the way in from the built-in chains.
use super::tables::{Table, Tables};
use super::{push, rule};
use crate::node::MASQUERADE_MARK;
use sheave_core::Family;

const FILTER: [&str; 5] =
    ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-FORWARD", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"];
const NAT: [&str; 4] = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"];

/// The kubelet's chain, which kube-proxy fills as well where it makes NodePorts work on 127.0.0.1.
const KUBELET: &str = "KUBE-FIREWALL";

const NEW: &str = "-m conntrack --ctstate NEW ";
const EXTERNAL: &str = "kubernetes externally-visible service portals";
const PORTALS: &str = "kubernetes service portals";
const LB_FIREWALL: &str = "kubernetes load balancer firewall";

/// Rules in built-in chains (`iptablesJumpChains`). Each is put at the top, so the last of a chain is its first rule.
const HOOKS: [(Table, &str, &str, &str, &str); 12] = [
    (Table::Filter, "INPUT", NEW, EXTERNAL, "KUBE-EXTERNAL-SERVICES"),
    (Table::Filter, "FORWARD", NEW, EXTERNAL, "KUBE-EXTERNAL-SERVICES"),
    (Table::Filter, "INPUT", "", "kubernetes health check service ports", "KUBE-NODEPORTS"),
    (Table::Filter, "FORWARD", NEW, PORTALS, "KUBE-SERVICES"),
    (Table::Filter, "OUTPUT", NEW, PORTALS, "KUBE-SERVICES"),
    (Table::Filter, "FORWARD", "", "kubernetes forwarding rules", "KUBE-FORWARD"),
    (Table::Filter, "INPUT", NEW, LB_FIREWALL, "KUBE-PROXY-FIREWALL"),
    (Table::Filter, "OUTPUT", NEW, LB_FIREWALL, "KUBE-PROXY-FIREWALL"),
    (Table::Filter, "FORWARD", NEW, LB_FIREWALL, "KUBE-PROXY-FIREWALL"),
    (Table::Nat, "OUTPUT", "", PORTALS, "KUBE-SERVICES"),
    (Table::Nat, "PREROUTING", "", PORTALS, "KUBE-SERVICES"),
    (Table::Nat, "POSTROUTING", "", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
];

/// Rules in built-in chains that lead to the kubelet's chain (`iptablesKubeletJumpChains`).
const KUBELET_HOOKS: [&str; 2] = ["INPUT", "OUTPUT"];

/// The chains on top, and masquerading.
pub(super) fn begin(tables: &mut Tables, family: Family) {
    FILTER.iter().for_each(|chain| tables.chain(Table::Filter, chain));
    NAT.iter().for_each(|chain| tables.chain(Table::Nat, chain));
    let (nat, mark) = (&mut tables.nat, MASQUERADE_MARK);
    rule!(nat, "KUBE-POSTROUTING", "-m mark ! --mark {mark}/{mark} -j RETURN");
    rule!(nat, "KUBE-POSTROUTING", "-j MARK --xor-mark {mark}");
    rule!(
        nat,
        "KUBE-POSTROUTING",
        "-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully"
    );
    rule!(nat, "KUBE-MARK-MASQ", "-j MARK --or-mark {mark}");
    if family == Family::V4 {
        tables.chain(Table::Filter, KUBELET);
        rule!(
            &mut tables.filter,
            KUBELET,
            "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 \
             -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
        );
    }
}

/// What has to come after all Services.
pub(super) fn end(tables: &mut Tables, family: Family) {
    let exception = match family {
        Family::V4 => "",
        Family::V6 => " ! -d ::1/128",
    };
    rule!(
        &mut tables.nat,
        "KUBE-SERVICES",
        "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" \
         -m addrtype --dst-type LOCAL{exception} -j KUBE-NODEPORTS"
    );
    let (filter, mark) = (&mut tables.filter, MASQUERADE_MARK);
    rule!(filter, "KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
    rule!(
        filter,
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {mark}/{mark} -j ACCEPT"
    );
    rule!(
        filter,
        "KUBE-FORWARD",
        "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    );
}

/// Leads packets in. kube-proxy does this by a command for each; in the text it costs the peer less.
pub(super) fn hook(tables: &mut Tables, family: Family) {
    if family == Family::V6 {
        tables.chain(Table::Filter, KUBELET);
    }
    for (table, from, matches, comment, to) in HOOKS {
        tables.hook(table, format_args!("-I {from} {matches}-m comment --comment \"{comment}\" -j {to}"));
    }
    for from in KUBELET_HOOKS {
        tables.hook(Table::Filter, format_args!("-I {from} -j {KUBELET}"));
    }
}

/// Leads packets past, and takes the chains on top away.
pub(super) fn unhook(tables: &mut Tables) {
    for (table, from, matches, comment, to) in HOOKS {
        tables.hook(table, format_args!("-D {from} {matches}-m comment --comment \"{comment}\" -j {to}"));
    }
    for from in KUBELET_HOOKS {
        tables.hook(Table::Filter, format_args!("-D {from} -j {KUBELET}"));
    }
    FILTER.iter().chain([&KUBELET]).for_each(|chain| tables.delete_chain(Table::Filter, chain));
    NAT.iter().for_each(|chain| tables.delete_chain(Table::Nat, chain));
}
