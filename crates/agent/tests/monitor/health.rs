//! `/healthz` and `/livez` (H1, H2).
use crate::agent::{Agent, applied, config, empty, node, service};
use crate::client::{DEADLINE, get};
use sheave_core::{Event, Leaving, Node, Object, ObjectName};
use sheave_dataplane::Fake;
use std::time::{Duration, Instant};

/// Codes of both, and `nodeEligible`.
async fn asked(agent: &Agent) -> (u16, u16, bool) {
    let (healthz, livez) = (get(agent.healthz, "/healthz").await, get(agent.healthz, "/livez").await);
    for answer in [&healthz, &livez] {
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(livez.json().get("nodeEligible"), None, "H2");
    (healthz.code, livez.code, healthz.json()["nodeEligible"].as_bool().unwrap())
}

/// H1, H2
#[tokio::test]
async fn healthz_asks_for_the_node_as_well_and_livez_does_not() {
    let mut agent = Agent::new();
    assert_eq!(asked(&agent).await, (200, 200, true), "starting");
    assert_eq!(get(agent.healthz, "/healthz").await.json().get("status"), None, "no family is up to date yet");
    agent.hear(empty());
    let leaving = |leaving| Event::Applied(Object::Node(Node { leaving, ..node() }));
    for (name, event, want) in [
        ("tainted", leaving(Some(Leaving::ScaledDown)), (503, 200, false)),
        ("no more", leaving(None), (200, 200, true)),
        ("deleted", leaving(Some(Leaving::Deleted)), (503, 200, false)),
        ("gone", Event::Deleted(ObjectName::Node(node().name)), (503, 200, false)),
        ("back", leaving(None), (200, 200, true)),
    ] {
        agent.hear(vec![event]);
        assert_eq!(asked(&agent).await, want, "case: {name}");
    }
    assert_eq!(get(agent.healthz, "/other").await.code, 404);
    let healthz = get(agent.healthz, "/healthz?verbose").await.json();
    assert_eq!(healthz["lastUpdated"].as_str().unwrap().len(), healthz["currentTime"].as_str().unwrap().len());
    let families: Vec<_> = healthz["status"].as_object().unwrap().keys().collect();
    assert_eq!(families, ["IPv4", "IPv6"]);
}

/// H1
#[tokio::test]
async fn an_update_that_the_kernel_refuses_for_too_long_is_unhealthy() {
    let mut config = config();
    config.kube_proxy.sync_period = Duration::from_millis(100);
    // The first write, of the rules, succeeds.
    let mut agent = Agent::of(&config, Fake::failing_at(1..99), None);
    agent.hear(empty());
    agent.hear(vec![applied(service("web", 1, 0))]);
    let deadline = Instant::now() + DEADLINE;
    loop {
        agent.monitor.turned();
        let livez = get(agent.healthz, "/livez").await;
        let family = |family: &str| livez.json()["status"][family]["healthy"].as_bool();
        assert_eq!(family("IPv6"), Some(true), "nothing of it waits");
        if livez.code == 503 {
            assert_eq!((family("IPv4"), livez.json()["healthy"].as_bool()), (Some(false), Some(false)));
            return;
        }
        assert!(Instant::now() < deadline, "late at last: {livez:?}");
    }
}
