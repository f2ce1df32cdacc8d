//! `sheave agent`: the daemon, in the foreground, as a DaemonSet runs it.
use crate::output::{is_root, with_sudo};
use crate::settings::Settings;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[derive(Args)]
#[command(
    after_help = "The programs and maps stay when the agent ends: traffic goes on, and the next start writes only \
    what differs.\nLogs: on a terminal as text, else one JSON object a line; RUST_LOG sets the level, as in RUST_LOG=warn.\n\nExamples:\n  \
    sudo sheave agent --source ./manifests --node worker-1\n  sudo sheave agent --source kube --kubeconfig \
    ~/.kube/config\n  sudo sheave agent --config /etc/sheave/config.yaml"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// Where Services come from: `kube`, or the path of a manifest file or directory [default: kube]
    #[arg(long, value_name = "kube|PATH")]
    source: Option<String>,
    /// Which dataplane serves
    #[arg(long, value_enum)]
    dataplane: Option<Dataplane>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// kubeconfig file [default: $KUBECONFIG, ~/.kube/config, then the Pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// URL of an API server that needs no credentials, for laboratories
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The cgroup whose processes the socket entrance serves [default: the root of the cgroup2 mount]
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// End when standard input ends: for a parent that must not leave an agent behind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dataplane {
    /// eBPF programs
    Ebpf,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(is_root(), "programming the kernel needs root; run: {}", with_sudo());
    start_logging();
    let mut config = arguments.settings.load()?;
    config.source = arguments.source.unwrap_or(config.source);
    config.node_name = arguments.node.unwrap_or(config.node_name);
    config.kubeconfig = arguments.kubeconfig.or(config.kubeconfig);
    config.server = arguments.server.or(config.server);
    config.cgroup = arguments.cgroup.or(config.cgroup);
    if let Some(Dataplane::Ebpf) = arguments.dataplane {
        config.dataplane = sheave_agent::config::DataplaneKind::Ebpf;
    }
    let config = config.resolve()?;
    // Two workers: while one writes a large change to the kernel, the other goes on reading the watches.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let stop = until(arguments.until_stdin_closes);
        // block_in_place, which the sync uses, wants to run on a worker.
        tokio::spawn(sheave_agent::run(config, stop)).await
    });
    // A read of standard input that is under way must not hold up the end.
    runtime.shutdown_background();
    ended??;
    Ok(ExitCode::SUCCESS)
}

/// Returns when the parent has closed our standard input, which the kernel does when the parent dies; never, if that is
/// not asked for.
async fn until(stdin_closes: bool) {
    if !stdin_closes {
        return std::future::pending().await;
    }
    let _unused = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

/// The API client's own lines say what the source says as well, with less.
const FILTER: &str = "info,kube_client=off,tower_http=off";

fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}
