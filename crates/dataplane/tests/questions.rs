//! What a question about a packet costs in a large cluster, in requests for memory: the agent answers it between two syncs.
#[path = "../../../benches/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the benchmarks")]
mod cluster;

use sheave_core::decide::Transport;
use sheave_core::{Index, Packet, Protocol, ProxyConfig, decide};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often an answer asks for memory, in a cluster of so many Services.
fn asked(services: u32, destination: &str) -> usize {
    let mut index = Index::new("node");
    cluster::lists(services, 4).into_iter().for_each(|event| index.apply(event));
    let packet = Packet {
        source: "10.128.0.1".parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        transport: Transport::Port(Protocol::Tcp, 80),
        interface: None,
    };
    let region = Region::new(ALLOCATOR);
    let decision = decide(&packet, &index, &ProxyConfig::default());
    let asked = region.change();
    drop(decision);
    asked.allocations + asked.reallocations
}

/// One test, because what another one asked for at the same time would be counted as well.
#[test]
fn a_question_asks_for_memory_as_often_at_100_and_at_100_000_services() {
    for (name, destination) in [("a Service's", "10.96.0.50"), ("nobody's", "192.0.2.1")] {
        let (few, many) = (asked(100, destination), asked(100_000, destination));
        assert_eq!(few, many, "case: {name}");
    }
}
