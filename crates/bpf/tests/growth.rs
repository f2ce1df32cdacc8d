//! Hashes grow when they are full, by themselves; one that cannot is named, and stops nothing else (I7).
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::maps::{MapError, Maps};
use sheave_bpf::memory::MemoryMaps;
use sheave_bpf::ops::{Array, Hash, MapOp};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Event, Family, Index, Object, ObjectName, Problem, Realized, ServiceName, Touched};
use sheave_dataplane::{Applied, Dataplane};

const ENOMEM: i32 = 12;
const V4: Hash = Hash::Frontends(Family::V4);

/// Maps that note which of them have grown, or that refuse to.
struct Kernel {
    maps: MemoryMaps,
    grown: Vec<(Hash, u32)>,
    /// What was asked for at once, and after how many other operations.
    reserved: Vec<(Array, u32, u64)>,
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
        if let MapOp::Reserve { array, end } = op {
            if !self.has_memory {
                return Err(MapError { map: "any", operation: "create", errno: ENOMEM });
            }
            self.reserved.push((*array, *end, self.maps.ops()));
            return Ok(());
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
        Self::within(Limits::default())
    }

    /// The same within limits.
    fn within(limits: Limits) -> Self {
        let kernel = Kernel { maps: MemoryMaps::new(), grown: Vec::new(), reserved: Vec::new(), has_memory: true };
        Self {
            index: Index::new("node"),
            desired: Desired::default(),
            dataplane: BpfDataplane::new(Image::default(), limits, kernel),
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
    for (case, pieces) in [("all at once", 1), ("in four parts", 4)] {
        let mut node = Node::new();
        for piece in 1..=pieces {
            assert!(node.apply(cluster::lists(20_000 * piece / pieces, 1), Touched::default()).pending.is_empty());
        }
        let want = if pieces == 1 { &[1 << 16][..] } else { &[1 << 14, 1 << 16] };
        let grown = node.grown();
        for (hash, want) in [(V4, want), (Hash::Names, want), (Hash::Frontends(Family::V6), &[])] {
            let sizes: Vec<u32> = grown.iter().filter(|(of, _)| *of == hash).map(|(_, entries)| *entries).collect();
            assert_eq!(sizes, want, "{case}: {hash:?}");
        }
        stays_large(node);
    }
}

fn stays_large(mut node: Node) {
    assert!(node.apply(cluster::lists(10, 1), Touched::default()).pending.is_empty());
    assert!(node.apply(cluster::lists(20_000, 1), Touched::default()).pending.is_empty());
    assert_eq!(node.grown(), [], "the room is kept");
}

/// The kernel waits after each growth of an array, and once for all that come together.
#[test]
fn arrays_have_room_for_all_new_services_of_a_plan_before_the_first_write() {
    const V4_BACKENDS: Array = Array::Backends(Family::V4);
    let low = Limits { backends_max: 50_000, slots_max: 70_000, ..Limits::default() };
    // A block has room for four backends.
    let all = [(Array::Services, 20_001), (Array::Slots, 80_000), (V4_BACKENDS, 60_001)];
    let allowed = [(Array::Services, 20_001), (Array::Slots, 70_000), (V4_BACKENDS, 50_001)];
    for (case, limits, services, endpoints, want) in [
        ("many", Limits::default(), 20_000, 3, &all[..]),
        ("more than may be", low, 20_000, 3, &allowed),
        ("few, which fit in one chunk each", Limits::default(), 10, 3, &[]),
        ("few, with many backends", Limits::default(), 9, 2000, &[(V4_BACKENDS, 18_001)]),
    ] {
        let mut node = Node::within(limits);
        let applied = node.apply(cluster::lists(services, endpoints), Touched::default());
        assert_eq!(applied.refused.is_empty(), limits != low, "{case}: I7");
        let reserved = std::mem::take(&mut node.dataplane.maps_mut().reserved);
        assert_eq!(reserved.iter().map(|(array, end, _)| (*array, *end)).collect::<Vec<_>>(), want, "{case}");
        let growths = u64::try_from(node.grown().len()).unwrap();
        assert!(reserved.iter().all(|(_, _, ops)| *ops <= growths), "{case}: {reserved:?}");
        // What is there is changed, and one that comes finds room.
        node.apply(one_changed_and_one_new(services), Touched::default());
        assert_eq!(node.dataplane.maps().reserved, [], "{case}");
    }
}

/// Of so many Services the second has an endpoint less, and there is one more.
fn one_changed_and_one_new(services: u32) -> Vec<Event> {
    applied(1, 1).into_iter().chain(applied(services, 0)).collect()
}

#[test]
fn arrays_that_cannot_be_made_at_once_stop_nothing() {
    let mut node = Node::new();
    node.dataplane.maps_mut().has_memory = false;
    let Applied { refused, failed, pending, .. } = node.apply(cluster::lists(100, 1000), Touched::default());
    assert!(refused.is_empty() && failed.is_empty() && pending.is_empty(), "{refused:?} {failed:?}");
    assert_eq!((node.dataplane.maps().reserved.len(), node.dataplane.keys().len()), (0, 100));
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
