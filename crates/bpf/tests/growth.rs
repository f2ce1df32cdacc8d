//! Hashes grow when they are full, by themselves; one that cannot is named, and stops nothing else (I7).
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::maps::{MapError, Maps};
use sheave_bpf::memory::MemoryMaps;
use sheave_bpf::ops::{Hash, MapOp};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Event, Family, Index, Object, ObjectName, Problem, Realized, ServiceName, Touched};
use sheave_dataplane::{Applied, Dataplane};

const ENOMEM: i32 = 12;
const V4: Hash = Hash::Frontends(Family::V4);

/// Maps that note which of them have grown, or that refuse to.
struct Kernel {
    maps: MemoryMaps,
    grown: Vec<(Hash, u32)>,
    has_memory: bool,
}

impl Maps for Kernel {
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError> {
        if let MapOp::Grow { hash, entries } = op {
            if !self.has_memory {
                return Err(MapError { map: hash.name(), operation: "growth", errno: ENOMEM });
            }
            self.grown.push((*hash, *entries));
        }
        self.maps.exec(op)
    }
}

struct Node {
    index: Index,
    desired: Desired,
    dataplane: BpfDataplane<Kernel>,
}

impl Node {
    /// On maps as they are made.
    fn new() -> Self {
        let kernel = Kernel { maps: MemoryMaps::new(), grown: Vec::new(), has_memory: true };
        Self {
            index: Index::new("node"),
            desired: Desired::default(),
            dataplane: BpfDataplane::new(Image::default(), Limits::default(), kernel),
        }
    }

    /// Plans what these touch, and what was left to be planned again.
    fn apply(&mut self, events: Vec<Event>, left: Touched) -> Applied {
        events.into_iter().for_each(|event| self.index.apply(event));
        let changed = self.index.take_changed();
        let mut touched = self.desired.update(&self.index, &changed);
        touched.merge(left);
        self.dataplane.apply(&plan(&self.desired, &self.dataplane, &touched))
    }

    fn grown(&mut self) -> Vec<(Hash, u32)> {
        std::mem::take(&mut self.dataplane.maps_mut().grown)
    }

    fn room(&self, hash: Hash) -> u32 {
        self.dataplane.image().room(hash)
    }
}

/// The events that make a Service known, or another state of it.
fn applied(service: u32, gone: u32) -> Vec<Event> {
    let [object, _] = cluster::objects(service, 2);
    vec![Event::Applied(object), Event::Applied(Object::EndpointSlice(cluster::slice(service, 2, gone)))]
}

fn name(service: u32) -> ServiceName {
    let [Object::Service(object), _] = cluster::objects(service, 0) else { unreachable!() };
    object.name
}

/// 20,000 Services take 40,000 entries, one for the port of each and one for its address (A2), and 20,000 names.
#[test]
fn maps_as_they_are_made_serve_a_large_cluster_after_few_growths_and_never_shrink() {
    let mut node = Node::new();
    assert!(node.apply(cluster::lists(20_000, 1), Touched::default()).pending.is_empty());
    let grown = node.grown();
    for (hash, want) in
        [(V4, &[1 << 14, 1 << 16][..]), (Hash::Names, &[1 << 14, 1 << 16]), (Hash::Frontends(Family::V6), &[])]
    {
        let sizes: Vec<u32> = grown.iter().filter(|(of, _)| *of == hash).map(|(_, entries)| *entries).collect();
        assert_eq!(sizes, want, "{hash:?}");
    }
    assert!(node.apply(cluster::lists(10, 1), Touched::default()).pending.is_empty());
    assert!(node.apply(cluster::lists(20_000, 1), Touched::default()).pending.is_empty());
    assert_eq!(node.grown(), [], "the room is kept");
}

#[test]
fn an_agent_that_starts_again_knows_the_room_there_is() {
    let mut node = Node::new();
    node.apply(cluster::lists(5000, 1), Touched::default());
    let (image, strays) = Image::from_contents(node.dataplane.maps().maps.contents());
    assert_eq!(strays, []);
    assert_eq!((image.room(V4), image.room(Hash::Names)), (1 << 14, 1 << 14));
    assert!(plan_all(&node.desired, &image).is_empty(), "I2");
}

/// The kernel has no memory for a larger hash: what needs it is refused as a whole and named, everything else goes on, removals too.
#[test]
fn a_hash_that_cannot_grow_stops_nothing_but_what_needs_the_room() {
    let mut node = Node::new();
    // 2,048 ports and addresses fill the first size.
    assert!(node.apply(cluster::lists(2048, 2), Touched::default()).pending.is_empty());
    assert_eq!((node.grown(), node.room(V4)), (vec![], 1 << 12), "full, and not too small");
    node.dataplane.maps_mut().has_memory = false;
    let mut events = applied(5000, 0);
    events.extend(applied(7, 1));
    let refused = node.apply(events, Touched::default());
    let said: Vec<_> = refused.refused.iter().map(|d| (d.object.to_string(), d.problem, d.message.clone())).collect();
    let full = "map frontends_v4 is full (at most 4096); the kernel makes no larger one (Cannot allocate memory (os error 12)): free \
                memory, it is tried again";
    let own = format!("Service {}", name(5000));
    assert!(
        said.iter().any(|(object, problem, message)| {
            *object == own && *problem == Problem::Capacity && message.starts_with(full)
        }),
        "I7: {said:?}"
    );
    assert!(!refused.failed.is_empty(), "so that it is tried again");
    let key = |service| node.dataplane.keys().into_iter().find(|key| key.port.service == name(service));
    assert_eq!(key(5000), None, "nothing of it is written");
    let seven = key(7).unwrap();
    assert_eq!(
        node.dataplane.serving(&seven).unwrap().members().count(),
        1,
        "the other was changed and its backend retired"
    );
    // Room that somebody leaves will do as well.
    let gone = Event::Deleted(ObjectName::Service(name(9)));
    let removed = node.apply(vec![gone], refused.pending);
    let served = node.apply(Vec::new(), removed.pending);
    assert!(served.pending.is_empty() && served.refused.is_empty(), "{:?}", served.refused);
    assert_eq!((node.grown(), node.room(V4)), (vec![], 1 << 12));
    // And so will memory.
    let refused = node.apply(applied(5001, 0), Touched::default());
    assert!(!refused.pending.is_empty());
    node.dataplane.maps_mut().has_memory = true;
    assert!(node.apply(Vec::new(), refused.pending).pending.is_empty());
    assert_eq!(node.grown(), [(V4, 1 << 14)]);
}
