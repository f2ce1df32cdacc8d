//! Programs that measure `select`: what the entrances ask it, for the Cluster set and without affinity. An object of its own, which is
//! loaded on request only.
//!
//! They look at no packet and write no map but their own, so that `BPF_PROG_TEST_RUN` may repeat them: each repeat finds what
//! the first one found. A run draws its keys first and decides them afterwards, so that a decision does not wait for the list of
//! keys; `draw_*` does the same without deciding, and the difference is what `select` takes.
#![no_std]
#![no_main]
#![feature(core_intrinsics, used_with_arg)]
#![allow(internal_features, reason = "an atomic add, which `core` denies this target")]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]
#![allow(
    dead_code,
    unused_imports,
    reason = "the modules are the entrances' own, and this program needs a part of them"
)]

#[path = "sys/bench_maps.rs"]
mod bench_maps;
mod family;
mod flow;
mod flow_state;
mod ip;
mod object;
mod sctp;
mod segment;
mod select;
mod sys;

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use bench_maps::{Run, key};
use family::{Family, V4, V6};
use select::{Chosen, Decision, Dialled, Set, dialled, pick};
use sheave_abi::{
    BENCH_DECISIONS, BENCH_DRAWN, BENCH_FORWARD, BENCH_NO_FRONTEND, BENCH_RACED, BENCH_REJECT, BenchDecision, NetPort,
};
use sys::kernel::random_below;
use sys::maps;
use zerocopy::transmute;

/// What a run returns when it has made all its decisions.
const DONE: i32 = 0;
/// A map was not as the loader makes it.
const FAILED: i32 = 1;

#[classifier]
pub fn decide_v4(_: TcContext) -> i32 {
    run::<V4>(decide::<V4>)
}

#[classifier]
pub fn decide_v6(_: TcContext) -> i32 {
    run::<V6>(decide::<V6>)
}

#[classifier]
pub fn draw_v4(_: TcContext) -> i32 {
    run::<V4>(|_, _, _, _| BENCH_DRAWN)
}

#[classifier]
pub fn draw_v6(_: TcContext) -> i32 {
    run::<V6>(|_, _, _, _| BENCH_DRAWN)
}

#[inline(always)]
fn run<F: Family>(decide: impl Fn(&F::Addr, NetPort, u8, &mut Chosen<F::Addr>) -> u8) -> i32 {
    match draw_all().and_then(|run| decide_all::<F>(run, decide)) {
        Some(()) => DONE,
        None => FAILED,
    }
}

/// Draws the keys of this run.
#[inline(always)]
fn draw_all() -> Option<Run> {
    let run = Run::current()?;
    let keys = run.keys();
    for n in 0..BENCH_DECISIONS {
        run.decision(n)?.key = key(random_below(keys))?;
    }
    Some(run)
}

#[inline(always)]
fn decide_all<F: Family>(run: Run, decide: impl Fn(&F::Addr, NetPort, u8, &mut Chosen<F::Addr>) -> u8) -> Option<()> {
    for n in 0..BENCH_DECISIONS {
        let decision = run.decision(n)?;
        let mut chosen = Chosen::none();
        let addr = F::from_wide(transmute!(decision.key.addr));
        decision.outcome = decide(&addr, decision.key.port, decision.key.protocol, &mut chosen);
        note::<F>(decision, &chosen);
        run.count(decision.outcome);
    }
    Some(())
}

#[inline(always)]
fn decide<F: Family>(addr: &F::Addr, port: NetPort, protocol: u8, chosen: &mut Chosen<F::Addr>) -> u8 {
    let service = match dialled::<F>(addr, port, protocol) {
        Dialled::Frontend { service, .. } => service,
        Dialled::Claimed => return BENCH_REJECT,
        Dialled::Own | Dialled::Nothing => return BENCH_NO_FRONTEND,
    };
    let Some(held) = maps::service(service) else { return BENCH_REJECT };
    match pick::<F>(service, held, Set::Cluster, None, chosen) {
        Decision::Forward => BENCH_FORWARD,
        Decision::Reject | Decision::Drop => BENCH_REJECT,
        Decision::Raced => BENCH_RACED,
    }
}

#[inline(always)]
fn note<F: Family>(decision: &mut BenchDecision, chosen: &Chosen<F::Addr>) {
    decision.addr = transmute!(F::to_wide(chosen.addr));
    decision.backend = chosen.id;
    decision.service = chosen.service;
    decision.port = chosen.port;
}
