//! Every rule about what is watched, accepted, chosen, who wins and what is rewritten has two questions that differ in its condition
//! and in their answers.
use crate::name;
use sheave_conformance::{Asked, Scenario};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Groups of rules that decide what becomes of a packet.
const GROUPS: &str = "WAEXR";

/// Names every rule without a scenario, and every scenario that shows no difference or is named after no rule of its own.
pub(crate) fn check(files: &[PathBuf]) -> Result<(), String> {
    let known = known_rules()?;
    let mut wrong = Vec::new();
    let mut shown: BTreeSet<String> = BTreeSet::new();
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
        let cases = Asked::all(&scenario).map_err(|error| format!("{name}: {error}"))?;
        let by_it = sheave_conformance::shown(&name, &cases.iter().collect::<Vec<_>>());
        if is_of_a_packet(first) && by_it.is_empty() {
            wrong.push(format!(
                "{name}: no two questions differ in one thing alone and in their answers; ask one that does"
            ));
        }
        shown.extend(by_it);
    }
    let missing = known.iter().filter(|rule| is_of_a_packet(rule) && !shown.contains(*rule));
    wrong.extend(missing.map(|rule| format!("no two questions of its scenarios show what {rule} does")));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
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
