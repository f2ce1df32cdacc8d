//! What the demo says at the end: a table for a reader, one object for a script.
use super::ledger::{Ledger, Tally};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Facts of a run that the ledger does not hold.
pub(crate) struct Run {
    /// Who asked each Service, in words.
    pub(crate) clients: BTreeMap<String, String>,
    /// Services in the background.
    pub(crate) background: usize,
    /// How long requests ran.
    pub(crate) took: Duration,
    /// Round trips on connections that were open during all changes, and how many of those connections broke.
    pub(crate) held: Held,
}

/// Connections held open from the first to the last change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Connections.
    pub(crate) connections: u64,
    /// Round trips on them.
    pub(crate) round_trips: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The object of `-o json`.
pub(crate) fn as_json(ledger: &Ledger, run: &Run) -> Value {
    let service = |(name, tally): (&String, &Tally)| {
        let backends: BTreeMap<_, _> = tally.backends.iter().map(|(addr, n)| (addr.to_string(), n)).collect();
        json!({ "name": name, "requests": tally.requests, "backends": backends, "refused": tally.refusals,
                "failures": tally.failures })
    };
    let (p50, max) = converge(ledger).unwrap_or_default();
    json!({
        "requests": ledger.requests(),
        "failures": ledger.failures() + run.held.broken,
        "services": ledger.tallies().iter().map(service).collect::<Vec<_>>(),
        "converge_ms": { "p50": milliseconds(p50), "max": milliseconds(max) },
        "background_services": run.background,
        "held_connections": {
            "connections": run.held.connections, "round_trips": run.held.round_trips, "broken": run.held.broken,
        },
        "seconds": milliseconds(run.took) / 1e3,
    })
}

/// The table and the sentences around it.
pub(crate) fn as_text(ledger: &Ledger, run: &Run) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "Service",
        "Clients",
        "Requests",
        "Backends",
        "Share",
        "Failures",
        "API change to\nfirst connection",
    ]);
    for (name, tally) in ledger.tallies() {
        let right: u64 = tally.backends.values().sum();
        let share = |n: &u64| format!("{:>5.1} %", percent(*n, right));
        let clients = run.clients.get(name).map_or("", String::as_str);
        let (mut backends, mut shares): (Vec<_>, Vec<_>) =
            tally.backends.iter().map(|(backend, n)| (backend.to_string(), share(n))).unzip();
        if tally.refusals > 0 {
            backends.push("none: refused at once".to_owned());
            shares.push(format!("{:>5.1} %", percent(tally.refusals, tally.requests)));
        }
        table.add_row([
            Cell::new(name),
            Cell::new(clients),
            Cell::new(tally.requests).set_alignment(CellAlignment::Right),
            Cell::new(backends.join("\n")),
            Cell::new(shares.join("\n")),
            Cell::new(failures(tally)),
            Cell::new(tally.converge().map_or_else(|| "–".to_owned(), times)),
        ]);
    }
    let Held { connections, round_trips, broken } = run.held;
    format!(
        "{}\n\n{} requests in {:.1} s, {} failures, nothing retried; {} Services in the \
         background.\n{connections} connections were open during all changes: {round_trips} round \
         trips on them, {broken} broke.\n",
        table.trim_fmt(),
        ledger.requests(),
        run.took.as_secs_f64(),
        ledger.failures() + broken,
        run.background,
    )
}

/// Of the one Service whose changes are timed.
fn converge(ledger: &Ledger) -> Option<(Duration, Duration)> {
    ledger.tallies().values().find_map(Tally::converge)
}

fn times((p50, max): (Duration, Duration)) -> String {
    format!("{:.2} ms median\n{:.2} ms at most", milliseconds(p50), milliseconds(max))
}

fn failures(tally: &Tally) -> String {
    if tally.failures.is_empty() {
        return "0".to_owned();
    }
    tally.failures.iter().map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join("\n")
}

#[expect(clippy::cast_precision_loss, reason = "a share of a few thousand requests, printed with one decimal")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
