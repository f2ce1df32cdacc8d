//! What a change costs in kernel writes: counted, not timed, so it can be a promise.
#[path = "../../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Event, Index, Object};
use sheave_dataplane::{Dataplane, Writes};

struct Node {
    index: Index,
    desired: Desired,
    dataplane: BpfDataplane<MemoryMaps>,
    endpoints: u32,
}

impl Node {
    /// A node that serves so many Services with so many endpoints each.
    fn serving(services: u32, endpoints: u32) -> Self {
        let mut index = Index::new("node");
        cluster::lists(services, endpoints).into_iter().for_each(|event| index.apply(event));
        let mut desired = Desired::default();
        let changed = index.take_changed();
        desired.update(&index, &changed);
        let limits = Limits::default();
        let maps = MemoryMaps::new(limits.frontends_max);
        let mut dataplane = BpfDataplane::new(Image::default(), limits, maps);
        let applied = dataplane.apply(&plan_all(&desired, &dataplane));
        assert!(applied.pending.is_empty(), "{:?} {:?}", applied.refused, applied.failed);
        Self { index, desired, dataplane, endpoints }
    }

    /// The first `gone` endpoints of a Service are not there (any more).
    fn endpoints_gone(&mut self, service: u32, gone: u32) -> Writes {
        let slice = cluster::slice(service, self.endpoints, gone);
        self.index.apply(Event::Applied(Object::EndpointSlice(slice)));
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        let applied = self.dataplane.apply(&plan(&self.desired, &self.dataplane, &touched));
        assert!(applied.pending.is_empty(), "{:?} {:?}", applied.refused, applied.failed);
        applied.writes
    }
}

#[test]
fn one_endpoint_changed_costs_the_same_at_100_and_at_100_000_services() {
    for services in [100, 100_000] {
        let mut node = Node::serving(services, 4);
        let middle = services / 2;
        // Its slot and the word; then its entry is retired.
        assert_eq!(node.endpoints_gone(middle, 1), Writes { ops: 3, entries: 3 }, "removed, {services} Services");
        // Its entry, its slot and the word.
        assert_eq!(node.endpoints_gone(middle, 0), Writes { ops: 3, entries: 3 }, "added, {services} Services");
        // W13, I2.
        assert_eq!(node.endpoints_gone(middle, 0), Writes { ops: 0, entries: 0 }, "equal again, {services} Services");
    }
}

#[test]
fn one_endpoint_changed_costs_the_same_with_10_and_with_1000_backends() {
    for endpoints in [10, 1000] {
        let mut node = Node::serving(3, endpoints);
        assert_eq!(node.endpoints_gone(1, 1), Writes { ops: 3, entries: 3 }, "removed, {endpoints} backends");
        assert_eq!(node.endpoints_gone(1, 0), Writes { ops: 3, entries: 3 }, "added, {endpoints} backends");
    }
}

#[test]
fn several_endpoints_changed_at_once_cost_one_new_block() {
    let mut node = Node::serving(3, 10);
    // The new block in one operation of 7 slots, the word; then three entries retired in one.
    assert_eq!(node.endpoints_gone(1, 3), Writes { ops: 3, entries: 7 + 1 + 3 });
    // Three entries, the block, the word.
    assert_eq!(node.endpoints_gone(1, 0), Writes { ops: 3, entries: 3 + 10 + 1 });
    // Down to none: the word; the entries.
    assert_eq!(node.endpoints_gone(1, 10), Writes { ops: 2, entries: 1 + 10 });
}
