//! `sheave selftest -o json`, run for real: decisions and traffic on this kernel, every case of them.
use crate::process::{captured, command};
use crate::tally::{Report, Tally};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The selftest promises to end within two minutes. The limit only ends one that hangs: a loaded machine may take longer.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs all cases. What it does not ask, and why, is printed, and each failure.
pub(crate) fn run(sheave: &Path) -> Result<Report> {
    let ran = captured(command(&sheave.to_string_lossy(), &["selftest", "-o", "json"]), LIMIT)?;
    // A failing case is told by the object; the exit status only has to agree with it.
    let Verdict { tally, skipped, failures } = judge(&ran.text).with_context(|| ran.status.to_string())?;
    ensure!(ran.status.success() == (tally.failed == 0), "the selftest counts {tally}, and ended with {}", ran.status);
    for (why, cases) in skipped {
        println!("{cases} not asked: {why}");
    }
    failures.iter().for_each(|failure| println!("FAILED {failure}"));
    Ok(Report { tally, failures })
}

/// What a selftest said.
#[derive(Default)]
pub(crate) struct Verdict {
    /// How many cases passed and failed.
    pub(crate) tally: Tally,
    /// How many were not asked, by reason: those are no skipped tests. Nothing that could be installed would make them run, and what only this
    /// kernel lacks, as SCTP, is asked of others (stage `vm`).
    pub(crate) skipped: BTreeMap<String, usize>,
    /// The names of what failed, each with the reason.
    pub(crate) failures: Vec<String>,
}

impl Verdict {
    /// How many cases were not asked.
    pub(crate) fn unasked(&self) -> usize {
        self.skipped.values().sum()
    }
}

/// Reads the object that a selftest prints.
pub(crate) fn judge(text: &str) -> Result<Verdict> {
    let report: Value =
        serde_json::from_str(text).with_context(|| format!("the selftest printed no JSON object: {text:?}"))?;
    let number = |key: &str| report[key].as_u64().with_context(|| format!("no number {key:?} in what it printed"));
    let (cases, passed, failed) = (number("cases")?, number("passed")?, number("failed")?);
    let mut unasked = BTreeMap::new();
    for skipped in report["skipped"].as_array().context("no array \"skipped\"")? {
        *unasked.entry(skipped["why"].as_str().unwrap_or("it does not say why").to_owned()).or_default() += 1;
    }
    let skipped: usize = unasked.values().sum();
    ensure!(
        passed > 0 && cases == passed + failed + skipped as u64,
        "the counts do not add up: {cases} cases, {passed} passed, {failed} failed, {skipped} skipped"
    );
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let failure = |failure: &Value| format!("{}: {}", text(&failure["name"]), text(&failure["why"]));
    Ok(Verdict {
        tally: Tally { passed: usize::try_from(passed)?, failed: usize::try_from(failed)?, skipped: 0 },
        skipped: unasked,
        failures: report["failures"].as_array().into_iter().flatten().map(failure).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_its_name_and_its_reason() {
        let failure = r#"{"name":"matrix/x","why":"wanted \"a\""}"#;
        let text = format!(r#"{{"cases":2,"passed":1,"failed":1,"skipped":[],"failures":[{failure}]}}"#);
        assert_eq!(judge(&text).unwrap().failures, [r#"matrix/x: wanted "a""#]);
    }

    #[test]
    fn counts_have_to_add_up() {
        let skipped = r#"{"name":"x","why":"SCTP"}"#;
        for (name, text, want) in [
            ("good", format!(r#"{{"cases":3,"passed":2,"failed":0,"skipped":[{skipped}]}}"#), Some((2, 0))),
            ("failed", r#"{"cases":3,"passed":2,"failed":1,"skipped":[]}"#.to_owned(), Some((2, 1))),
            ("some are lost", r#"{"cases":3,"passed":2,"failed":0,"skipped":[]}"#.to_owned(), None),
            ("nothing was asked", r#"{"cases":0,"passed":0,"failed":0,"skipped":[]}"#.to_owned(), None),
            ("no object", "panicked".to_owned(), None),
        ] {
            let got = judge(&text).ok().map(|verdict| (verdict.tally.passed, verdict.tally.failed));
            assert_eq!(got, want, "case: {name}");
        }
    }
}
