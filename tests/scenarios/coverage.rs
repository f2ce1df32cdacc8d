//! Every rule about what is watched, accepted, chosen, who wins and what is rewritten has a scenario that turns on it.
use crate::name;
use sheave_conformance::{Question, Scenario};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Groups of rules that decide what becomes of a packet.
const GROUPS: &str = "WAEXR";

/// Names every rule without a scenario, and every scenario that shows no difference or is named after no rule of its own.
pub(crate) fn check(files: &[PathBuf]) -> Result<(), String> {
    let known = known_rules()?;
    let mut wrong = Vec::new();
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    for path in files {
        let name = name(path);
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let scenario = Scenario::read(&text).map_err(|error| format!("{name}: {error}"))?;
        let first = name.split('-').next().unwrap_or_default();
        if first != "differs" && !scenario.rules.iter().any(|rule| rule == first) {
            wrong.push(format!("{name}: {first} is not among its rules"));
        }
        let unknown = scenario.rules.iter().filter(|rule| !known.contains(*rule));
        wrong.extend(unknown.map(|rule| format!("{name}: docs/semantics.md has no rule {rule}")));
        let decides = scenario.rules.iter().any(|rule| is_of_a_packet(rule));
        if decides && answers(&scenario).len() < 2 {
            wrong.push(format!(
                "{name}: its questions all have the same answer; ask one that differs in the rule's condition"
            ));
        }
        scenario.rules.into_iter().for_each(|rule| *shown.entry(rule).or_default() += 1);
    }
    let missing = known.iter().filter(|rule| is_of_a_packet(rule) && !shown.contains_key(*rule));
    wrong.extend(missing.map(|rule| format!("{rule} has no scenario")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The different answers of a scenario.
fn answers(scenario: &Scenario) -> BTreeSet<String> {
    let steps = scenario.steps();
    steps.iter().flat_map(|step| &step.questions).filter_map(|question: &Question| question.expect.clone()).collect()
}

fn is_of_a_packet(rule: &str) -> bool {
    rule.chars().next().is_some_and(|group| GROUPS.contains(group))
}

/// The ids that head a row of a table in the document.
fn known_rules() -> Result<BTreeSet<String>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/semantics.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let heads = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let is_id = |head: &&str| head.len() > 1 && head[1..].bytes().all(|b| b.is_ascii_digit());
    Ok(heads.filter(is_id).map(str::to_owned).collect())
}
