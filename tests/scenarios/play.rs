//! Plays a scenario from its first manifests to its last step, and compares or writes what comes out.
use crate::answer::answer;
use crate::blocks::{Found, rewrite};
use crate::difference::difference;
use crate::shown;
use sheave_conformance::{Scenario, Stage, Step};
use sheave_core::Realized;
use std::path::Path;

/// The variable that asks to write what comes out into the file.
const UPDATE: &str = "UPDATE_EXPECT";

/// Plays the scenario of a file.
pub(crate) fn play(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let scenario = Scenario::read(&text)?;
    let mut outcome = Outcome::default();
    let mut stage = Stage::new(&scenario)?;
    for (number, step) in scenario.steps().iter().enumerate() {
        let moved = if number == 0 { stage.begin(step) } else { stage.go_on(step) };
        moved
            .and_then(|()| outcome.look(&stage, step))
            .map_err(|error| format!("step {number}, {}: {error}", step.step))?;
    }
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        let new = rewrite(&text, &outcome.found)?;
        return if new == text { Ok(()) } else { std::fs::write(path, new).map_err(|error| error.to_string()) };
    }
    match outcome.differences.is_empty() {
        true => Ok(()),
        false => Err(format!("{}\n{UPDATE}=1 writes what was found", outcome.differences.join("\n"))),
    }
}

/// What came out.
#[derive(Default)]
struct Outcome {
    found: Vec<Found>,
    differences: Vec<String>,
}

impl Outcome {
    /// Asks the questions of a step and looks at what is held.
    fn look(&mut self, stage: &Stage, step: &Step) -> Result<(), String> {
        for question in &step.questions {
            let wrong = |error| format!("{}: {error}", question.when);
            let want = question.expect.as_deref().ok_or_else(|| wrong("write `expect:` below it".to_owned()))?;
            let got = answer(stage, question).map_err(wrong)?;
            self.compare("expect", Some(want), got, &format!("{}: {}", step.step, question.when));
        }
        let changes = stage.changes();
        self.compare("plan", step.plan.as_deref(), shown::plan(&changes), &step.step);
        self.compare("dump", step.dump.as_deref(), shown::dump(&stage.recorder), &step.step);
        let rules = stage.recorder.rules().unwrap_or_default();
        self.compare("node_rules", step.node_rules.as_deref(), shown::rules(&rules), &step.step);
        self.compare("diagnostics", step.diagnostics.as_deref(), shown::diagnostics(&stage.diagnostics), &step.step);
        stage.astray().map_or(Ok(()), |astray| Err(format!("what is held is not what a rebuild asks for: {astray}")))
    }

    /// Notes what was found where the file asks for it, and whether that is what it expects.
    fn compare(&mut self, key: &'static str, want: Option<&str>, got: String, place: &str) {
        let Some(want) = want else { return };
        if want != got {
            self.differences.push(format!("{place}: {key}\n{}", difference(want, &got)));
        }
        self.found.push(Found { key, text: got });
    }
}
