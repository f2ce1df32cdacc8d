//! What a dataplane holds, what it was told and what is wrong, as text for a file.
use sheave_core::rules::LocalPods;
use sheave_core::{Backend, Change, Diagnostic, FlatSet, NodeRules, Realized, Serving};
use std::collections::BTreeSet;
use std::fmt::Display;

/// What stands where there is nothing to show.
const NOTHING: &str = "nothing\n";

fn or_nothing(text: String) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { text }
}

/// Words with a space between them.
fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}

/// A line `name item item`, or nothing for no item.
fn line<T: Display>(name: &str, items: impl IntoIterator<Item = T>) -> String {
    let items = joined(items);
    if items.is_empty() { String::new() } else { format!("  {name}: {items}\n") }
}

/// Everything held, Service port by Service port.
pub(crate) fn dump(held: &dyn Realized) -> String {
    let mut text = String::new();
    for key in held.keys() {
        let serving = held.serving(&key).unwrap_or_default();
        text.push_str(&format!("{key}\n{}", shown(&serving)));
    }
    let vips = held.vips();
    if !vips.is_empty() {
        text.push_str(&format!("all ports of {}\n", joined(vips)));
    }
    or_nothing(text)
}

fn shown(serving: &Serving) -> String {
    let Serving { frontends, internal, external, cluster, local, keep, affinity, sources } = serving;
    let set = |name: &str, set: &FlatSet<Backend>| line(name, set.keys());
    let mut text: String = frontends.iter().map(|(frontend, kind)| line(kind.as_str(), [frontend])).collect();
    text.push_str(&format!("  policies: internal {internal}, external {external}\n"));
    text.push_str(&set("cluster", cluster));
    text.push_str(&set("local", local));
    text.push_str(&set("keep", keep));
    text.push_str(&line("affinity", affinity.iter().map(|affinity| format!("{} s", affinity.timeout_s))));
    text.push_str(&line("sources", sources.iter().flat_map(|sources| &sources.ranges)));
    text
}

/// What holds for the node as a whole.
pub(crate) fn rules(rules: &NodeRules) -> String {
    let NodeRules { masquerade_all, local_pods, own, node_port_addrs, service_cidrs } = rules;
    let mut text = line("masquerade all", masquerade_all.then_some("yes"));
    text.push_str(&match local_pods {
        LocalPods::Cidr { v4, v6 } => line("local pods are in", v4.iter().chain(v6)),
        LocalPods::Interface(name) => line("local pods come in by", [name]),
        LocalPods::InterfacePrefix(prefix) => line("local pods come in by", [format!("{prefix}*")]),
    });
    text.push_str(&line("own addresses", own));
    text.push_str(&line("NodePorts at", node_port_addrs));
    text.push_str(&line("Service CIDRs", service_cidrs));
    or_nothing(text.lines().map(|line| format!("{}\n", line.trim_start())).collect())
}

/// Changes, one a line, in their order.
pub(crate) fn plan(changes: &[Change]) -> String {
    or_nothing(changes.iter().map(|change| format!("{}\n", step(change))).collect())
}

fn step(change: &Change) -> String {
    match change {
        Change::Rules { .. } => "rules".to_owned(),
        Change::Serve { key, serving } => {
            let sets = [("cluster", &serving.cluster), ("local", &serving.local), ("keep", &serving.keep)];
            let sets = sets.into_iter().filter(|(_, set)| !set.is_empty());
            format!(
                "serve {key}{}",
                sets.map(|(name, set)| format!("; {name} {}", joined(set.keys()))).collect::<String>()
            )
        }
        Change::ClaimVip { addr } => format!("claim {addr}"),
        Change::Release { frontend, .. } => format!("release {frontend}"),
        Change::ReleaseVip { addr } => format!("release {addr}"),
        Change::Retire { key, backends } => format!("retire {key}: {}", joined(backends)),
        Change::Forget { key } => format!("forget {key}"),
    }
}

/// What is wrong, one a line.
pub(crate) fn diagnostics(diagnostics: &BTreeSet<Diagnostic>) -> String {
    let line = |diagnostic: &Diagnostic| {
        let text = Diagnostic { origin: None, ..diagnostic.clone() };
        format!("{}: {text}\n", diagnostic.problem.as_str())
    };
    or_nothing(diagnostics.iter().map(line).collect())
}
