//! What is held of each endpoint, in bytes that were asked for and not given back: counted, so that it can be a promise.
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::lower::lower;
use sheave_core::plan::plan_all;
use sheave_core::{Desired, Index};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ENDPOINTS: u32 = 10;

/// Bytes per endpoint that are held after each step.
struct Held {
    services: u32,
    before: usize,
    region: Region<'static, System>,
}

impl Held {
    fn of(services: u32) -> Self {
        Self { services, before: 0, region: Region::new(ALLOCATOR) }
    }

    /// More per endpoint than after the step before.
    fn more(&mut self) -> usize {
        let stats = self.region.change();
        let now = stats.bytes_allocated - stats.bytes_deallocated;
        let more = now.saturating_sub(self.before) / (self.services * ENDPOINTS) as usize;
        self.before = now;
        more
    }
}

/// Index, desired state and image of the maps.
fn held(services: u32) -> [usize; 3] {
    let mut held = Held::of(services);
    let mut index = Index::new("node");
    cluster::lists(services, ENDPOINTS).into_iter().for_each(|event| index.apply(event));
    let changed = index.take_changed();
    let mut desired = Desired::default();
    desired.update(&index, &changed);
    drop((changed, desired));
    let of_index = held.more();
    let desired = Desired::rebuild(sheave_core::ProxyConfig::default(), &index);
    let of_desired = held.more();
    let (mut image, limits) = (Image::default(), Limits::default());
    for change in &plan_all(&desired, &image).make {
        let ops = lower(&image, &limits, change).expect("the limits hold it");
        ops.iter().for_each(|op| image.commit(op));
    }
    let of_image = held.more();
    cluster::lists(0, 0).into_iter().for_each(|event| index.apply(event));
    drop((desired, index.take_changed(), image));
    assert_eq!(held.more(), 0);
    assert!(held.before < 64 << 10, "{} bytes are held of nothing", held.before);
    [of_index, of_desired, of_image]
}

/// One test, because what another one asked for at the same time would be counted as well.
#[test]
fn an_endpoint_takes_as_much_memory_in_a_large_cluster_as_in_a_small_one() {
    for services in [1_000, 10_000] {
        let held = held(services);
        // In the small one an endpoint has half a node's name of its own. Tables double: at worst half of one is empty.
        for (what, bytes, max) in [("index", held[0], 180), ("desired", held[1], 100), ("image", held[2], 125)] {
            assert!(bytes <= max, "{services} Services: {what} holds {bytes} bytes per endpoint, {held:?}");
        }
    }
}
