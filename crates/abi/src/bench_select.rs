//! What the program that measures `select` is given and what it answers: maps of its own, `bench_keys` and `bench_run`, that are
//! never pinned and that no entrance knows.
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Decisions of one run: enough that starting a run hardly counts, and few enough for the verifier to follow each of them.
pub const BENCH_DECISIONS: u32 = 64;

/// [`BenchDecision::outcome`]: a backend was chosen.
pub const BENCH_FORWARD: u8 = 0;
/// [`BenchDecision::outcome`]: refused, no usable endpoint or no such port (E11, A2).
pub const BENCH_REJECT: u8 = 1;
/// [`BenchDecision::outcome`]: not addressed to a frontend.
pub const BENCH_NO_FRONTEND: u8 = 2;
/// [`BenchDecision::outcome`]: the set changed on every try.
pub const BENCH_RACED: u8 = 3;
/// [`BenchDecision::outcome`]: the key was drawn, and nothing decided.
pub const BENCH_DRAWN: u8 = 4;
/// How many outcomes there are.
pub const BENCH_OUTCOMES: usize = 5;

/// What a client dials. Value of `bench_keys` (array, sized at load).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct BenchKey {
    /// Destination address, network order; an IPv4 one in the first four bytes, the rest zero.
    pub addr: [u8; 16],
    /// Destination port, network order.
    pub port: NetPort,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}
const _: () = assert!(size_of::<BenchKey>() == 20);

/// One decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BenchDecision {
    /// What was dialled.
    pub key: BenchKey,
    /// Address of the backend chosen, as in [`BenchKey::addr`].
    pub addr: [u8; 16],
    /// Its [`crate::BackendId`], host order; 0 when none was chosen.
    pub backend: u32,
    /// [`crate::ServiceId`] it belongs to, host order; 0 when none was chosen.
    pub service: u32,
    /// Its port, network order.
    pub port: NetPort,
    /// One of the outcomes, [`BENCH_FORWARD`] and so on.
    pub outcome: u8,
    /// Spare, zero.
    pub zero: u8,
}
const _: () = assert!(size_of::<BenchDecision>() == 48);

/// Value of `bench_run` (array of one entry): what the next run shall do, and what the runs since then have done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BenchRun {
    /// Keys in `bench_keys`, from the first on; a run draws from them uniformly.
    pub keys: u32,
    /// Spare, zero.
    pub zero: u32,
    /// How many decisions came out how, by outcome, over all runs.
    pub outcomes: [u64; BENCH_OUTCOMES],
    /// The decisions of the last run.
    pub decisions: [BenchDecision; BENCH_DECISIONS as usize],
}
const _: () = assert!(size_of::<BenchRun>() == 3120);
