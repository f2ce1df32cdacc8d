//! What a change costs in kernel writes: counted, not timed, so it can be a promise.
#[path = "../../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Affinity, Desired, Event, Index, Object, Service, TrafficPolicy};
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
        Self::within(services, endpoints, Limits::default())
    }

    /// The same within limits.
    fn within(services: u32, endpoints: u32, limits: Limits) -> Self {
        let mut index = Index::new("node");
        cluster::lists(services, endpoints).into_iter().for_each(|event| index.apply(event));
        let mut desired = Desired::default();
        let changed = index.take_changed();
        desired.update(&index, &changed);
        let maps = MemoryMaps::new();
        let mut dataplane = BpfDataplane::new(Image::default(), limits, maps);
        let applied = dataplane.apply(&plan_all(&desired, &dataplane));
        assert!(applied.pending.is_empty(), "{:?} {:?}", applied.refused, applied.failed);
        Self { index, desired, dataplane, endpoints }
    }

    /// The first `gone` endpoints of a Service are not there (any more).
    fn endpoints_gone(&mut self, service: u32, gone: u32) -> Writes {
        let slice = cluster::slice(service, self.endpoints, gone);
        self.apply(Object::EndpointSlice(slice))
    }

    /// An object is new, or another one.
    fn apply(&mut self, object: Object) -> Writes {
        self.index.apply(Event::Applied(object));
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

/// Its flows count from zero: an id that another backend had brings along what was counted for that.
#[test]
fn an_endpoint_that_gets_an_id_of_another_one_costs_one_write_more() {
    let limits = Limits { backends_max: 12, ..Limits::default() };
    let mut node = Node::within(3, 4, limits);
    assert_eq!(node.endpoints_gone(1, 1), Writes { ops: 3, entries: 3 }, "removed");
    assert_eq!(node.endpoints_gone(1, 0), Writes { ops: 4, entries: 4 }, "added: no other id is left");
    assert_eq!(node.endpoints_gone(1, 3), Writes { ops: 3, entries: 1 + 1 + 3 }, "three removed");
    assert_eq!(node.endpoints_gone(1, 0), Writes { ops: 4, entries: 3 + 3 + 4 + 1 }, "three added");
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

/// Both sets lie in slots of their own: an endpoint of this node costs its slot in the other one more.
#[test]
fn under_policy_local_an_endpoint_of_this_node_costs_one_slot_more_and_any_other_the_same() {
    for services in [100, 10_000] {
        for (case, on_this_node, writes) in [("here", true, 4), ("elsewhere", false, 3)] {
            let mut node = Node::serving(services, 4);
            let slice = |node: &Node, gone: u32| {
                let mut slice = cluster::slice(1, node.endpoints, gone);
                let own = if on_this_node { 4 } else { 0 };
                slice.endpoints.iter_mut().take(own).for_each(|endpoint| endpoint.node = Some("node".into()));
                slice
            };
            let [Object::Service(service), _] = cluster::objects(1, 0) else { unreachable!() };
            let local = Service { external_policy: TrafficPolicy::Local, ..service };
            node.apply(Object::Service(local));
            node.apply(Object::EndpointSlice(slice(&node, 0)));
            let removed = node.apply(Object::EndpointSlice(slice(&node, 1)));
            assert_eq!(removed, Writes { ops: writes, entries: writes }, "removed, {case}, {services} Services");
            let added = node.apply(Object::EndpointSlice(slice(&node, 0)));
            assert_eq!(added, Writes { ops: writes, entries: writes }, "added, {case}, {services} Services");
        }
    }
}

/// Its sets, policies and affinity in one write; ranges, one each.
#[test]
fn a_policy_an_affinity_or_a_source_costs_one_write_each() {
    let mut node = Node::serving(3, 4);
    let [Object::Service(plain), _] = cluster::objects(1, 0) else { unreachable!() };
    let affinity = Some(Affinity { timeout_s: 10 });
    let sticky = Service { affinity, ..plain.clone() };
    assert_eq!(node.apply(Object::Service(sticky.clone())), Writes { ops: 1, entries: 1 }, "E10");
    let ranges: Vec<_> = ["198.51.100.0/24", "203.0.113.0/24"].map(|text| text.parse().expect("a prefix")).into();
    let restricted = Service { source_ranges: ranges.clone(), ..sticky.clone() };
    assert_eq!(
        node.apply(Object::Service(restricted)),
        Writes { ops: 3, entries: 3 },
        "R8: both, then that they count"
    );
    let fewer = Service { source_ranges: ranges[..1].to_vec(), ..sticky.clone() };
    assert_eq!(node.apply(Object::Service(fewer)), Writes { ops: 1, entries: 1 }, "R8");
    assert_eq!(
        node.apply(Object::Service(sticky)),
        Writes { ops: 2, entries: 2 },
        "R8: that they do not count, then the last"
    );
}
