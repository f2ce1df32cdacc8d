//! What a question to the running agent costs in a large cluster, in requests for memory: the loop answers it between two syncs.
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_agent::admin::PacketQuestion;
use sheave_agent::explain::Question;
use sheave_agent::status::explain;
use sheave_agent::sync::Syncer;
use sheave_core::{Event, Kind, ProxyConfig};
use sheave_dataplane::Fake;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// An agent that has been told of so many Services and has programmed them, unless it was told of less than everything.
fn agent(services: u32, untold: Option<Kind>) -> Syncer<Fake> {
    let mut syncer = Syncer::new("node", ProxyConfig::default(), Fake::default());
    let told = |event: &Event| !matches!(event, Event::Listed { kind, .. } if Some(*kind) == untold);
    syncer.observe(cluster::lists(services, 4).into_iter().filter(told).collect());
    assert!(syncer.sync().failed.is_empty());
    assert_eq!(syncer.complete(), untold.is_none());
    syncer
}

/// How often an answer asks for memory, and the rule it tells.
fn asked(syncer: &Syncer<Fake>, to: &str) -> (usize, String) {
    let question = Question::parse("10.128.0.1", to, None).expect("a question");
    let question = PacketQuestion { question, objects: true };
    let region = Region::new(ALLOCATOR);
    let reply = explain(syncer, &question).expect("an answer");
    let asked = region.change();
    (asked.allocations + asked.reallocations, reply.answer.rule)
}

/// One test, because what another one asked for at the same time would be counted as well.
#[test]
fn an_answer_asks_for_memory_as_often_at_100_and_at_20_000_services() {
    let all = [agent(100, None), agent(20_000, None)];
    // Its list of slices does not come: W12.
    let incomplete = [agent(100, Some(Kind::EndpointSlice)), agent(20_000, Some(Kind::EndpointSlice))];
    for (name, to, rule) in [
        ("a Service by its address", "10.96.0.50:80", "E1"),
        ("a Service by its name", "team-49/service-49", "E1"),
        ("a port that a Service does not have", "10.96.0.50:81", "A2"),
        ("nobody's address, at everybody's port", "192.0.2.1:80", "A15"),
        ("nobody's address, at nobody's port", "192.0.2.1:81", "A15"),
        ("a name that is like none", "elsewhere/another-one", "A15"),
    ] {
        assert_same(&all, name, to, rule);
    }
    for (name, to, rule) in [
        ("a Service of which no slice is known yet", "10.96.0.50:80", "E11"),
        ("nobody's address while not everything is known", "192.0.2.1:80", "A15"),
    ] {
        assert_same(&incomplete, name, to, rule);
    }
}

fn assert_same([few, many]: &[Syncer<Fake>; 2], name: &str, to: &str, rule: &str) {
    let (few, many) = (asked(few, to), asked(many, to));
    assert_eq!((few.1.as_str(), many.1.as_str()), (rule, rule), "case: {name}");
    assert_eq!(few.0, many.0, "case: {name}");
}
