//! What the agent tells, for a reader.
use comfy_table::{CellAlignment, Table, presets};
use sheave_agent::status::{
    AgentStatus, DiagnosticStatus, MapStatus, PortStatus, ServiceStatus, State, VersionsStatus,
};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// More would hide the rest; `-o json` has them all.
const TOLD_MAX: usize = 20;

/// The agent as a whole.
pub(super) fn agent(status: &AgentStatus) -> String {
    let mut parts = vec![head(status)];
    parts.extend(trouble(status));
    parts.push(maps(&status.maps));
    let counted = status.counters.iter().filter(|(_, value)| **value > 0);
    let rows: Vec<_> = counted.map(|(name, value)| [name.clone(), value.to_string()]).collect();
    parts.extend((!rows.is_empty()).then(|| table(["COUNTER", "SINCE THE MAPS WERE MADE"], rows, 1)));
    parts.extend(super::flows::busiest(&status.flows));
    parts.join("\n\n")
}

/// A few lines: who, since when, what is held, what is behind.
pub(super) fn head(status: &AgentStatus) -> String {
    let AgentStatus { version, node, pid, source, missing, objects, entrances, behind, diagnostics, .. } = status;
    let held = objects.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ");
    let devices = entrances.devices.map_or_else(|| "not followed yet".to_owned(), |devices| devices.to_string());
    let programmed = match (&missing[..], behind.services, behind.failures) {
        ([], 0, 0) if behind.node.is_empty() => "everything that was observed".to_owned(),
        ([], 0, failures) => format!("all Services; {}", not_yet(&behind.node, failures)),
        ([], services, failures) => format!("all but {services} Services; {}", not_yet(&behind.node, failures)),
        (missing, ..) => format!("nothing yet: waiting for {} (W12)", missing.join(", ")),
    };
    let wrong: usize = diagnostics.kinds.values().sum();
    let kinds = diagnostics.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ");
    let wrong = if wrong == 0 { "none".to_owned() } else { format!("{wrong} ({kinds})") };
    [
        format!("sheave {version} on {node}, process {pid}, up {}", since(status.started_unix_s)),
        format!("source       {source}: {held}"),
        format!("programmed   {programmed}"),
        format!("entrances    sockets {}, devices {devices}", entrances.sockets),
        format!("diagnostics  {wrong}"),
    ]
    .join("\n")
}

fn not_yet(node: &[String], failures: usize) -> String {
    let node = if node.is_empty() { String::new() } else { format!(", and of the node: {}", node.join(", ")) };
    format!("{failures} writes failed in the last sync{node}")
}

