//! When two cases of a scenario show what a rule does: they differ in its condition, and in what comes out.
use crate::expected::Expected;
use crate::scenario::{Question, Scenario};
use std::collections::BTreeSet;

/// Files that ask everything of everybody. What differs there is the doing of any rule.
const TABLES: &str = "-table-";

/// A question of a scenario, the step after which it is asked, and what has to come out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// 0 before the first step.
    pub step: usize,
    /// Who dials what.
    pub question: Question,
    /// The answer.
    pub expected: Expected,
}

/// Which rules cases of one scenario show, by any two of them.
///
/// A pair shows the rule that its scenario is named after, and the one that fixed the verdict of one of the two and not of the other.
#[must_use]
pub fn shown(scenario: &str, cases: &[&Asked]) -> BTreeSet<String> {
    let named = scenario.split('-').next().filter(|_| !scenario.contains(TABLES)).map(str::to_owned);
    let mut rules = BTreeSet::new();
    for (place, one) in cases.iter().enumerate() {
        for other in cases[place + 1..].iter().filter(|other| one.is_contrasted_by(other)) {
            rules.extend(named.clone());
            if one.expected.rule != other.expected.rule {
                rules.extend([&one.expected.rule, &other.expected.rule].map(String::clone));
            }
        }
    }
    rules
}

impl Asked {
    /// All questions of a scenario.
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn all(scenario: &Scenario) -> Result<Vec<Self>, String> {
        let steps = scenario.steps();
        let questions =
            steps.iter().enumerate().flat_map(|(step, at)| at.questions.iter().map(move |question| (step, question)));
        let asked = |(step, question): (usize, &Question)| {
            Ok(Self { step, question: question.clone(), expected: question.expected()? })
        };
        questions.map(asked).collect()
    }

    /// Whether only one thing was changed from one to the other (who dials, what is dialled, or what happened before), and
    /// that changed what comes out. That another destination has other endpoints is no change: they have to have some in common,
    /// or be those of another port of one address.
    fn is_contrasted_by(&self, other: &Self) -> bool {
        let (a, b) = (&self.question, &other.question);
        let (other_client, other_target) = ((&a.from, &a.interface) != (&b.from, &b.interface), a.to != b.to);
        let changes = [self.step != other.step, other_client, other_target];
        if changes.into_iter().filter(|&changed| changed).count() != 1 {
            return false;
        }
        let (one, two) = (&self.expected.outcome, &other.expected.outcome);
        let treated = |outcome: &sheave_dataplane::Outcome| (outcome.verdict, outcome.masquerade, outcome.affinity);
        if treated(one) != treated(two) {
            return true;
        }
        let related = !other_target
            || host(&a.to) == host(&b.to)
            || one.endpoints.iter().any(|endpoint| two.endpoints.contains(endpoint));
        one.endpoints != two.endpoints && related
    }
}

/// `IP:PORT/PROTOCOL` without port and protocol.
fn host(target: &str) -> &str {
    target.rsplit_once(':').map_or(target, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(step: usize, from: &str, to: &str, verdict: &str, rule: &str, endpoints: &[&str]) -> Asked {
        let question =
            Question { when: String::new(), from: from.to_owned(), to: to.to_owned(), interface: None, expect: None };
        let json = serde_json::json!({
            "verdict": verdict, "rule": rule, "endpoints": endpoints, "masquerade": "never", "affinity": null,
        });
        let expected = Expected::read(&json.to_string()).expect("an answer");
        Asked { step, question, expected }
    }

    #[test]
    fn two_cases_show_a_rule_only_if_one_change_made_the_difference() {
        let (vip, other, a, b) = ("10.0.0.1:80", "10.0.0.2:80", "10.1.0.1:8080", "10.1.0.2:8080");
        let first = || asked(0, "c", vip, "forward", "E1", &[a]);
        for (name, second, want) in [
            ("the same again", first(), &[][..]),
            ("another client, the same answer", asked(0, "d", vip, "forward", "E1", &[a]), &[]),
            ("another client is refused", asked(0, "d", vip, "drop", "R8", &[]), &["W8", "E1", "R8"]),
            ("a later moment", asked(1, "c", vip, "forward", "E1", &[b]), &["W8"]),
            ("another client at a later moment", asked(1, "d", vip, "drop", "R8", &[]), &[]),
            ("another Service with other endpoints", asked(0, "c", other, "forward", "E1", &[b]), &[]),
            ("another Service with one more", asked(0, "c", other, "forward", "E7", &[a, b]), &["W8", "E1", "E7"]),
            ("another port of the address", asked(0, "c", "10.0.0.1:81", "forward", "E1", &[b]), &["W8"]),
            ("another Service that has none", asked(0, "c", other, "reject", "E11", &[]), &["W8", "E1", "E11"]),
        ] {
            let want: BTreeSet<String> = want.iter().map(|&rule| rule.to_owned()).collect();
            assert_eq!(shown("W8-first-address", &[&first(), &second]), want, "case: {name}");
        }
    }

    #[test]
    fn a_table_shows_no_rule_by_its_name() {
        let (one, two) =
            (asked(0, "c", "10.0.0.1:80", "pass", "A5", &[]), asked(0, "c", "10.0.0.2:80", "drop", "A3", &[]));
        assert_eq!(shown("A14-table-ipv6", &[&one, &two]), ["A3", "A5"].map(str::to_owned).into());
    }
}
