//! Whether this node's proxy works, and whether load balancers should use the node (H1, H2; KEP-3836).
//!
//! Bodies, codes and headers are those of kube-proxy 1.36 (pkg/proxy/healthcheck/proxy_health.go). As there, the proxy is
//! healthy while it starts, and `healthy` in the body says nothing of the node.
mod probes;
pub(crate) mod services;

pub(crate) use probes::{Probes, handler};

use jiff::Timestamp;
use serde::Serialize;
use sheave_core::{Family, Node};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A loop that is seen at work once in a second, and is held up by one large change for some, does not stand still before this,
/// whatever the sync period.
const STILL_MIN: Duration = Duration::from_secs(10);

/// What the loop tells of itself. Readers never make it wait.
#[derive(Debug)]
pub struct Health(watch::Sender<State>);

/// What probes see of it.
#[derive(Clone, Debug)]
pub struct HealthView {
    state: watch::Receiver<State>,
    /// An update may wait for this long: twice the sync period.
    pending_max: Duration,
}

#[derive(Clone, Debug)]
struct State {
    families: [Progress; 2],
    /// `None` before every source was listed once: nothing is known against it.
    eligible: Option<bool>,
    /// When the loop was last seen at work.
    turned: Instant,
}

/// How far one family is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// When everything was last in the kernel.
    updated: Option<Timestamp>,
    /// Since when something is not.
    pending: Option<Instant>,
}

/// The state of things at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    now: Timestamp,
    /// Each family that was ever served, when it was last up to date, and whether it is healthy.
    families: BTreeMap<&'static str, (Timestamp, bool)>,
    /// Whether updates get through: what H2 asks for.
    pub healthy: bool,
    /// Whether the node stays: what H1 asks for as well.
    pub eligible: bool,
}

impl Health {
    /// At the start of the agent. `pending_max` is twice the sync period.
    #[must_use]
    pub fn new(pending_max: Duration) -> (Self, HealthView) {
        let start = State { families: Default::default(), eligible: None, turned: Instant::now() };
        let (sender, state) = watch::channel(start);
        (Self(sender), HealthView { state, pending_max })
    }

    /// Something came that has to be brought to the kernel.
    pub fn queued(&self) {
        self.0.send_modify(|state| {
            let now = Instant::now();
            state.families.iter_mut().for_each(|family| family.pending = family.pending.or(Some(now)));
        });
    }

    /// All of it was brought there, but for these families. `node` is this node's object, if there is one.
    pub fn synced(&self, failed: impl Fn(Family) -> bool, node: Option<&Node>) {
        self.0.send_modify(|state| {
            let (now, time) = (Instant::now(), Timestamp::now());
            for (family, progress) in Family::ALL.into_iter().zip(&mut state.families) {
                match failed(family) {
                    true => progress.pending = progress.pending.or(Some(now)),
                    false => *progress = Progress { updated: Some(time), pending: None },
                }
            }
            state.eligible = Some(node.is_some_and(|node| node.leaving.is_none()));
        });
    }

    /// The loop goes round. It does so about once in a second; one that stands still brings nothing to the kernel.
    pub fn turned(&self) {
        self.0.send_modify(|state| state.turned = Instant::now());
    }
}

impl HealthView {
    /// How things are now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.state.borrow().report(Instant::now(), Timestamp::now(), self.pending_max)
    }
}

impl State {
    fn report(&self, now: Instant, time: Timestamp, pending_max: Duration) -> Report {
        let since = |then: Instant| now.saturating_duration_since(then);
        let late = |then: Instant| since(then) >= pending_max;
        let hangs = since(self.turned) >= pending_max.max(STILL_MIN);
        let served = Family::ALL.into_iter().zip(&self.families).filter_map(|(family, progress)| {
            let healthy = !hangs && !progress.pending.is_some_and(late);
            Some((family_name(family), (progress.updated?, healthy)))
        });
        let families: BTreeMap<_, _> = served.collect();
        let healthy = !hangs && families.values().all(|(_, healthy)| *healthy);
        Report { now: time, families, healthy, eligible: self.eligible.unwrap_or(true) }
    }
}

/// As Kubernetes writes it.
pub(crate) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The body, with the fields in kube-proxy's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: String,
    healthy: bool,
}

