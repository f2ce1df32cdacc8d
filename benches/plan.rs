//! One endpoint changed, from the event to the operations, as the cluster grows: flat is the aim.
//!
//! Each iteration changes another Service, so that what it reads is not in the processor's caches, as in life.
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use sheave_benches::cluster;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::lower::lower;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Event, Index, Object, Touched};
use sheave_dataplane::{Dataplane, Writes};
use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
const ENDPOINTS: u32 = 10;
/// Coprime to every size: visits all Services in a scattered order.
const STRIDE: u32 = 7_919;

struct Node {
    services: u32,
    next: u32,
    index: Index,
    desired: Desired,
    dataplane: BpfDataplane<MemoryMaps>,
}

impl Node {
    fn new(services: u32) -> Self {
        let mut index = Index::new("node");
        cluster::lists(services, ENDPOINTS).into_iter().for_each(|event| index.apply(event));
        let mut desired = Desired::default();
        let changed = index.take_changed();
        desired.update(&index, &changed);
        let limits = Limits::default();
        let mut dataplane = BpfDataplane::new(Image::default(), limits, MemoryMaps::new());
        assert!(dataplane.apply(&plan_all(&desired, &dataplane)).pending.is_empty());
        Self { services, next: 0, index, desired, dataplane }
    }

    /// The next Service, of so many that are visited in turn, has its first endpoint or has it no more.
    fn event(&mut self, visited: u32) -> Event {
        let place = u64::from(self.next % visited) * u64::from(STRIDE) % u64::from(self.services);
        let service = u32::try_from(place).expect("less than the number of Services");
        let gone = 1 - self.next / visited % 2;
        self.next += 1;
        Event::Applied(Object::EndpointSlice(cluster::slice(service, ENDPOINTS, gone)))
    }

    fn see(&mut self, event: Event) -> Touched {
        self.index.apply(event);
        let changed = self.index.take_changed();
        self.desired.update(&self.index, &changed)
    }

    fn sync(&mut self, event: Event) -> Writes {
        let touched = self.see(event);
        self.dataplane.apply(&plan(&self.desired, &self.dataplane, &touched)).writes
    }
}

/// Many Services are to get an endpoint back; planned and lowered one at a time, never carried out. Once with one Service
/// again and again: what that shows flat and the other does not is the time memory takes to answer.
fn plan_and_lower(c: &mut Criterion) {
    for (name, visited_max) in [("another Service each time", 10_000), ("the same Service each time", 1)] {
        plan_and_lower_of(c, &format!("plan+lower, one endpoint, {name}"), visited_max);
    }
}

fn plan_and_lower_of(c: &mut Criterion, name: &str, visited_max: u32) {
    let mut group = c.benchmark_group(name);
    for services in SIZES {
        let mut node = Node::new(services);
        let visited = services.min(visited_max);
        for _ in 0..visited {
            let event = node.event(visited);
            node.sync(event);
        }
        let events: Vec<_> = (0..visited).map(|_| node.event(visited)).collect();
        let touched: Vec<_> = events.into_iter().map(|event| node.see(event)).collect();
        let mut visits = touched.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter(|| {
                let plan = plan(&node.desired, &node.dataplane, visits.next().expect("cycles"));
                let [change] = &plan.make[..] else { panic!("one step, not {plan:?}") };
                black_box(lower(node.dataplane.image(), node.dataplane.limits(), change)).expect("there is room")
            });
        });
    }
}

/// From the watch event to the plan: index, desired, plan. What the plan says is carried out between two iterations.
fn event_to_plan(c: &mut Criterion) {
    let mut group = c.benchmark_group("event to plan, one endpoint");
    for services in SIZES {
        let mut node = Node::new(services);
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter_custom(|count| {
                let mut time = Duration::ZERO;
                for _ in 0..count {
                    let event = node.event(services);
                    let start = Instant::now();
                    let touched = node.see(event);
                    let plan = black_box(plan(&node.desired, &node.dataplane, &touched));
                    time += start.elapsed();
                    node.dataplane.apply(&plan);
                }
                time
            });
        });
    }
}

/// From the watch event to the last map write, into maps in memory.
fn event_to_maps(c: &mut Criterion) {
    let mut group = c.benchmark_group("event to maps, one endpoint");
    for services in SIZES {
        let node = RefCell::new(Node::new(services));
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter_batched(
                || node.borrow_mut().event(services),
                |event| assert!(node.borrow_mut().sync(event).ops <= 3),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Everything from scratch: plan and lower of all Services.
fn cold_start(c: &mut Criterion) {
    let mut group = c.benchmark_group("cold start, plan_all+lower+commit");
    group.sample_size(10);
    for services in [1_000, 10_000, 100_000] {
        let node = Node::new(services);
        group.bench_function(BenchmarkId::from_parameter(services), |b| {
            b.iter_batched(
                Image::default,
                |mut image| {
                    let plan = plan_all(&node.desired, &image);
                    for change in &plan.make {
                        let ops = lower(&image, node.dataplane.limits(), change).expect("the limits hold it");
                        ops.iter().for_each(|op| image.commit(op));
                    }
                    image
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, plan_and_lower, event_to_plan, event_to_maps, cold_start);
criterion_main!(benches);