/// How long ago, in the two largest units.
fn since(started_unix_s: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let up = now.saturating_sub(Duration::from_secs(started_unix_s)).as_secs();
    let (days, hours, minutes) = (up / 86400, up / 3600 % 24, up / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", up % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// What is behind, failed or wrong, one by one.
fn trouble(status: &AgentStatus) -> Vec<String> {
    let mut parts = Vec::new();
    let listed = |title: &str, items: Vec<String>, all: usize| {
        let more = all.saturating_sub(TOLD_MAX);
        let more = (more > 0).then(|| format!("  and {more} more (-o json)"));
        let items = items.into_iter().take(TOLD_MAX).map(|item| format!("  {item}")).chain(more);
        (all > 0).then(|| format!("{title}\n{}", items.collect::<Vec<_>>().join("\n")))
    };
    let failed = status.behind.failed.iter().map(|failure| failure.message.clone()).collect();
    let wrong: Vec<_> = status.diagnostics.items.iter().map(diagnostic).collect();
    parts.extend(listed("not programmed as last seen:", status.behind.names.clone(), status.behind.services));
    parts.extend(listed("failed:", failed, status.behind.failures));
    parts.extend(listed("diagnostics:", wrong, status.diagnostics.kinds.values().sum()));
    parts
}

fn diagnostic(diagnostic: &DiagnosticStatus) -> String {
    let DiagnosticStatus { object, field, problem, message, origin } = diagnostic;
    let origin = origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default();
    let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
    format!("{origin}{object}: {field}{message} ({problem})")
}

/// How full the maps are; those that hold nothing are left out.
pub(crate) fn maps(maps: &[MapStatus]) -> String {
    let used = maps.iter().filter(|map| map.used > 0);
    let row = |map: &MapStatus| {
        let percent = u128::from(map.used) * 100 / u128::from(map.max.max(1));
        [map.map.clone(), map.used.to_string(), map.max.to_string(), format!("{percent} %")]
    };
    table(["MAP", "USED", "MAX", "FULL"], used.map(row).collect(), 3)
}

/// Without lines; the last `numbers` columns stand to the right.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, numbers: usize) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= N - numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// One Service.
pub(super) fn service(status: &ServiceStatus) -> String {
    let state = match status.state {
        State::Programmed => "programmed",
        State::Pending => "not programmed",
        State::Unknown => "not known to the agent",
    };
    let mut parts = vec![format!("{}: {state}", status.service)];
    parts.extend(status.waiting_for.iter().map(|reason| format!("  waits: {reason}")));
    parts.extend(status.diagnostics.iter().map(|wrong| format!("  wrong: {}", diagnostic(wrong))));
    let versions = versions(&status.observed, status.programmed.as_ref());
    if !versions.is_empty() {
        parts.push(format!("\n{}", table(["OBJECT", "OBSERVED", "PROGRAMMED"], versions, 2)));
    }
    if !status.ports.is_empty() {
        let rows = status.ports.iter().map(port).collect();
        parts.push(format!("\n{}", table(["PORT", "FRONTENDS", "BACKENDS", "ON THIS NODE", "DRAINING"], rows, 3)));
    }
    parts.extend(super::flows::of_ports(&status.ports).map(|flows| format!("\n{flows}")));
    parts.join("\n")
}

/// Each object with the version last seen and the one programmed.
fn versions(observed: &VersionsStatus, programmed: Option<&VersionsStatus>) -> Vec<[String; 3]> {
    const NONE: &str = "-";
    let shown = |version: Option<&String>| version.map_or_else(|| NONE.to_owned(), Clone::clone);
    let slices = |of: &VersionsStatus| of.slices.keys().cloned().collect::<BTreeSet<_>>();
    let names: BTreeSet<String> =
        slices(observed).union(&programmed.map(slices).unwrap_or_default()).cloned().collect();
    let at = |of: Option<&VersionsStatus>, name: &String| shown(of.and_then(|of| of.slices.get(name)?.as_ref()));
    let service =
        ["Service".to_owned(), shown(observed.service.as_ref()), shown(programmed.and_then(|of| of.service.as_ref()))];
    let rows =
        names.iter().map(|name| [format!("EndpointSlice {name}"), at(Some(observed), name), at(programmed, name)]);
    let rows: Vec<_> = std::iter::once(service).chain(rows).collect();
    // Manifests have no versions.
    if rows.iter().all(|[_, observed, programmed]| observed == NONE && programmed == NONE) { Vec::new() } else { rows }
}

fn port(port: &PortStatus) -> [String; 5] {
    let PortStatus { port, frontends, backends, local, draining, .. } = port;
    let local = local.map_or_else(|| "-".to_owned(), |local| local.to_string());
    [port.clone(), frontends.join("\n"), backends.to_string(), local, draining.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn a_service_is_shown_with_what_it_waits_for_and_the_versions_of_its_objects() {
        let versions = |service: &str, slice: &str| VersionsStatus {
            service: Some(service.to_owned()),
            slices: [("shop/web-1".to_owned(), Some(slice.to_owned()))].into(),
        };
        let status = ServiceStatus {
            service: "shop/web".to_owned(),
            state: State::Pending,
            waiting_for: vec!["map services is full".to_owned()],
            observed: versions("7", "9"),
            programmed: Some(versions("7", "8")),
            ports: vec![PortStatus {
                port: "shop/web:http/TCP/IPv4".to_owned(),
                frontends: vec!["10.96.0.1:80/tcp ClusterIP".to_owned()],
                backends: 3,
                local: None,
                draining: 1,
                flows: None,
            }],
            diagnostics: Vec::new(),
        };
        let want = "shop/web: not programmed\nwaits: map services is full\n\nOBJECT OBSERVED PROGRAMMED\nService 7 7\n\
                    EndpointSlice shop/web-1 9 8\n\nPORT FRONTENDS BACKENDS ON THIS NODE DRAINING\n\
                    shop/web:http/TCP/IPv4 10.96.0.1:80/tcp ClusterIP 3 - 1";
        assert_eq!(lines(&service(&status)), want.lines().collect::<Vec<_>>());
        let files = ServiceStatus {
            observed: VersionsStatus { service: None, slices: [("shop/web-1".to_owned(), None)].into() },
            programmed: None,
            ..status
        };
        assert!(!service(&files).contains("OBSERVED"), "manifests have no versions");
    }

    #[test]
    fn a_map_that_holds_something_is_shown_with_how_full_it_is() {
        let map = |map: &str, used, max| MapStatus { map: map.to_owned(), used, max };
        let shown = maps(&[map("services", 3, 4), map("ranges_v6", 0, 9), map("slots", u64::MAX, u64::MAX)]);
        let max = u64::MAX;
        let want = format!("MAP USED MAX FULL\nservices 3 4 75 %\nslots {max} {max} 100 %");
        assert_eq!(lines(&shown), want.lines().collect::<Vec<_>>());
    }
}
