//! Each rule that the kernel programs are said to serve is shown by them: by two cases at least that differ in the rule's
//! condition and in what comes out.
use crate::NEEDS;
use crate::cases::of_the_kernel;
use sheave_conformance::CaseOutcome;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// Groups of rules that decide what becomes of the first packet of a flow. The life of flows (L) is for the packet tests, health
/// (H) for the agent's.
const GROUPS: &str = "WAEXR";
/// What the column "served since" says of a rule that the programs do not know.
const NOT_SERVED: [&str; 1] = ["not yet"];

/// The rules that the programs are said to serve.
fn claimed() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/semantics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let is_id = |id: &str| {
        let (group, digits) = id.split_at_checked(1).unwrap_or_default();
        GROUPS.contains(group) && !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    let claimed = cells.filter_map(|cells| match cells[..] {
        [id, _rule, _kube_proxy, status, _tests] if is_id(id) && !NOT_SERVED.contains(&status) => Some(id.to_owned()),
        _ => None,
    });
    claimed.collect()
}

#[test]
fn every_rule_the_programs_are_said_to_serve_is_shown_by_two_cases_that_differ() {
    if !sheave_tests::kernel_or_skip(NEEDS) {
        return;
    }
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut cases: BTreeMap<String, usize> = BTreeMap::new();
    for result in of_the_kernel() {
        let (CaseOutcome::Passed, Some(expected)) = (&result.outcome, &result.expected) else { continue };
        for rule in &result.rules {
            shown.entry(rule.clone()).or_default().insert(format!("{expected:?}"));
            *cases.entry(rule.clone()).or_default() += 1;
        }
    }
    let mut table = String::from("rule cases outcomes\n");
    for (rule, outcomes) in &shown {
        writeln!(table, "{rule:4} {:5} {:8}", cases[rule], outcomes.len()).unwrap();
    }
    println!("{table}");
    let claimed = claimed();
    assert!(claimed.len() > 20, "docs/semantics.md was not read: {claimed:?}");
    let is_shown = |rule: &String| shown.get(rule).is_some_and(|outcomes| outcomes.len() >= 2);
    let missing: Vec<_> = claimed.iter().filter(|rule| !is_shown(rule)).collect();
    assert!(missing.is_empty(), "served, it is said, and not shown by the programs: {missing:?}\n{table}");
}
