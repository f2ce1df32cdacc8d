//! The scenarios, question by question.
use crate::NEEDS;
use sheave_conformance::{CaseOutcome, CaseResult, Engine, FakeEngine, KernelEngine, ModelEngine, run};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What the kernel programs do with every case: played once, for all tests that look at it.
pub(crate) fn of_the_kernel() -> &'static [CaseResult] {
    static RESULTS: LazyLock<Vec<CaseResult>> = LazyLock::new(|| run(&mut KernelEngine::start().unwrap(), ""));
    &RESULTS
}

/// Every case passes or says why it is not asked; returns how many were asked.
fn check(name: &str, results: &[CaseResult]) -> usize {
    let failed = |result: &CaseResult| match &result.outcome {
        CaseOutcome::Failed(why) => Some(format!("{}: {why}", result.name)),
        CaseOutcome::Passed | CaseOutcome::Skipped(_) => None,
    };
    let failed: Vec<String> = results.iter().filter_map(failed).collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), results.len(), failed.join("\n"));
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results {
        if let CaseOutcome::Skipped(why) = &result.outcome {
            *skipped.entry(why).or_default() += 1;
        }
    }
    let asked = results.len() - skipped.values().sum::<usize>();
    println!("{name}: {asked} of {} cases; not asked: {skipped:#?}", results.len());
    asked
}

#[test]
fn the_reference_answers_every_case() {
    assert!(check("model", &run(&mut ModelEngine::default(), "")) >= 400, "cases have gone missing");
}

#[test]
fn the_fake_answers_every_case_from_what_it_holds() {
    assert!(check("fake", &run(&mut FakeEngine::default(), "")) >= 400, "cases have gone missing");
}

#[test]
fn the_kernel_programs_answer_every_case_that_passes_a_device() {
    if !sheave_tests::kernel_or_skip(NEEDS) {
        return;
    }
    assert!(check("kernel", of_the_kernel()) >= 400, "cases have gone missing");
}

#[test]
fn a_case_that_an_engine_gets_wrong_fails_and_says_what_it_expected() {
    /// Leaves everything alone.
    struct Idle;
    impl Engine for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }
        fn hold(&mut self, _: sheave_conformance::World<'_>) -> Result<(), sheave_conformance::EngineError> {
            Ok(())
        }
        fn ask(
            &mut self,
            _: &sheave_core::Packet,
        ) -> Result<sheave_conformance::Answer, sheave_conformance::EngineError> {
            use sheave_core::decide::{Masquerade, Verdict};
            let (endpoints, masquerade) = (Vec::new(), Masquerade::Never);
            let outcome = sheave_dataplane::Outcome { verdict: Verdict::Pass, endpoints, masquerade, affinity: None };
            Ok(sheave_conformance::Answer::Outcome { outcome, rule: None })
        }
    }
    let results = run(&mut Idle, "A1-cluster-ip: the");
    let outcomes: Vec<_> = results.iter().map(|result| (result.name.as_str(), &result.outcome)).collect();
    let wrong =
        |to: &str| CaseOutcome::Failed(format!("pass [], masquerade never; expected forward [{to}], masquerade never"));
    let (v4, v6) = (wrong("10.180.0.1:8080"), wrong("[fd00:10:180::1]:8080"));
    assert_eq!(
        outcomes,
        [
            ("A1-cluster-ip: the ClusterIP and its port", &v4),
            ("A1-cluster-ip: the address beside it", &CaseOutcome::Passed),
            ("A1-cluster-ip: the IPv6 ClusterIP", &v6),
            ("A1-cluster-ip: the address beside it, IPv6", &CaseOutcome::Passed),
        ]
    );
}
