//! Each rule that the kernel programs are said to serve is shown by them: by two cases at least that differ in the rule's
//! condition alone, and in what comes out.
use crate::NEEDS;
use crate::cases::of_the_kernel;
use sheave_conformance::{Asked, CaseOutcome, shown};
use std::collections::{BTreeMap, BTreeSet};
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
fn every_rule_the_programs_are_said_to_serve_is_shown_by_two_cases_that_differ_in_its_condition() {
    if !sheave_tests::kernel_or_skip(NEEDS) {
        return;
    }
    let mut scenarios: BTreeMap<&str, Vec<&Asked>> = BTreeMap::new();
    for result in of_the_kernel() {
        if let (CaseOutcome::Passed, Some(asked)) = (&result.outcome, &result.asked) {
            scenarios.entry(result.scenario).or_default().push(asked);
        }
    }
    let shown: BTreeSet<String> = scenarios.iter().flat_map(|(scenario, cases)| shown(scenario, cases)).collect();
    let claimed = claimed();
    assert!(claimed.len() > 20, "docs/semantics.md was not read: {claimed:?}");
    let missing: Vec<_> = claimed.iter().filter(|rule| !shown.contains(*rule)).collect();
    assert!(missing.is_empty(), "served, it is said, and no two cases that the programs pass show it: {missing:?}");
}
