//! Bytes that the index and the desired state take per endpoint: what is allocated and not freed, and what the process gained
//! in resident memory. Once with objects that come one by one, once with complete lists, whose own memory the allocator keeps
//! in part when they are gone.
//!
//! Each case runs in a process of its own: what one has freed would be there for the next.
use sheave_benches::cluster;
use sheave_core::{Desired, Event, Index, ProxyConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::process::Command;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Services, endpoints of each.
const SIZES: [(u32, u32); 4] = [(1_000, 10), (10_000, 10), (100_000, 10), (1_000, 1_000)];
const WAYS: [&str; 2] = ["one by one", "in lists"];

/// Bytes of memory this process has resident (proc(5), `statm`: pages of 4 KiB).
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("proc is mounted");
    let pages: usize = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has two numbers");
    pages * 4096
}

/// Bytes allocated since the region began, and not freed.
fn live(region: &Region<'_, System>) -> usize {
    let stats = region.change();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn see(index: &mut Index, way: &str, services: u32, endpoints: u32) {
    if way == "in lists" {
        return cluster::lists(services, endpoints).into_iter().for_each(|event| index.apply(event));
    }
    for n in 0..services {
        cluster::objects(n, endpoints).into_iter().for_each(|object| index.apply(Event::Applied(object)));
    }
}

fn measure(way: &str, services: u32, endpoints: u32) {
    let (region, before) = (Region::new(ALLOCATOR), resident());
    let mut index = Index::new("node");
    see(&mut index, way, services, endpoints);
    drop(index.take_changed());
    let of_index = live(&region);
    let mut desired = Desired::rebuild(ProxyConfig::default(), &index);
    let (both, resident) = (live(&region), resident() - before);
    cluster::lists(0, 0).into_iter().for_each(|event| index.apply(event));
    let changed = index.take_changed();
    desired.update(&index, &changed);
    drop(changed);
    let count = services as usize * endpoints as usize;
    println!(
        "| {services} x {endpoints}, {way} | {} MB | {} MB | {} | {} MB, {} | {} |",
        of_index / 1_000_000,
        (both - of_index) / 1_000_000,
        both / count,
        resident / 1_000_000,
        resident / count,
        live(&region),
    );
}

/// Runs this program again for each case; with a case as its arguments it measures it.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [way, services, endpoints] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        return measure(way, number(services), number(endpoints));
    }
    println!(
        "| Services x endpoints | index | desired | bytes per endpoint | resident, bytes per endpoint | bytes after everything is deleted |"
    );
    println!("|---|---|---|---|---|---|");
    let program = std::env::current_exe().expect("the program has a path");
    for (way, (services, endpoints)) in WAYS.iter().flat_map(|way| SIZES.map(|size| (way, size))) {
        let arguments = [(*way).to_owned(), services.to_string(), endpoints.to_string()];
        let status = Command::new(&program).args(arguments).status().expect("the program runs");
        assert!(status.success(), "{status}");
    }
}