/// Go's zero time: never.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Report {
    /// Whether a probe gets 200; `of_node` asks for the node's eligibility as well.
    #[must_use]
    pub fn passes(&self, of_node: bool) -> bool {
        self.healthy && (self.eligible || !of_node)
    }

    /// The body of an answer. `lastUpdated` is now while the answer is 200, as it has been since before updates had to be
    /// waited for; else the latest one of a family.
    #[must_use]
    pub fn body(&self, of_node: bool) -> String {
        let latest = self.families.values().map(|(updated, _)| *updated).max();
        let last_updated = if self.passes(of_node) { Some(self.now) } else { latest };
        let status = self.families.iter().map(|(family, (updated, healthy))| {
            (*family, FamilyBody { last_updated: updated.to_string(), healthy: *healthy })
        });
        let body = Body {
            last_updated: last_updated.map_or_else(|| NEVER.to_owned(), |time| time.to_string()),
            current_time: self.now.to_string(),
            node_eligible: of_node.then_some(self.eligible),
            healthy: self.healthy,
            status: status.collect(),
        };
        serde_json::to_string(&body).expect("invariant: texts and flags are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_core::Leaving;

    const MAX: Duration = Duration::from_secs(60);

    fn node(leaving: Option<Leaving>) -> Node {
        Node { name: "node-a".into(), zone: None, addresses: Vec::new(), pod_cidrs: Vec::new(), leaving }
    }

    /// What holds so many seconds from now.
    fn after(view: &HealthView, seconds: u64) -> Report {
        let state = view.state.borrow();
        let then = Instant::now() + Duration::from_secs(seconds);
        // The loop goes on meanwhile.
        State { turned: then, ..state.clone() }.report(then, Timestamp::now(), MAX)
    }

    #[test]
    fn h1_an_update_may_wait_for_twice_the_sync_period_and_no_longer() {
        let (health, view) = Health::new(MAX);
        health.queued();
        assert!(after(&view, 600).healthy, "healthy while it starts");
        health.synced(|_| false, Some(&node(None)));
        assert!(after(&view, 600).healthy, "nothing waits");
        health.queued();
        assert!(after(&view, 59).healthy, "not late yet");
        assert!(!after(&view, 61).healthy);
        health.queued();
        assert!(!after(&view, 61).healthy, "the oldest one counts");
        health.synced(|_| false, Some(&node(None)));
        assert!(after(&view, 600).healthy);
    }

    #[test]
    fn h1_each_family_waits_for_itself() {
        let (health, view) = Health::new(MAX);
        health.synced(|_| false, Some(&node(None)));
        health.queued();
        health.synced(|family| family == Family::V6, Some(&node(None)));
        let report = after(&view, 61);
        let healthy: Vec<_> = report.families.iter().map(|(family, (_, healthy))| (*family, *healthy)).collect();
        assert_eq!(healthy, [("IPv4", true), ("IPv6", false)]);
        assert!(!report.healthy);
    }

    #[test]
    fn h1_a_loop_that_stands_still_is_unhealthy() {
        let (health, view) = Health::new(MAX);
        health.synced(|_| false, Some(&node(None)));
        let state = view.state.borrow().clone();
        let report = |seconds| state.report(state.turned + Duration::from_secs(seconds), Timestamp::now(), MAX);
        assert!(report(59).healthy);
        assert!(!report(60).healthy && report(60).families.values().all(|(_, healthy)| !healthy));
        // A sync period of a part of a second says how long an update may wait, not how fast the loop has to go round.
        let soon = |seconds| {
            let then = state.turned + Duration::from_secs(seconds);
            state.report(then, Timestamp::now(), Duration::from_millis(200))
        };
        assert!(soon(9).healthy && !soon(10).healthy);
    }

    /// H1, H2
    #[test]
    fn the_node_counts_for_healthz_alone() {
        for (name, node, eligible) in [
            ("stays", Some(node(None)), true),
            ("gone", None, false),
            ("deleted", Some(node(Some(Leaving::Deleted))), false),
            ("tainted", Some(node(Some(Leaving::ScaledDown))), false),
        ] {
            let (health, view) = Health::new(MAX);
            assert!(view.report().passes(true), "case: {name}: before anything is known");
            health.synced(|_| false, node.as_ref());
            let report = view.report();
            assert_eq!((report.passes(true), report.passes(false)), (eligible, true), "case: {name}");
        }
    }

    /// H1, H2: the fields, their order and their form are those of kube-proxy's `json.Marshal(ProxyHealth)`.
    #[test]
    fn a_body_is_kube_proxys_to_the_letter() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (now, before) = (time("2026-11-22T08:00:00.5Z"), time("2026-11-22T07:59:00Z"));
        let report = |families: &[(&'static str, (Timestamp, bool))], healthy, eligible| Report {
            now,
            families: families.iter().copied().collect(),
            healthy,
            eligible,
        };
        let (good, bad) = (("IPv4", (before, true)), ("IPv6", (before, false)));
        for (name, report, healthz, livez) in [
            (
                "starting",
                report(&[], true, true),
                r#"{"lastUpdated":"2026-11-22T08:00:00.5Z","currentTime":"2026-11-22T08:00:00.5Z","nodeEligible":true,"healthy":true}"#,
                r#"{"lastUpdated":"2026-11-22T08:00:00.5Z","currentTime":"2026-11-22T08:00:00.5Z","healthy":true}"#,
            ),
            (
                "the node goes",
                report(&[good], true, false),
                r#"{"lastUpdated":"2026-11-22T07:59:00Z","currentTime":"2026-11-22T08:00:00.5Z","nodeEligible":false,"healthy":true,"status":{"IPv4":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":true}}}"#,
                r#"{"lastUpdated":"2026-11-22T08:00:00.5Z","currentTime":"2026-11-22T08:00:00.5Z","healthy":true,"status":{"IPv4":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":true}}}"#,
            ),
            (
                "one family waits",
                report(&[good, bad], false, true),
                r#"{"lastUpdated":"2026-11-22T07:59:00Z","currentTime":"2026-11-22T08:00:00.5Z","nodeEligible":true,"healthy":false,"status":{"IPv4":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":true},"IPv6":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":false}}}"#,
                r#"{"lastUpdated":"2026-11-22T07:59:00Z","currentTime":"2026-11-22T08:00:00.5Z","healthy":false,"status":{"IPv4":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":true},"IPv6":{"lastUpdated":"2026-11-22T07:59:00Z","healthy":false}}}"#,
            ),
        ] {
            assert_eq!(report.body(true), healthz, "case: {name}: /healthz");
            assert_eq!(report.body(false), livez, "case: {name}: /livez");
        }
        assert!(report(&[], true, false).body(true).contains(NEVER));
    }
}
