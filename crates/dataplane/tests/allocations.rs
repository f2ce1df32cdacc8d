//! What a change costs in allocations: counted, not timed, so that it can be a promise.
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, EndpointSlice, Event, Index, Object, Plan};
use sheave_dataplane::{Dataplane as _, Fake};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ENDPOINTS: u32 = 4;

struct Node {
    index: Index,
    desired: Desired,
    fake: Fake,
}

impl Node {
    fn serving(services: u32) -> Self {
        let mut node = Self { index: Index::new("node"), desired: Desired::default(), fake: Fake::default() };
        cluster::lists(services, ENDPOINTS).into_iter().for_each(|event| node.index.apply(event));
        let changed = node.index.take_changed();
        node.desired.update(&node.index, &changed);
        assert!(node.fake.apply(&plan_all(&node.desired, &node.fake)).pending.is_empty());
        node
    }

    /// From the event to the plan: the plan, and how often that asked for memory.
    fn plan(&mut self, slice: EndpointSlice) -> (Plan, usize) {
        let event = Event::Applied(Object::EndpointSlice(slice));
        let region = Region::new(ALLOCATOR);
        self.index.apply(event);
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        let plan = plan(&self.desired, &self.fake, &touched);
        let asked = region.change();
        assert!(self.fake.apply(&plan).pending.is_empty());
        (plan, asked.allocations + asked.reallocations)
    }
}

/// One test, because what another one asked for at the same time would be counted as well.
#[test]
fn one_endpoint_changed_asks_for_memory_as_often_at_100_and_at_100_000_services() {
    let asked = |services: u32| {
        let mut node = Node::serving(services);
        let steps = [1, 0, 0].map(|gone| {
            let (plan, asked) = node.plan(cluster::slice(services / 2, ENDPOINTS, gone));
            (plan.len(), asked)
        });
        assert_eq!(steps.map(|(steps, _)| steps), [2, 1, 0], "removed, added, equal again (I2)");
        steps.map(|(_, asked)| asked)
    };
    let (few, many) = (asked(100), asked(100_000));
    assert_eq!(few, many);
    assert!(few[0] < 60 && few[1] < 60, "removed, added, equal again: {few:?} times");
    assert_eq!(few[2], 0, "W13: an equal object is no work");
}
