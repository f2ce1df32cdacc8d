//! `sheave dump`: what the kernel holds, read from the pinned maps; no agent needs to run.
use crate::output::{Output, is_root, print, with_sudo};
use crate::settings::Settings;
use clap::Args;
use serde_json::{Value, json};
use sheave_bpf::contents::Stray;
use sheave_bpf::read_back::read_back_live;
use sheave_core::plan::Realized;
use sheave_core::rules::LocalPods;
use sheave_core::{NodeRules, ServiceKey, Serving, TrafficPolicy};
use std::fmt::Display;
use std::iter;
use std::process::ExitCode;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  sudo sheave dump\n  sudo sheave dump --service shop/web\n  sudo sheave dump -o json \
    | jq '.services[].backends[]'"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Only Services whose NAMESPACE/NAME contains this
    #[arg(long, value_name = "TEXT")]
    service: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(is_root(), "reading the kernel's maps needs root; run: {}", with_sudo());
    let bpffs = arguments.settings.load()?.bpffs;
    let (image, strays) = read_back_live(&bpffs)?;
    let wanted = arguments.service.as_deref().unwrap_or("");
    let held: Vec<(ServiceKey, Serving)> = image
        .keys()
        .into_iter()
        .filter(|key| key.port.service.to_string().contains(wanted))
        .filter_map(|key| image.serving(&key).map(|serving| (key, serving)))
        .collect();
    let rules = image.rules().unwrap_or_default();
    match arguments.output {
        Output::Json => print(&format!("{:#}", as_json(&held, &rules, &strays)))?,
        Output::Text if held.is_empty() && strays.is_empty() => {
            let of_that_name = arguments.service.as_ref().map_or(String::new(), |text| format!(" of the name {text}"));
            print(&format!("no Service{of_that_name} is held in {}", bpffs.join("sheave").display()))?;
        }
        Output::Text => print(&as_text(&held, &rules, &strays))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn texts<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn as_json(held: &[(ServiceKey, Serving)], rules: &NodeRules, strays: &[Stray]) -> Value {
    let service = |(key, serving): &(ServiceKey, Serving)| {
        let Serving { frontends, internal, external, cluster, local, keep, affinity, sources } = serving;
        let frontends =
            frontends.iter().map(|(frontend, kind)| json!({ "frontend": frontend.to_string(), "kind": kind.as_str() }));
        json!({
            "service": key.port.to_string(),
            "protocol": key.port.protocol.to_string(),
            "family": key.family.to_string(),
            "frontends": frontends.collect::<Vec<_>>(),
            "internalTrafficPolicy": internal.to_string(),
            "externalTrafficPolicy": external.to_string(),
            "backends": texts(cluster.keys()),
            "local": texts(local.keys()),
            "draining": texts(keep.keys()),
            "affinityTimeoutSeconds": affinity.map(|affinity| affinity.timeout_s),
            "sourceRanges": sources.as_ref().map(|sources| texts(&sources.ranges)),
        })
    };
    let NodeRules { masquerade_all, local_pods, own, node_port_addrs, service_cidrs } = rules;
    json!({
        "services": held.iter().map(service).collect::<Vec<_>>(),
        "node": {
            "masqueradeAll": masquerade_all,
            "localPods": detector(local_pods),
            "addresses": texts(own),
            "nodePortAddresses": texts(node_port_addrs),
            "serviceCIDRs": texts(service_cidrs),
        },
        "strays": texts(strays),
    })
}

/// How pods of this node are told from others; nothing where they are not.
fn detector(local_pods: &LocalPods) -> Vec<String> {
    match local_pods {
        LocalPods::Cidr { v4, v6 } => texts(v4.iter().chain(v6)),
        LocalPods::Interface(name) => vec![name.to_string()],
        LocalPods::InterfacePrefix(prefix) => vec![format!("{prefix}*")],
    }
}

fn as_text(held: &[(ServiceKey, Serving)], rules: &NodeRules, strays: &[Stray]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["SERVICE", "FRONTENDS", "BACKENDS", "ON THIS NODE", "DRAINING", "TERMS"]);
    for (key, serving) in held {
        table.add_row(row(key, serving));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let services = (!held.is_empty()).then(|| table.trim_fmt());
    services.into_iter().chain(iter::once(node(rules))).chain(texts(strays)).collect::<Vec<_>>().join("\n")
}

fn row(key: &ServiceKey, serving: &Serving) -> [String; 6] {
    let Serving { frontends, internal, external, cluster, local, keep, affinity, sources } = serving;
    let set = |set: Vec<String>, none: &str| if set.is_empty() { none.to_owned() } else { set.join("\n") };
    let is_local = |policy: &TrafficPolicy| *policy == TrafficPolicy::Local;
    let on_this_node = match (is_local(internal) || is_local(external), cluster.is_empty()) {
        (true, false) => set(texts(local.keys()), "none: what picks here is dropped"),
        _ => String::new(),
    };
    let policies = [("internal", internal), ("external", external)].into_iter().filter(|(_, policy)| is_local(policy));
    let mut terms: Vec<String> = policies.map(|(name, policy)| format!("{name} {policy}")).collect();
    terms.extend(affinity.map(|affinity| format!("affinity {} s", affinity.timeout_s)));
    terms.extend(sources.iter().flat_map(|sources| &sources.ranges).map(|range| format!("from {range}")));
    let frontends = frontends.iter().map(|(frontend, kind)| format!("{frontend} {}", kind.as_str()));
    [
        key.port.to_string(),
        frontends.collect::<Vec<_>>().join("\n"),
        set(texts(cluster.keys()), "none: new connections are refused"),
        on_this_node,
        texts(keep.keys()).join("\n"),
        terms.join("\n"),
    ]
}

/// What holds for the node, in one line.
fn node(rules: &NodeRules) -> String {
    let NodeRules { masquerade_all, local_pods, own, node_port_addrs, service_cidrs } = rules;
    let mut said = Vec::new();
    let mut say = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            said.push(format!("{what} {}", items.join(" ")));
        }
    };
    say("addresses", texts(own));
    say("NodePorts at", texts(node_port_addrs));
    say("local pods", detector(local_pods));
    say("ServiceCIDRs", texts(service_cidrs));
    say("masqueradeAll", masquerade_all.then(|| "yes".to_owned()).into_iter().collect());
    let said = if said.is_empty() { "no addresses".to_owned() } else { said.join("; ") };
    format!("node: {said}")
}
