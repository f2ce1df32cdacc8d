//! `sheave explain`: what happens to a packet, and why.
mod live;

use crate::output::{Output, is_root, note, print, with_sudo};
use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use sheave_agent::config::Config;
use sheave_agent::explain::{Affinity, Answer, Explanation, Observed, Question, Target, explain};
use sheave_conformance::{Answer as EngineAnswer, Expected, World, kernel};
use sheave_core::decide::Rule;
use sheave_core::{Diagnostic, Event, Index, ObjectName, Problem};
use sheave_kube_source::manifests::Manifests;
use sheave_kube_source::object_ref;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
#[command(
    after_help = "The answer is that of the rules in docs/semantics.md. With --manifests it needs neither root nor a cluster, \
    only the objects.\nWith --engine kernel the eBPF programs are asked as well, with maps of their own that hold these objects: it needs \
    root and touches nothing that is in use.\n\nExit status: 0 for any answer, 2 for a question or manifests that cannot be used, \
    3 when the programs do something else than the rules say.\n\nExamples:\n  \
    sheave explain --manifests ./examples --node node-a --from 10.244.1.10 --to shop/web\n  \
    sudo sheave explain --from 10.244.1.10 --to shop/web     # asks the running agent\n  sheave explain -o json --manifests ./examples --node node-a --from 192.0.2.1 --to 10.96.0.20:80\n\n  \
    kubectl get svc,endpointslices,nodes,servicecidrs -A -o yaml > cluster.yaml\n  \
    sheave explain --manifests cluster.yaml --node worker-1 --from 203.0.113.9 --to 192.0.2.10:30080\n\n  \
    kubectl -n kube-system get configmap kube-proxy -o jsonpath='{.data.config\\.conf}' > proxy.yaml\n  \
    sheave explain --config proxy.yaml --manifests cluster.yaml --node worker-1 \\\n    \
    --from 10.244.1.10 --to kube-system/kube-dns:dns"
)]
pub(crate) struct Arguments {
    /// Services, EndpointSlices, Nodes and ServiceCIDRs: a file or directory of YAML or JSON, or - for standard input;
    /// without it the running agent of this node is asked, and answers from what it holds
    #[arg(long, value_name = "PATH|-")]
    manifests: Option<PathBuf>,
    /// The node that sees the packet [default: that of the configuration, or the only Node of the manifests]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), requires = "manifests")]
    node: Option<String>,
    /// The agent's admin socket, where that is asked [default: adminSocket of the configuration, /run/sheave/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "manifests")]
    socket: Option<PathBuf>,
    /// Configuration file: KubeProxyConfiguration, SheaveConfiguration, or both
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The packet's source address
    #[arg(long, value_name = "IP")]
    from: String,
    /// Its destination: IP:PORT[/tcp|udp|sctp], [IPV6]:PORT, IP/icmp for a ping, or a Service as NAMESPACE/NAME[:PORT][/tcp|udp|sctp]
    #[arg(long, value_name = "DESTINATION")]
    to: String,
    /// The device it comes in by, where pods are told by their device
    #[arg(long, value_name = "NAME")]
    in_interface: Option<String>,
    /// An address of the node beside those of its Node object; may be given several times
    #[arg(long, value_name = "IP", requires = "manifests")]
    node_address: Vec<IpAddr>,
    /// Who answers
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Engine {
    /// The rules themselves
    #[default]
    Model,
    /// The kernel programs, on a packet in namespaces of their own
    Kernel,
}

/// More would hide the answer.
const DIAGNOSTICS_MAX: usize = 10;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.engine == Engine::Kernel && !is_root() {
        bail!("loading kernel programs needs root; run: {}", with_sudo());
    }
    let Some(path) = &arguments.manifests else { return live::run(arguments) };
    let question = Question::parse(&arguments.from, &arguments.to, arguments.in_interface.as_deref())?;
    let config = arguments.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    let (manifests, unread) = read(path)?;
    config.kube_proxy.notes.iter().for_each(|text| note(&format!("sheave: {text}")));
    let node = node(arguments, &config, &manifests)?;
    let index = observe(&manifests, &node, &arguments.node_address);
    let absent = manifests.absent().map(|(name, absent)| (name.clone(), absent)).collect();
    let proxy = config.proxy();
    let explanation = explain(Observed { index: &index, config: &proxy, absent: &absent }, &question)
        .inspect_err(|_| tell(index.diagnostics().filter(|diagnostic| is_about(diagnostic, &question))))?;
    let about = explanation.diagnostics();
    let said: HashSet<&Diagnostic> = about.iter().chain(&unread).collect();
    let others = index.diagnostics().filter(|diagnostic| !said.contains(diagnostic));
    match arguments.output {
        Output::Text => tell(others),
        Output::Json => tell(about.iter().chain(others)),
    }
    if let Some(elsewhere) = of_another_node(&question, &explanation, &manifests) {
        note(&format!("sheave: {elsewhere}"));
    }
    let differs = match arguments.engine {
        Engine::Model => None,
        Engine::Kernel => by_kernel(&explanation, World { index: &index, config: &proxy })?,
    };
    let Some((real, difference)) = differs else {
        print(&answer(&explanation, arguments.output)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    note(&format!("sheave: the kernel programs do not do what the rules say: {difference}; please report it"));
    print(&match arguments.output {
        Output::Text => explanation.text(),
        Output::Json => as_json(&real)?,
    })?;
    Ok(DIFFERENT.into())
}

/// The exit status when model and kernel differ.
const DIFFERENT: u8 = 3;

/// Puts the packet to the kernel programs; the answer that they give and how it differs, if it is another one.
fn by_kernel(explanation: &Explanation<'_>, world: World<'_>) -> anyhow::Result<Option<(Answer, String)>> {
    let Some(packet) = explanation.packet() else {
        note("sheave: no packet follows from this, so the kernel programs were not asked");
        return Ok(None);
    };
    let answer = kernel::explain(world, packet).context("asking the kernel programs")?;
    let outcome = match &answer {
        EngineAnswer::Outcome { outcome, .. } => outcome,
        EngineAnswer::Unasked(reason) => {
            bail!("the kernel programs cannot be asked this: {reason}; --engine model answers from the rules")
        }
    };
    let Some(difference) = Expected::of(explanation.decision()).differs(packet.source, &answer) else {
        return Ok(None);
    };
    let real = Answer {
        verdict: outcome.verdict.as_str().into(),
        endpoints: outcome.endpoints.iter().map(ToString::to_string).collect(),
        masquerade: outcome.masquerade.as_str().into(),
        affinity: outcome.affinity.map(|affinity| Affinity { timeout_s: affinity.timeout_s }),
        ..explanation.answer()
    };
    Ok(Some((real, difference)))
}

/// Reads the manifests. What can be read of them is asked, but that something cannot is the first thing said, with an example,
/// which is returned as well.
fn read(path: &Path) -> anyhow::Result<(Manifests, Option<Diagnostic>)> {
    let (name, manifests) = match path.to_str() {
        Some("-") => ("<stdin>".into(), Manifests::read_from("<stdin>", std::io::stdin().lock())?),
        _ => (path.to_string_lossy(), Manifests::read(path)?),
    };
    let diagnostics = manifests.diagnostics("");
    let mut unread = diagnostics.iter().filter(|diagnostic| diagnostic.problem == Problem::Unreadable);
    let first = unread.next();
    match (manifests.is_empty(), first) {
        (true, Some(first)) => bail!("nothing in the manifests can be used: {first}"),
        (true, None) => bail!("{name} holds no Service, EndpointSlice, Node or ServiceCIDR"),
        (false, Some(first)) => {
            let more = match unread.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            note(&format!(
                "sheave: WARNING: not all of the manifests can be read, so the answer may be wrong: {first}{more}"
            ));
        }
        (false, None) => {}
    }
    let first = first.cloned();
    Ok((manifests, first))
}

/// Whether it is the Service that was named that is wrong.
fn is_about(diagnostic: &Diagnostic, question: &Question) -> bool {
    match &question.to {
        Target::Service { service, .. } => diagnostic.object == object_ref(&ObjectName::Service(service.clone())),
        Target::Address { .. } => false,
    }
}

/// What is sent to another node passes here, and is decided there.
fn of_another_node(question: &Question, explanation: &Explanation<'_>, manifests: &Manifests) -> Option<String> {
    let Target::Address { addr, .. } = question.to else { return None };
    let other = manifests.node_at(addr).filter(|_| explanation.decision().rule == Rule::A15)?;
    Some(format!("{addr} is an address of {other}; ask what happens there with --node {other}"))
}

fn answer(explanation: &Explanation<'_>, output: Output) -> anyhow::Result<String> {
    match output {
        Output::Text => Ok(explanation.text()),
        Output::Json => as_json(&explanation.answer()),
    }
}

fn as_json(answer: &Answer) -> anyhow::Result<String> {
    serde_json::to_string_pretty(answer).context("writing the answer as JSON")
}

/// The node from which the question is seen.
fn node(arguments: &Arguments, config: &Config, manifests: &Manifests) -> anyhow::Result<Arc<str>> {
    let nodes = manifests.nodes();
    let named = arguments.node.as_deref().or(config.configured_node_name());
    match (named, &nodes.iter().collect::<Vec<_>>()[..]) {
        (Some(name), []) => {
            note(&format!("sheave: the manifests have no Node: addresses, zone and pod CIDRs of {name} are not known"));
            Ok(name.into())
        }
        (Some(name), _) if nodes.contains(name) => Ok(name.into()),
        (Some(name), _) => {
            let by = if arguments.node.is_some() { "" } else { ", which the configuration names" };
            bail!("the manifests have no Node {name}{by}; choose one with --node NAME{}", listed(&nodes))
        }
        (None, [only]) => Ok(Arc::clone(only)),
        (None, []) => {
            // One that cannot be read may be the one that is missed.
            tell(manifests.diagnostics("").iter());
            bail!("the manifests have no Node; add one, or name the node with --node NAME")
        }
        (None, _) => bail!("the manifests have several Nodes; choose one with --node NAME{}", listed(&nodes)),
    }
}

fn listed(nodes: &BTreeSet<Arc<str>>) -> String {
    const TOLD_MAX: usize = 10;
    if nodes.is_empty() {
        return String::new();
    }
    let told = nodes.iter().take(TOLD_MAX).map(|node| &**node).collect::<Vec<_>>().join(", ");
    let more = if nodes.len() > TOLD_MAX { format!(" and {} more", nodes.len() - TOLD_MAX) } else { String::new() };
    format!("; there are {told}{more}")
}

fn observe(manifests: &Manifests, node: &str, addresses: &[IpAddr]) -> Index {
    let mut index = Index::new(node);
    manifests.listed(node).into_iter().for_each(|event| index.apply(event));
    index.apply(Event::LocalAddresses(addresses.iter().map(IpAddr::to_canonical).collect()));
    index
}

/// What is wrong with the manifests, on standard error: the answer may depend on it.
fn tell<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) {
    let mut diagnostics = diagnostics.fuse();
    for diagnostic in diagnostics.by_ref().take(DIAGNOSTICS_MAX) {
        note(&format!("sheave: {diagnostic}"));
    }
    match diagnostics.count() {
        0 => {}
        more => note(&format!("sheave: {more} more things are wrong with the manifests")),
    }
}
