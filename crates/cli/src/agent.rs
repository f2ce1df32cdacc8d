//! `sheave agent`: the daemon, in the foreground, as a DaemonSet runs it.
mod check_config;
mod flags;
mod logging;

use crate::output::{Output, is_root, with_sudo};
use crate::settings::Settings;
use anyhow::Context as _;
use clap::{ArgAction, Args};
use flags::Flags;
use sheave_agent::config::Config;
use std::process::ExitCode;
use tracing::warn;

#[derive(Args)]
#[command(
    after_help = "The programs and maps stay when the agent ends: traffic goes on, and the next start writes only \
    what differs.\nLogs: on a terminal as text, else one JSON object a line; RUST_LOG wins over --v, as in \
    RUST_LOG=warn.\nOptions of kube-proxy that have no effect here are taken as well, and named in a warning.\n\n\
    Examples:\n  sudo sheave agent --source ./manifests --hostname-override worker-1\n  sudo sheave agent --source kube \
    --kubeconfig ~/.kube/config\n  sudo sheave agent --config=/var/lib/kube-proxy/config.conf \
    --hostname-override=worker-1\n  sheave agent --check-config --config /etc/sheave/config.yaml"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    flags: Flags,
    /// Print every setting with its value and where that comes from, and end; needs no root
    #[arg(long)]
    check_config: bool,
    /// How --check-config prints
    #[arg(short, long, value_enum, default_value_t, requires = "check_config")]
    output: Output,
    /// Set connection tracking as the configuration asks for, which needs a privileged container, and end: as kube-proxy's
    #[arg(
        long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false,
        action = ArgAction::Set, hide_default_value = true, hide_possible_values = true, conflicts_with = "check_config"
    )]
    init_only: bool,
    /// End when standard input ends: for a parent that must not leave an agent behind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.settings.load_with(arguments.flags.0)?;
    if arguments.check_config {
        return check_config::run(&config, arguments.output);
    }
    anyhow::ensure!(is_root(), "programming the kernel needs root; run: {}", with_sudo());
    sheave_bpf::heap::make_small();
    let _flushed_at_the_end = logging::start(config.kube_proxy.logging);
    if arguments.init_only {
        return Ok(initialise(&config));
    }
    let config = config.resolve()?;
    if let Err(error) = sheave_agent::oom::set_score_adj(config.kube_proxy.oom_score_adj) {
        warn!(%error, "the kernel may end this process like any other");
    }
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

/// Does what kube-proxy's option of this name does (`cmd/kube-proxy/app/server.go`, 1.29): what the agent may not do in a container
/// without the right to write to `/proc/sys`. What cannot be set is told, and keeps no pod from starting.
fn initialise(config: &Config) -> ExitCode {
    if !sheave_agent::conntrack::initialise(&config.kube_proxy.conntrack) {
        warn!(
            "connections are not tracked yet: load nf_conntrack on the host, or what is set of `conntrack` comes to nothing"
        );
    }
    ExitCode::SUCCESS
}

/// Returns when the parent has closed our standard input, which the kernel does when the parent dies; never, if that is
/// not asked for.
async fn until(stdin_closes: bool) {
    if !stdin_closes {
        return std::future::pending().await;
    }
    let _unused = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}
