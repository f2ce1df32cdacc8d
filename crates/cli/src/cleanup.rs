//! `sheave cleanup`.
use crate::output::{Output, is_root, note, print, with_sudo};
use crate::settings::Settings;
use clap::Args;
use serde_json::json;
use sheave_agent::leftovers::{Removal, Report, clean_up, release_nat};
use sheave_bpf::cleanup::{Removed, cleanup};
use sheave_bpf::drain::{Drain, UnderWay};
use sheave_bpf::sweep::monotonic_ns;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two looks at the flow tables.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(
    after_help = "Without an option Services of this node stop working until another proxy serves them; stop the agent \
    first.\n\nExamples:\n  sudo sheave cleanup --kube-proxy --dry-run   what kube-proxy has left on this node\n  \
    sudo sheave cleanup --kube-proxy             remove that; its flows go on\n  \
    sudo sheave cleanup --drain                  remove sheave, once its flows have ended: another proxy serves already\n  \
    sudo sheave cleanup                          remove sheave at once"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    leftovers: Leftovers,
    /// Decide nothing new from now on, and remove sheave when the flows it translates have ended
    #[arg(long)]
    drain: bool,
    /// With --drain: how long to wait for them, in seconds; what is left then is cut
    #[arg(long, value_name = "SECONDS", requires = "drain", default_value_t = 600)]
    timeout: u64,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

/// kube-proxy's leftovers, and how to go about them.
#[derive(Args)]
struct Leftovers {
    /// Remove what kube-proxy has left, and nothing of sheave: its rules and chains; flows they translate go on
    #[arg(long, conflicts_with = "drain")]
    kube_proxy: bool,
    /// With --kube-proxy: only say what would be removed
    #[arg(long, requires = "kube_proxy")]
    dry_run: bool,
    /// With --kube-proxy: also while kube-proxy runs
    #[arg(long, requires = "kube_proxy", conflicts_with = "dry_run")]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(is_root(), "removing programs, maps and rules needs root; run: {}", with_sudo());
    if arguments.leftovers.kube_proxy { remove_kube_proxy(arguments) } else { remove_sheave(arguments) }
}

/// Fails with 1 when something is left.
fn remove_kube_proxy(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let removal = match (arguments.leftovers.dry_run, arguments.leftovers.force) {
        (true, _) => Removal::DryRun,
        (false, true) => Removal::Forced,
        (false, false) => Removal::Careful,
    };
    let report = clean_up(removal)?;
    match arguments.output {
        Output::Json => print(&serde_json::to_string(&report)?)?,
        Output::Text => print(&shown(&report, arguments.leftovers.dry_run))?,
    }
    Ok(if report.left.is_empty() || arguments.leftovers.dry_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(report: &Report, dry_run: bool) -> String {
    let Report { tables, chains, jumps, sets, left, kept_nat } = report;
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut lines: Vec<String> = tables.iter().map(|table| format!("{verb} table {table}")).collect();
    lines.extend(chains.iter().map(|(table, count)| format!("{verb} {count} chains of {table}")));
    if *jumps > 0 {
        lines.push(format!("{verb} {jumps} rules that led there"));
    }
    if !sets.is_empty() {
        lines.push(format!("{verb} {} ipsets", sets.len()));
    }
    if lines.is_empty() {
        lines.push("kube-proxy has left no rules here".to_owned());
    }
    lines.extend(left.iter().map(|left| format!("left: {left}")));
    if let Some(table) = kept_nat {
        lines.push(format!(
            "kept: table {table}, an empty nat chain for flows under way; the agent removes it when none is left"
        ));
    }
    lines.join("\n")
}

fn remove_sheave(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let bpffs = arguments.settings.load()?.bpffs;
    let cut = if arguments.drain { drain(&bpffs, Duration::from_secs(arguments.timeout))? } else { None };
    let removed = cleanup(&bpffs)?;
    // Another proxy's nat chains keep its flows translated from now on; without nftables there is nothing of ours either.
    let nat_released = release_nat().unwrap_or(true);
    match arguments.output {
        Output::Json => print(&as_json(removed, cut, nat_released).to_string())?,
        Output::Text => {
            print(&format!("removed {} links, {} maps, {} filters", removed.links, removed.maps, removed.filters))?;
            if let Some(UnderWay { tcp, udp }) = cut.filter(|cut| !cut.is_none()) {
                print(&format!("cut after {} s: {tcp} TCP flows, {udp} UDP flows", arguments.timeout))?;
            }
            if !nat_released {
                print("kept: the empty nat chain for kube-proxy's flows; run cleanup again when they have ended")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(removed: Removed, cut: Option<UnderWay>, nat_released: bool) -> serde_json::Value {
    let cut = cut.unwrap_or_default();
    json!({
        "links": removed.links, "maps": removed.maps, "filters": removed.filters,
        "cut": {"tcp": cut.tcp, "udp": cut.udp}, "natKept": !nat_released,
    })
}

/// Waits until no flow is under way; returns those that are when the time is over. `None` where there is nothing of sheave.
fn drain(bpffs: &Path, timeout: Duration) -> anyhow::Result<Option<UnderWay>> {
    let deadline = Instant::now() + timeout;
    let Some(drain) = Drain::begin(bpffs)? else { return Ok(None) };
    let mut told = UnderWay::default();
    loop {
        let under_way = drain.under_way(monotonic_ns())?;
        if under_way.is_none() || Instant::now() >= deadline {
            return Ok(Some(under_way));
        }
        if under_way != told {
            note(&format!("waiting for {} TCP flows, {} UDP flows", under_way.tcp, under_way.udp));
            told = under_way;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}
