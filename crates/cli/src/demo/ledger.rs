//! What the demo may call a failure, decided from the history of endpoint sets: pure, no clock of its own.
//!
//! A request fails when it is refused, reset, timed out or wrongly answered, or when its answer comes from a backend that
//! was in neither the old nor the new set while the request ran. The old set counts until the change has been seen to be in
//! force, and for a second at most. Nothing is retried, nothing is forgiven.
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

/// How long a change may take until the old set is wrong, whether or not the new one was seen.
pub(crate) const CHANGE_LIMIT: Duration = Duration::from_secs(1);

/// A set of endpoints, in force since its change was given to the API.
struct Epoch {
    since: Instant,
    set: BTreeSet<SocketAddr>,
    /// From here on nothing of the set before may answer a request that begins.
    settled: Instant,
}

/// The sets a Service had, in the order of their changes.
#[derive(Default)]
struct History(Vec<Epoch>);

impl History {
    fn push(&mut self, since: Instant, set: BTreeSet<SocketAddr>) {
        self.0.push(Epoch { since, set, settled: since + CHANGE_LIMIT });
    }

    /// Whether a backend was in the set in force at any moment of the request, or in the one before while that still counts.
    fn allows(&self, backend: SocketAddr, began: Instant, ended: Instant) -> bool {
        self.in_force(began, ended).any(|set| set.contains(&backend))
    }

    /// Whether there was nobody to answer, at any moment of the request or while the set before still counts.
    fn allows_refusal(&self, began: Instant, ended: Instant) -> bool {
        self.in_force(began, ended).any(BTreeSet::is_empty)
    }

    fn in_force(&self, began: Instant, ended: Instant) -> impl Iterator<Item = &BTreeSet<SocketAddr>> {
        let current = self.0.partition_point(|epoch| epoch.since <= began).saturating_sub(1);
        let settled = self.0.get(current).is_some_and(|epoch| epoch.settled <= began);
        let first = if settled { current } else { current.saturating_sub(1) };
        self.0.iter().skip(first).take_while(move |epoch| epoch.since <= ended).map(|epoch| &epoch.set)
    }

    /// An answer that only the set of the last change can have given shows that this change is in force: the kernel
    /// publishes a set with one write, so no request that begins later can find the old one.
    fn answered(&mut self, backend: SocketAddr, ended: Instant) {
        let [.., old, new] = self.0.as_mut_slice() else { return };
        if new.since <= ended && new.set.contains(&backend) && !old.set.contains(&backend) {
            new.settled = new.settled.min(ended);
        }
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
        self.histories.entry(service.to_owned()).or_default().push(since, set);
    }

    /// What is wrong with a request, if anything is.
    pub(crate) fn failure(&self, request: &Request) -> Option<&'static str> {
        let Request { service, began, ended, outcome } = request;
        let history = self.histories.get(service);
        match outcome {
            Outcome::Answered(backend) if history.is_some_and(|h| h.allows(*backend, *began, *ended)) => None,
            Outcome::Refused if history.is_some_and(|h| h.allows_refusal(*began, *ended)) => None,
            Outcome::Answered(_) => Some("backend in neither set"),
            Outcome::Refused => Some("refused"),
            Outcome::Failed(what) => Some(what),
        }
    }

    /// Counts a request; says whether it failed.
    pub(crate) fn count(&mut self, request: &Request) -> bool {
        let failure = self.failure(request);
        let tally = self.tallies.entry(request.service.clone()).or_default();
        tally.requests += 1;
        match (failure, &request.outcome) {
            (Some(what), _) => *tally.failures.entry(what).or_default() += 1,
            (None, Outcome::Answered(backend)) => {
                *tally.backends.entry(*backend).or_default() += 1;
                if let Some(history) = self.histories.get_mut(&request.service) {
                    history.answered(*backend, request.ended);
                }
            }
            (None, Outcome::Refused | Outcome::Failed(_)) => tally.refusals += 1,
        }
        failure.is_some()
    }

    /// Counts a change that no connection has found within [`CHANGE_LIMIT`].
    pub(crate) fn not_seen(&mut self, service: &str) {
        *self.tallies.entry(service.to_owned()).or_default().failures.entry("change not seen").or_default() += 1;
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
    fn the_old_set_counts_until_the_change_was_seen_and_for_a_second_at_most() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let answered = |n, began, ended| Request {
            service: "s".into(),
            began: at(began),
            ended: at(ended),
            outcome: Outcome::Answered(backend(n)),
        };
        for (name, new_set, before, n, began, failed) in [
            ("nothing seen yet", [2, 3], None, 1, 500, false),
            ("an answer of a backend of both sets shows nothing", [2, 3], Some(2), 1, 500, false),
            ("begun before the change was seen", [2, 3], Some(3), 1, 149, false),
            ("begun after the change was seen", [2, 3], Some(3), 1, 151, true),
            ("the new set, after the change was seen", [2, 3], Some(3), 2, 151, false),
            ("nothing seen, less than a second", [2, 2], None, 1, 1099, false),
            ("nothing seen, a second", [2, 2], None, 1, 1100, true),
        ] {
            let mut ledger = Ledger::default();
            ledger.set("s", at(0), [1, 2].map(backend).into());
            ledger.set("s", at(100), new_set.map(backend).into());
            if let Some(n) = before {
                assert!(!ledger.count(&answered(n, 120, 150)), "case: {name}");
            }
            assert_eq!(ledger.count(&answered(n, began, began + 10)), failed, "case: {name}");
        }
    }

    #[test]
    fn a_change_that_nobody_saw_is_a_failure_but_no_request() {
        let mut ledger = Ledger::default();
        ledger.not_seen("s");
        assert_eq!((ledger.requests(), ledger.failures()), (0, 1));
        assert_eq!(ledger.tallies()["s"].converge(), None);
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
