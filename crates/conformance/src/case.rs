//! The cases: each question of each scenario, asked of an engine.
use crate::engine::{Answer, Engine, EngineError, World};
use crate::expected::Expected;
use crate::pair::Asked;
use crate::scenario::{Question, Scenario, Step};
use crate::stage::Stage;
use std::ops::ControlFlow;

/// Every scenario, by name, with its text.
static SCENARIOS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scenarios.rs"));

/// What became of a case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CaseOutcome {
    /// The engine decides as expected.
    Passed,
    /// It does not; how.
    Failed(String),
    /// It cannot be asked; why.
    Skipped(String),
}

/// A case that was played.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseResult {
    /// `SCENARIO: QUESTION`, or `SCENARIO: STEP: QUESTION` for what is asked after a change.
    pub name: String,
    /// The scenario it is of.
    pub scenario: &'static str,
    /// The rules the scenario turns on.
    pub rules: Vec<String>,
    /// What was asked, and what had to come out; `None` where the scenario itself is broken.
    pub asked: Option<Asked>,
    /// What became of it.
    pub outcome: CaseOutcome,
}

/// The scenarios: name and text of each, by name.
#[must_use]
pub fn scenarios() -> &'static [(&'static str, &'static str)] {
    SCENARIOS
}

/// Asks an engine every case whose name contains `filter`; an empty one means all.
pub fn run(engine: &mut dyn Engine, filter: &str) -> Vec<CaseResult> {
    run_while(engine, &|name| name.contains(filter), |_| ControlFlow::Continue(()))
}

/// Asks an engine every case whose name is selected, and tells of each when its scenario has been played; no other is begun once it is
/// told to stop.
pub fn run_while(
    engine: &mut dyn Engine,
    selected: &dyn Fn(&str) -> bool,
    mut told: impl FnMut(&CaseResult) -> ControlFlow<()>,
) -> Vec<CaseResult> {
    let mut results = Vec::new();
    for (name, text) in SCENARIOS {
        let mut play = Play { engine: &mut *engine, scenario: name, rules: Vec::new(), selected, results: Vec::new() };
        if let Err(why) = play.scenario(text) {
            let (name, rules) = ((*name).to_owned(), play.rules.clone());
            let outcome = CaseOutcome::Failed(why);
            play.results.push(CaseResult { name, scenario: play.scenario, rules, asked: None, outcome });
        }
        let flow = play.results.iter().try_for_each(&mut told);
        results.append(&mut play.results);
        if flow.is_break() {
            break;
        }
    }
    results
}

/// The names of all cases, by scenario; a scenario that cannot be read stands for itself.
#[must_use]
pub fn case_names() -> Vec<String> {
    let of = |(name, text): &(&str, &str)| match Scenario::read(text) {
        Ok(scenario) => {
            let mut names = Vec::new();
            for (number, step) in scenario.steps().iter().enumerate() {
                names.extend(step.questions.iter().map(|question| case_name(name, number, step, question)));
            }
            names
        }
        Err(_) => vec![(*name).to_owned()],
    };
    SCENARIOS.iter().flat_map(of).collect()
}

fn case_name(scenario: &str, number: usize, step: &Step, question: &Question) -> String {
    match number {
        0 => format!("{scenario}: {}", question.when),
        _ => format!("{scenario}: {}: {}", step.step, question.when),
    }
}

struct Play<'a> {
    engine: &'a mut dyn Engine,
    scenario: &'static str,
    rules: Vec<String>,
    selected: &'a dyn Fn(&str) -> bool,
    results: Vec<CaseResult>,
}

impl Play<'_> {
    /// Plays a scenario from its first manifests to its last step.
    fn scenario(&mut self, text: &str) -> Result<(), String> {
        let scenario = Scenario::read(text)?;
        self.rules.clone_from(&scenario.rules);
        let steps = scenario.steps();
        let asked = |(number, step): (usize, &Step)| {
            step.questions.iter().any(|question| self.is_meant(number, step, question))
        };
        let Some(last) = steps.iter().enumerate().rposition(asked) else { return Ok(()) };
        let mut stage = Stage::new(&scenario)?;
        for (number, step) in steps[..=last].iter().enumerate() {
            let at = |error: String| format!("step {number}, {}: {error}", step.step);
            if number == 0 { stage.begin(step) } else { stage.go_on(step) }.map_err(at)?;
            let observed = stage.observed();
            // Before that an agent writes nothing (W12).
            if observed.index.complete() {
                let world = World { index: observed.index, config: observed.config };
                self.engine.hold(world).map_err(|error| at(error.to_string()))?;
            }
            for question in &step.questions {
                if self.is_meant(number, step, question) {
                    self.ask(&stage, case_name(self.scenario, number, step, question), (number, question));
                }
            }
        }
        Ok(())
    }

    fn is_meant(&self, number: usize, step: &Step, question: &Question) -> bool {
        (self.selected)(&case_name(self.scenario, number, step, question))
    }

    fn ask(&mut self, stage: &Stage, name: String, (step, question): (usize, &Question)) {
        let (asked, outcome) = match question.expected() {
            Ok(expected) => {
                let outcome = self.outcome(stage, question, &expected).unwrap_or_else(CaseOutcome::Failed);
                (Some(Asked { step, question: question.clone(), expected }), outcome)
            }
            Err(why) => (None, CaseOutcome::Failed(why)),
        };
        self.results.push(CaseResult { name, scenario: self.scenario, rules: self.rules.clone(), asked, outcome });
    }

    fn outcome(&mut self, stage: &Stage, question: &Question, expected: &Expected) -> Result<CaseOutcome, String> {
        let Some(packet) = question.packet(stage.observed())? else {
            return Ok(CaseOutcome::Skipped("a Service without an address cannot be sent anything".to_owned()));
        };
        let answer = self.engine.ask(&packet).map_err(|error: EngineError| error.to_string())?;
        if let Answer::Unasked(why) = &answer {
            return Ok(CaseOutcome::Skipped(why.clone()));
        }
        Ok(expected.differs(packet.source, &answer).map_or(CaseOutcome::Passed, CaseOutcome::Failed))
    }
}
