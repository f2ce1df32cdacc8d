//! Random worlds and random packets: the reference, the fake and the kernel programs decide alike, or the smallest world in
//! which they do not is shown.
use crate::NEEDS;
use crate::world::{NODE, config, event, packet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use sheave_conformance::{Answer, Engine, FakeEngine, KernelEngine, ModelEngine, World, observable};
use sheave_core::decide::Transport;
use sheave_core::{Desired, Event, Index, Packet, ProxyConfig};
use std::cell::{Cell, RefCell};
use std::time::Instant;

/// Worlds of a run: enough to meet every rule, and done in seconds.
const WORLDS_OF_THE_FAKE: u32 = 256;
const WORLDS_OF_THE_KERNEL: u32 = 96;
/// Packets per world, and as many again aimed at a frontend.
const PACKETS: usize = 8;

/// Objects as they come, settings, and packets.
type Worlds = (ProxyConfig, Vec<Event>, Vec<Packet>, Vec<(Packet, prop::sample::Index)>);

fn worlds() -> impl Strategy<Value = Worlds> {
    let aimed = vec((packet(), any::<prop::sample::Index>()), PACKETS);
    (config(), vec(event(), 4..24), vec(packet(), PACKETS), aimed)
}

/// The packet, sent to a frontend of its source's family.
fn aim(desired: &Desired, packet: &Packet, at: prop::sample::Index) -> Option<Packet> {
    let of_family = |addr: std::net::IpAddr| addr.is_ipv4() == packet.source.is_ipv4();
    let frontends: Vec<_> = desired.frontends().into_iter().filter(|frontend| of_family(frontend.addr)).collect();
    let frontend = frontends.get(at.index(frontends.len().max(1)))?;
    let node_port = desired.rules().node_port_addrs.iter().find(|addr| of_family(**addr));
    let destination = if frontend.is_node_port() { *node_port? } else { frontend.addr };
    let transport = Transport::Port(frontend.protocol, frontend.port.get());
    Some(Packet { destination, transport, ..packet.clone() })
}

/// A number from the environment.
fn asked(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

fn failed(error: impl ToString) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Holds an engine against the reference in so many worlds, one after the other.
fn check(engine: impl Engine, worlds_count: u32) {
    let worlds_count = asked("WORLDS").map_or(worlds_count, |count| u32::try_from(count).unwrap());
    let seed = asked("SEED").unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    let config = ProptestConfig { cases: worlds_count, failure_persistence: None, ..ProptestConfig::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (name, begun) = (engine.name(), Instant::now());
    let (engine, asked, unasked) = (RefCell::new(engine), Cell::new(0), Cell::new(0));
    let outcome = runner.run(&worlds(), |(config, events, packets, aimed)| {
        let mut index = Index::new(NODE);
        events.into_iter().for_each(|event| index.apply(event));
        let world = World { index: &index, config: &config };
        let desired = Desired::rebuild(config.clone(), &index);
        let mut reference = ModelEngine::default();
        reference.hold(world).map_err(failed)?;
        let mut engine = engine.borrow_mut();
        engine.hold(world).map_err(failed)?;
        let aimed = aimed.iter().filter_map(|(packet, at)| aim(&desired, packet, *at));
        for packet in packets.iter().cloned().chain(aimed) {
            let (want, got) = (reference.ask(&packet).map_err(failed)?, engine.ask(&packet).map_err(failed)?);
            let (Answer::Outcome { outcome: want, rule }, Answer::Outcome { outcome: got, .. }) = (&want, &got) else {
                unasked.set(unasked.get() + 1);
                continue;
            };
            asked.set(asked.get() + 1);
            let shown = |outcome: &sheave_dataplane::Outcome| observable(packet.source, outcome.clone());
            prop_assert_eq!(shown(got), shown(want), "{:?}, by {:?}", packet, rule);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("SEED={seed} {name}: {error}");
    }
    let (asked, unasked, took) = (asked.get(), unasked.get(), begun.elapsed());
    println!("{name}: {asked} packets in {worlds_count} worlds in {took:?}, {unasked} not asked; SEED={seed}");
}

#[test]
fn the_fake_decides_as_the_reference_does_in_any_world() {
    check(FakeEngine::default(), WORLDS_OF_THE_FAKE);
}

#[test]
fn the_kernel_programs_decide_as_the_reference_does_in_any_world() {
    if !sheave_tests::kernel_or_skip(NEEDS) {
        return;
    }
    check(KernelEngine::start().unwrap(), WORLDS_OF_THE_KERNEL);
}
