//! What the demo may call a failure, decided from the history of endpoint sets: pure, no clock of its own.
//!
//! A request fails when it is refused, reset, timed out or wrongly answered, or when its answer comes from a backend that
//! was in neither the old nor the new set while the request ran. Nothing is retried, nothing is forgiven.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What came of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The answer is right; the backend names itself in it.
    Answered(SocketAddr),
    /// Refused at once: right for a Service without endpoints (E11), a failure for any other.
    Refused,
    /// Reset, timed out, or a wrong answer: one word, counted as a failure.
    Failed(&'static str),
}

/// One request, made once.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Which Service was asked, `namespace/name:port`.
    pub(crate) service: String,
    /// When connect() was called.
    pub(crate) began: Instant,
    /// When the answer or the error was there.
    pub(crate) ended: Instant,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The sets a Service had, each from the moment its change was given to the API.
#[derive(Default)]
struct History(Vec<(Instant, BTreeSet<SocketAddr>)>);

impl History {
    /// Whether a backend was in the set in force at any moment of the request, or in the one before: the old or the new.
    fn allows(&self, backend: SocketAddr, began: Instant, ended: Instant) -> bool {
        self.in_force(began, ended).any(|set| set.contains(&backend))
    }

    /// Whether there was nobody to answer, at any moment of the request or before the last change.
    fn allows_refusal(&self, began: Instant, ended: Instant) -> bool {
        self.in_force(began, ended).any(BTreeSet::is_empty)
    }

    fn in_force(&self, began: Instant, ended: Instant) -> impl Iterator<Item = &BTreeSet<SocketAddr>> {
        let current = self.0.partition_point(|(since, _)| *since <= began).saturating_sub(1);
        let window = self.0.iter().skip(current.saturating_sub(1)).take_while(move |(since, _)| *since <= ended);
        window.map(|(_, set)| set)
    }
}

/// Counts of one Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    /// Requests made.
    pub(crate) requests: u64,
    /// Right answers by backend.
    pub(crate) backends: BTreeMap<SocketAddr, u64>,
    /// Refusals of a Service that has no endpoint.
    pub(crate) refusals: u64,
    /// Failures by what was wrong.
    pub(crate) failures: BTreeMap<&'static str, u64>,
    /// How long each timed change took to reach the first connection.
    pub(crate) converged: Vec<Duration>,
}

impl Tally {
    /// All failures.
    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Median and maximum of the times to converge; `None` where no change was timed.
    pub(crate) fn converge(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.converged.clone();
        sorted.sort_unstable();
        Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }
}

/// Everything the demo counts.
#[derive(Default)]
pub(crate) struct Ledger {
    histories: BTreeMap<String, History>,
    tallies: BTreeMap<String, Tally>,
}

impl Ledger {
    /// From now on the API says that this is the Service's set.
    pub(crate) fn set(&mut self, service: &str, since: Instant, set: BTreeSet<SocketAddr>) {
        self.histories.entry(service.to_owned()).or_default().0.push((since, set));
    }

    /// Counts a request; says whether it failed.
    pub(crate) fn count(&mut self, request: &Request) -> bool {
        let history = self.histories.entry(request.service.clone()).or_default();
        let tally = self.tallies.entry(request.service.clone()).or_default();
        tally.requests += 1;
        let failure = match request.outcome {
            Outcome::Answered(backend) if history.allows(backend, request.began, request.ended) => {
                *tally.backends.entry(backend).or_default() += 1;
                return false;
            }
            Outcome::Refused if history.allows_refusal(request.began, request.ended) => {
                tally.refusals += 1;
                return false;
            }
            Outcome::Answered(_) => "backend in neither set",
            Outcome::Refused => "refused",
            Outcome::Failed(what) => what,
        };
        *tally.failures.entry(failure).or_default() += 1;
        true
    }

    /// Records how long one change took to reach the first connection.
    pub(crate) fn converged(&mut self, service: &str, after: Duration) {
        self.tallies.entry(service.to_owned()).or_default().converged.push(after);
    }

    /// Counts by Service.
    pub(crate) fn tallies(&self) -> &BTreeMap<String, Tally> {
        &self.tallies
    }

    /// All requests.
    pub(crate) fn requests(&self) -> u64 {
        self.tallies.values().map(|tally| tally.requests).sum()
    }

    /// All failures.
    pub(crate) fn failures(&self) -> u64 {
        self.tallies.values().map(Tally::failed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 244, 1, n], 8080))
    }

    #[test]
    fn an_answer_counts_only_from_the_old_or_the_new_set_of_its_moment() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ledger = Ledger::default();
        // {1,2} from 0, {2,3} from 100, {3} from 200
        for (ms, set) in [(0, [1, 2]), (100, [2, 3]), (200, [3, 3])] {
            ledger.set("s", at(ms), set.map(backend).into());
        }
        for (name, n, began, ended, failed) in [
            ("current", 1, 10, 11, false),
            ("not yet", 3, 10, 11, true),
            ("the old one still answers", 1, 150, 151, false),
            ("the new one answers", 3, 150, 151, false),
            ("two changes ago is too old", 1, 210, 211, true),
            ("the change fell into the request", 3, 90, 110, false),
        ] {
            let outcome = Outcome::Answered(backend(n));
            let request = Request { service: "s".into(), began: at(began), ended: at(ended), outcome };
            assert_eq!(ledger.count(&request), failed, "case: {name}");
        }
        assert_eq!((ledger.requests(), ledger.failures()), (6, 2));
    }

    #[test]
    fn every_error_is_a_failure_and_an_unknown_service_has_no_right_answer() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        for outcome in [Outcome::Refused, Outcome::Failed("reset"), Outcome::Answered(backend(1))] {
            assert!(ledger.count(&Request { service: "s".into(), began: now, ended: now, outcome }));
        }
        assert_eq!(ledger.failures(), 3);
        assert_eq!(ledger.tallies()["s"].converge(), None);
        for millis in [5, 1, 2] {
            ledger.converged("s", Duration::from_millis(millis));
        }
        assert_eq!(ledger.tallies()["s"].converge(), Some((Duration::from_millis(2), Duration::from_millis(5))));
    }

    #[test]
    fn a_refusal_is_right_only_while_a_service_has_no_endpoint() {
        let now = Instant::now();
        for (name, set, failed) in [("empty", BTreeSet::new(), false), ("served", [backend(1)].into(), true)] {
            let mut ledger = Ledger::default();
            ledger.set("s", now, set);
            let request = Request { service: "s".into(), began: now, ended: now, outcome: Outcome::Refused };
            assert_eq!(ledger.count(&request), failed, "case: {name}");
        }
    }
}
