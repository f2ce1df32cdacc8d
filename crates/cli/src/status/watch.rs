//! `sheave status --watch`: the same again and again, with what has happened in between.
use super::{shown, told};
use crate::output::{Output, print};
use sheave_agent::admin::{self, ClientError};
use sheave_agent::status::{AgentStatus, ServiceStatus};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the agent is asked, and for how long it looks at flows: its answer costs what a look at the counts costs.
const INTERVAL: Duration = Duration::from_secs(2);
/// Service ports of which flows are shown.
const TOP: usize = 10;
/// Home, and everything below cleared (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The agent as a whole, until interrupted or until the agent is gone.
pub(super) async fn agent(socket: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let live = output == Output::Text && std::io::stdout().is_terminal();
    let mut last: Option<(Instant, AgentStatus)> = None;
    loop {
        // What the agent counts meanwhile; the first time at once.
        let flows = match &last {
            None => None,
            Some(_) => Some(tokio::try_join!(admin::flows(socket, TOP, INTERVAL), pause()).map_err(told)?.0),
        };
        let (now, mut status) = (Instant::now(), admin::status(socket).await.map_err(told)?);
        status.flows = flows.unwrap_or(status.flows);
        let rates = last.as_ref().map(|(then, before)| rates(&before.counters, &status.counters, now - *then));
        let rates = rates.unwrap_or_default();
        match output {
            Output::Json => print(&serde_json::to_string(&status)?)?,
            Output::Text if live => print(&format!("{CLEAR}{}", table(&status, &rates)))?,
            Output::Text => {
                let (now, before) = (line(&status), last.as_ref().map(|(_, before)| line(before)));
                if before.as_ref() != Some(&now) || rates.iter().any(|rate| is_trouble(&rate.name)) {
                    print(&format!("{now}{}", troubles(&rates)))?;
                }
            }
        }
        last = Some((now, status));
    }
}

/// One Service: again when it has changed.
pub(super) async fn service(socket: &Path, name: &str, output: Output) -> anyhow::Result<ExitCode> {
    let mut last: Option<ServiceStatus> = None;
    loop {
        let status = admin::service(socket, name, None, 0).await.map_err(told)?;
        // Flows alone are no change of the Service.
        let unchanged = last.as_ref().is_some_and(|last| without_flows(last) == without_flows(&status));
        if !unchanged {
            print(&match output {
                Output::Json => serde_json::to_string(&status)?,
                Output::Text => shown(&status, output)?,
            })?;
        }
        last = Some(status);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn without_flows(status: &ServiceStatus) -> ServiceStatus {
    let mut status = status.clone();
    status.ports.iter_mut().for_each(|port| port.flows = None);
    status
}

async fn pause() -> Result<(), ClientError> {
    tokio::time::sleep(INTERVAL).await;
    Ok(())
}

/// A counter that has moved.
#[derive(Clone, PartialEq, Debug)]
struct Rate {
    name: String,
    total: u64,
    per_second: f64,
}

fn rates(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>, elapsed: Duration) -> Vec<Rate> {
    let rate = |(name, total): (&String, &u64)| {
        // Fewer than before: the maps were made anew.
        let moved = total.saturating_sub(before.get(name).copied().unwrap_or(0));
        let per_second = moved as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        (moved > 0).then(|| Rate { name: name.clone(), total: *total, per_second })
    };
    now.iter().filter_map(rate).collect()
}

/// Whether a counter is about packets that did not get where they were sent.
fn is_trouble(name: &str) -> bool {
    ["drop_", "reject_", "socket_reject", "event_"].iter().any(|prefix| name.starts_with(prefix))
}

fn table(status: &AgentStatus, rates: &[Rate]) -> String {
    let row = |rate: &Rate| [rate.name.clone(), format!("{:.1}", rate.per_second), rate.total.to_string()];
    let moved = match rates {
        [] => "no counter has moved".to_owned(),
        rates => super::text::table(["COUNTER", "PER SECOND", "TOTAL"], rates.iter().map(row).collect(), 2),
    };
    let parts = [super::text::head(status), super::text::maps(&status.maps), moved];
    parts.into_iter().chain(super::flows::busiest(&status.flows)).collect::<Vec<_>>().join("\n\n")
}

/// What matters of the agent, in one line that stays while nothing changes.
fn line(status: &AgentStatus) -> String {
    let AgentStatus { missing, behind, diagnostics, entrances, objects, .. } = status;
    let listed = match &missing[..] {
        [] => "complete".to_owned(),
        missing => format!("waiting for {}", missing.join(", ")),
    };
    let objects = objects.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(" ");
    let devices = entrances.devices.map_or_else(|| "-".to_owned(), |devices| devices.to_string());
    format!(
        "{listed}; {objects}; behind {}; failed {}; diagnostics {}; sockets {}; devices {devices}",
        behind.services,
        behind.failures,
        diagnostics.kinds.values().sum::<usize>(),
        entrances.sockets,
    )
}

fn troubles(rates: &[Rate]) -> String {
    let trouble = rates.iter().filter(|rate| is_trouble(&rate.name));
    trouble.map(|rate| format!("; {} {:.1}/s", rate.name, rate.per_second)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_a_counter_has_moved_by() {
        let counters = |counters: &[(&str, u64)]| counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let before = counters(&[("flow_new", 10), ("drop_no_route", 5), ("flow_reply", 9)]);
        let now = counters(&[("flow_new", 30), ("drop_no_route", 5), ("flow_reply", 2), ("socket_reject", 4)]);
        let moved = rates(&before, &now, Duration::from_secs(2));
        let rate = |name: &str, total, per_second| Rate { name: name.to_owned(), total, per_second };
        assert_eq!(moved, [rate("flow_new", 30, 10.0), rate("socket_reject", 4, 2.0)]);
        assert_eq!(troubles(&moved), "; socket_reject 2.0/s");
    }
}
