//! The README's first command, run for real: `sheave demo -o json`, and what it said held against what it promises.
use crate::process::{command, run_captured};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The demo promises to end within 30 s. The limit only ends one that hangs: a loaded machine may take longer.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the demo; it must answer every request, and leave nothing behind.
pub(crate) fn run(sheave: &Path) -> Result<()> {
    let before = leftovers();
    let (text, pid) = run_captured(command(&sheave.to_string_lossy(), &["demo", "-o", "json"]), LIMIT)?;
    let summary = judge(&text)?;
    let left: Vec<_> = leftovers().difference(&before).filter(|name| is_ours(name, pid)).cloned().collect();
    ensure!(left.is_empty(), "the demo left behind: {}", left.join(", "));
    println!("{summary}");
    Ok(())
}

/// Reads the demo's JSON object: at least one request, no failure, answers from real backends.
fn judge(text: &str) -> Result<String> {
    let report: Value =
        serde_json::from_str(text).with_context(|| format!("the demo printed no JSON object: {text:?}"))?;
    let number = |key: &str| report[key].as_u64().with_context(|| format!("no number {key:?} in {report}"));
    let (requests, failures) = (number("requests")?, number("failures")?);
    ensure!(requests > 0, "the demo made no request: {report}");
    ensure!(failures == 0, "{failures} of {requests} requests failed: {report}");
    let services = report["services"].as_array().context("no array \"services\"")?;
    let balanced = services.iter().filter_map(|service| service["backends"].as_object()).filter(|set| set.len() > 1);
    let balanced = balanced.count();
    if balanced == 0 {
        bail!("no Service was answered by more than one backend: {report}");
    }
    Ok(format!("{requests} requests, 0 failures, {} Services, {balanced} of them balanced", services.len()))
}

/// What a demo could leave on this machine: network devices, named namespaces, cgroups, mounts.
fn leftovers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for dir in ["/sys/class/net", "/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/bpf"] {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|mount| format!("mount {mount}")));
    found
}

/// Whether a new thing is the demo's: it carries the demo's name or process id. Other programs may make things too.
fn is_ours(name: &str, pid: u32) -> bool {
    name.contains("sheave") && (!name.contains("cgroup") || name.ends_with(&format!("-{pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_good_only_with_requests_no_failure_and_a_balanced_service() {
        let two = r#"[{"name":"a","backends":{"10.0.0.1:80":3,"10.0.0.2:80":2}}]"#;
        let one = r#"[{"name":"a","backends":{"10.0.0.1:80":5}}]"#;
        for (name, requests, failures, services, want) in [
            ("good", "5", "0", two, "ok"),
            ("nothing was asked", "0", "0", two, "no request"),
            ("one failed", "5", "1", two, "1 of 5 requests failed"),
            ("not balanced", "5", "0", one, "more than one backend"),
            ("no services", "5", "0", "[]", "more than one backend"),
            ("no count", "null", "0", two, "no number \"requests\""),
        ] {
            let text = format!(r#"{{"requests":{requests},"failures":{failures},"services":{services}}}"#);
            let got = judge(&text).map_or_else(|error| format!("{error:#}"), |_| "ok".to_owned());
            assert!(got.contains(want), "case: {name}: {got}");
        }
        assert!(judge("panicked").is_err());
    }
}
