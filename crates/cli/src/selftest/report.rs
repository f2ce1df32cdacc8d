//! What the selftest says at the end: the matrix and what failed for a reader, one object for a script.
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};
use sheave_conformance::CaseOutcome;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many failures are shown to a reader; the object has them all.
const SHOWN: usize = 40;

/// Every case and what came of it.
#[derive(Default)]
pub(super) struct Tally {
    cases: Vec<(String, CaseOutcome)>,
    took: Duration,
}

/// How many of the cases that were tried passed.
#[derive(Clone, Copy, Default)]
struct Share {
    passed: usize,
    tried: usize,
}

impl Tally {
    /// Takes a case in.
    pub(super) fn count(&mut self, name: String, outcome: CaseOutcome) {
        self.cases.push((name, outcome));
    }

    /// How long all of it took.
    pub(super) fn took(&mut self, took: Duration) {
        self.took = took;
    }

    /// All cases, those skipped included.
    pub(super) fn cases(&self) -> usize {
        self.cases.len()
    }

    fn passed(&self) -> usize {
        self.cases.iter().filter(|(_, outcome)| *outcome == CaseOutcome::Passed).count()
    }

    /// Those that failed.
    pub(super) fn failed(&self) -> usize {
        self.failures().count()
    }

    fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cases.iter().filter_map(|(name, outcome)| match outcome {
            CaseOutcome::Failed(why) => Some((name.as_str(), why.as_str())),
            CaseOutcome::Passed | CaseOutcome::Skipped(_) => None,
        })
    }

    fn skips(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cases.iter().filter_map(|(name, outcome)| match outcome {
            CaseOutcome::Skipped(why) => Some((name.as_str(), why.as_str())),
            CaseOutcome::Passed | CaseOutcome::Failed(_) => None,
        })
    }

    fn skipped(&self) -> Vec<Value> {
        self.skips().map(|(name, why)| json!({ "name": name, "why": why })).collect()
    }

    /// The object that ends the output, on one line.
    pub(super) fn object(&self) -> Value {
        json!({
            "cases": self.cases(), "passed": self.passed(), "failed": self.failed(), "skipped": self.skipped(),
            "seconds": self.took.as_secs(),
        })
    }

    /// The object of `-o json`: the same, and what failed.
    pub(super) fn everything(&self) -> Value {
        let mut object = self.object();
        object["failures"] = self.failures().map(|(name, why)| json!({ "name": name, "why": why })).collect();
        object
    }

    /// The matrix, then what was not tried and why, then what failed.
    pub(super) fn tables(&self) -> String {
        let mut text = self.matrix().to_string();
        if self.skips().next().is_some() {
            text = format!("{text}\n\n{}", self.skip_table());
        }
        if self.failed() > 0 {
            text = format!("{text}\n\n{}", self.failure_table());
        }
        let hidden = self.failed().saturating_sub(SHOWN);
        if hidden > 0 {
            text = format!("{text}\n{hidden} more failures: sheave selftest -o json | jq .failures");
        }
        text
    }

    /// Rows are surroundings, columns are who dials.
    fn matrix(&self) -> Table {
        let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
        for (name, outcome) in &self.cases {
            let share = shares.entry(place(name)).or_default();
            share.passed += usize::from(*outcome == CaseOutcome::Passed);
            share.tried += usize::from(!matches!(outcome, CaseOutcome::Skipped(_)));
        }
        let rows: BTreeSet<&String> = shares.keys().map(|(row, _)| row).collect();
        let columns: BTreeSet<&String> = shares.keys().map(|(_, column)| column).collect();
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([String::new()].into_iter().chain(columns.iter().map(|&column| column.clone())));
        for row in rows {
            let cell = |column: &&String| {
                let share = shares.get(&(row.clone(), (*column).clone()));
                let text = share.map_or_else(String::new, |Share { passed, tried }| format!("{passed}/{tried}"));
                Cell::new(text).set_alignment(CellAlignment::Right)
            };
            table.add_row([Cell::new(row)].into_iter().chain(columns.iter().map(cell)));
        }
        table
    }

    /// A row for each reason, with the number of cases that have it.
    fn skip_table(&self) -> Table {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        self.skips().for_each(|(_, why)| *reasons.entry(why).or_default() += 1);
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["Not tried", "Why"]);
        for (why, count) in reasons {
            table.add_row([Cell::new(count).set_alignment(CellAlignment::Right), Cell::new(why)]);
        }
        table
    }

    fn failure_table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["Failed", "Why"]);
        for (name, why) in self.failures().take(SHOWN) {
            table.add_row([name, why]);
        }
        table
    }
}

/// Where in the matrix a case stands: `matrix/bridge/off/pod/…` in the row `bridge/off` and the column `pod`.
fn place(name: &str) -> (String, String) {
    let fields: Vec<&str> = name.split('/').collect();
    match fields.as_slice() {
        ["matrix", network, socket_lb, _] => (format!("{network}/{socket_lb}"), "behaviour".to_owned()),
        ["matrix", network, socket_lb, source, ..] => (format!("{network}/{socket_lb}"), (*source).to_owned()),
        _ => ("decisions".to_owned(), "packets".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for (name, outcome) in [
            ("decision/A1: a pod", CaseOutcome::Passed),
            ("matrix/bridge/off/pod/cluster-ip/local/udp/v6", CaseOutcome::Passed),
            ("matrix/bridge/off/pod/cluster-ip/local/tcp/v6", CaseOutcome::Failed("refused".to_owned())),
            ("matrix/bridge/off/node/cluster-ip/local/tcp/v6", CaseOutcome::Skipped("no IPv6".to_owned())),
            ("matrix/bridge/off/made-later", CaseOutcome::Passed),
        ] {
            tally.count(name.to_owned(), outcome);
        }
        tally.took(Duration::from_millis(91_900));
        tally
    }

    #[test]
    fn the_object_counts_every_case_once_and_names_what_was_not_tried() {
        let skipped = json!([{ "name": "matrix/bridge/off/node/cluster-ip/local/tcp/v6", "why": "no IPv6" }]);
        let want = json!({ "cases": 5, "passed": 3, "failed": 1, "skipped": skipped, "seconds": 91 });
        assert_eq!(tally().object(), want);
        assert_eq!(tally().everything()["failures"][0]["why"], "refused");
    }

    #[test]
    fn the_matrix_has_a_row_for_each_world_and_a_column_for_each_source() {
        let text = tally().tables();
        for part in ["bridge/off", "decisions", "behaviour", "1/2", "0/0", "refused", "no IPv6"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
