//! `sheave dump`: what the kernel holds, read from the pinned maps; no agent needs to run.
use crate::output::{Output, is_root, note, print, with_sudo};
use crate::settings::Settings;
use crate::status::{maps, table};
use clap::Args;
use serde_json::{Value, json};
use sheave_agent::config::Config;
use sheave_agent::status::{MapStatus, PortFlowsStatus};
use sheave_bpf::contents::Stray;
use sheave_bpf::counters::Counters;
use sheave_bpf::flow_counts::{FlowCounts, Meter};
use sheave_bpf::headroom::rooms;
use sheave_bpf::image::Image;
use sheave_bpf::read_back::read_back_live;
use sheave_core::plan::Realized;
use sheave_core::rules::LocalPods;
use sheave_core::{NodeRules, ServiceKey, Serving, TrafficPolicy};
use std::collections::BTreeMap;
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
    let config = arguments.settings.load()?;
    let bpffs = &config.bpffs;
    let (image, strays) = read_back_live(bpffs)?;
    let wanted = arguments.service.as_deref().unwrap_or("");
    let held: Vec<(ServiceKey, Serving)> = image
        .keys()
        .into_iter()
        .filter(|key| key.port.service.to_string().contains(wanted))
        .filter_map(|key| image.serving(&key).map(|serving| (key, serving)))
        .collect();
    let rules = image.rules().unwrap_or_default();
    let kernel = Kernel::read(&config, &image, held.iter().map(|(key, _)| key));
    match arguments.output {
        Output::Json => print(&format!("{:#}", as_json(&held, &rules, &strays, &kernel)))?,
        Output::Text if held.is_empty() && strays.is_empty() => {
            let of_that_name = arguments.service.as_ref().map_or(String::new(), |text| format!(" of the name {text}"));
            print(&format!("no Service{of_that_name} is held in {}", bpffs.join("sheave").display()))?;
        }
        Output::Text => print(&[as_text(&held, &rules, &strays, &kernel), kernel.text()].join("\n\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How full the maps are, and what the programs counted.
#[derive(Default)]
struct Kernel {
    maps: Vec<MapStatus>,
    counters: BTreeMap<&'static str, u64>,
    flows: BTreeMap<ServiceKey, PortFlowsStatus>,
}

impl Kernel {
    /// What cannot be read is said and left out.
    fn read<'a>(config: &Config, image: &Image, keys: impl Iterator<Item = &'a ServiceKey>) -> Self {
        let counters = Counters::open(&config.bpffs).and_then(|counters| counters.read());
        let counters = counters.map_err(|error| note(&format!("sheave: {error}"))).unwrap_or_default();
        let maps = rooms(image, &config.limits()).into_iter().map(Into::into).collect();
        Self { maps, counters: counters.into_iter().collect(), flows: flows(config, image, keys) }
    }

    fn text(&self) -> String {
        let counted = self.counters.iter().filter(|(_, value)| **value > 0);
        let counted = counted.map(|(name, value)| [(*name).to_owned(), value.to_string()]);
        let counters = table(["COUNTER", "SINCE THE MAPS WERE MADE"], counted.collect(), 1);
        [maps(&self.maps), counters].join("\n\n")
    }
}

/// What was counted of each Service port; what cannot be read is said and left out.
fn flows<'a>(
    config: &Config,
    image: &Image,
    keys: impl Iterator<Item = &'a ServiceKey>,
) -> BTreeMap<ServiceKey, PortFlowsStatus> {
    let mut counts = match FlowCounts::open(&config.bpffs) {
        Ok(counts) => counts,
        Err(error) => {
            note(&format!("sheave: {error}"));
            return BTreeMap::new();
        }
    };
    let meters = keys.filter_map(|key| Meter::of(image, key));
    let read = meters.map(|meter| counts.port(&meter).map(|flows| (meter.key.clone(), flows.into())));
    let read: Result<_, _> = read.collect();
    read.inspect_err(|error| note(&format!("sheave: cannot read flows: {error}"))).unwrap_or_default()
}

fn texts<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn as_json(held: &[(ServiceKey, Serving)], rules: &NodeRules, strays: &[Stray], kernel: &Kernel) -> Value {
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
            "flows": kernel.flows.get(key),
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
        "maps": kernel.maps,
        "counters": kernel.counters,
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

fn as_text(held: &[(ServiceKey, Serving)], rules: &NodeRules, strays: &[Stray], kernel: &Kernel) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["SERVICE", "FRONTENDS", "BACKENDS", "ON THIS NODE", "DRAINING", "TERMS", "NEW FLOWS"]);
    for (key, serving) in held {
        let flows = kernel.flows.get(key).map_or_else(String::new, |flows| flows.flows.new_flows.to_string());
        table.add_row(row(key, serving).into_iter().chain([flows]));
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

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_agent::status::FlowCountsStatus;
    use sheave_core::{Affinity, Backend, FrontendKind, Port, Sources};
    use std::sync::Arc;

    fn backend(text: &str) -> Backend {
        let at: std::net::SocketAddr = text.parse().unwrap();
        Backend { addr: at.ip(), port: Port::new(at.port()).unwrap() }
    }

    fn held() -> Vec<(ServiceKey, Serving)> {
        let key: ServiceKey = "shop/web:http/TCP/IPv4".parse().unwrap();
        let number = |number| Port::new(number).unwrap();
        let vip = sheave_core::Frontend {
            addr: [203, 0, 113, 1].into(),
            port: number(80),
            protocol: sheave_core::Protocol::Tcp,
        };
        let node_port = sheave_core::Frontend { port: number(30080), ..vip }.at_any_address();
        let serving = Serving {
            frontends: [(vip, FrontendKind::LoadBalancer), (node_port, FrontendKind::NodePort)].into_iter().collect(),
            external: TrafficPolicy::Local,
            cluster: [backend("10.244.0.1:8080"), backend("10.244.1.1:8080")].into_iter().collect(),
            local: [backend("10.244.0.1:8080")].into_iter().collect(),
            keep: [backend("10.244.0.9:8080")].into_iter().collect(),
            affinity: Some(Affinity { timeout_s: 60 }),
            sources: Some(Arc::new(Sources { ranges: vec!["198.51.100.0/24".parse().unwrap()] })),
            ..Serving::default()
        };
        vec![(key.clone(), serving), (key, Serving { internal: TrafficPolicy::Local, ..Serving::default() })]
    }

    fn rules() -> NodeRules {
        NodeRules {
            own: [[192, 0, 2, 1].into()].into(),
            service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
            ..NodeRules::default()
        }
    }

    fn counted() -> Kernel {
        let [(key, _), _] = held().try_into().unwrap();
        let backends = [("10.244.0.1:8080".to_owned(), 4), ("10.244.1.1:8080".to_owned(), 2)].into();
        let flows = FlowCountsStatus { new_flows: 7, rejected: 1, ..FlowCountsStatus::default() };
        Kernel { flows: [(key, PortFlowsStatus { flows, backends })].into(), ..Kernel::default() }
    }

    #[test]
    fn text_shows_kinds_sets_and_terms_of_each_service_and_the_node() {
        let text = as_text(&held(), &rules(), &[], &counted());
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let want = "SERVICE FRONTENDS BACKENDS ON THIS NODE DRAINING TERMS NEW FLOWS\n\
                    shop/web:http 0.0.0.0:30080/tcp NodePort 10.244.0.1:8080 10.244.0.1:8080 10.244.0.9:8080 external Local 7\n\
                    203.0.113.1:80/tcp LoadBalancer 10.244.1.1:8080 affinity 60 s\n\
                    from 198.51.100.0/24\n\
                    shop/web:http none: new connections are refused internal Local 7\n\
                    node: addresses 192.0.2.1; ServiceCIDRs 10.96.0.0/16";
        assert_eq!(lines.iter().map(|words| words.join(" ")).collect::<Vec<_>>(), want.lines().collect::<Vec<_>>());
    }

    #[test]
    fn json_shows_the_same() {
        let maps = vec![MapStatus { map: "slots".to_owned(), used: 8, max: 16 }];
        let kernel = Kernel { maps, counters: [("flow_new", 3)].into(), ..counted() };
        let shown = as_json(&held(), &rules(), &[], &kernel);
        let [web, empty] = [0, 1].map(|n| &shown["services"][n]);
        assert_eq!(web["frontends"][1], json!({ "frontend": "203.0.113.1:80/tcp", "kind": "LoadBalancer" }));
        assert_eq!(web["backends"], json!(["10.244.0.1:8080", "10.244.1.1:8080"]));
        assert_eq!((&web["local"], &web["draining"]), (&json!(["10.244.0.1:8080"]), &json!(["10.244.0.9:8080"])));
        assert_eq!((&web["externalTrafficPolicy"], &web["affinityTimeoutSeconds"]), (&json!("Local"), &json!(60)));
        assert_eq!(web["sourceRanges"], json!(["198.51.100.0/24"]));
        let backends = json!({ "10.244.0.1:8080": 4, "10.244.1.1:8080": 2 });
        let flows =
            json!({ "newFlows": 7, "rejected": 1, "noLocalEndpoint": 0, "sourceRange": 0, "backends": backends });
        assert_eq!(web["flows"], flows, "one was a backend's that is gone");
        assert_eq!((&empty["internalTrafficPolicy"], &empty["sourceRanges"]), (&json!("Local"), &Value::Null));
        assert_eq!(shown["node"]["addresses"], json!(["192.0.2.1"]));
        assert_eq!(shown["node"]["serviceCIDRs"], json!(["10.96.0.0/16"]));
        assert_eq!(shown["maps"], json!([{ "map": "slots", "used": 8, "max": 16 }]));
        assert_eq!(shown["counters"], json!({ "flow_new": 3 }));
    }
}
