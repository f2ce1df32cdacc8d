//! The maps of the program that measures `select`. They are in that object alone.
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use core::ptr;
use sheave_abi::{BENCH_DECISIONS, BenchDecision, BenchKey, BenchRun};

/// Replaced by the loader.
const SIZED_AT_LOAD: usize = 1;

#[btf_map(name = "bench_keys")]
static KEYS: Array<BenchKey, SIZED_AT_LOAD> = Array::new();
#[btf_map(name = "bench_run")]
static RUN: Array<BenchRun, 1> = Array::new();

/// The one entry of `bench_run`. User space starts one run after the other, so nobody else writes it meanwhile.
#[derive(Clone, Copy)]
pub struct Run(*mut BenchRun);

impl Run {
    #[inline(always)]
    pub fn current() -> Option<Self> {
        RUN.get_ptr_mut(0).map(Self)
    }

    /// How many keys there are to draw from.
    #[inline(always)]
    pub fn keys(self) -> u32 {
        // SAFETY: an array value, which stays for the life of the program.
        unsafe { (&raw const (*self.0).keys).read_volatile() }
    }

    /// One of the decisions of this run.
    #[inline(always)]
    pub fn decision(self, n: u32) -> Option<&'static mut BenchDecision> {
        if n >= BENCH_DECISIONS {
            return None;
        }
        // SAFETY: `n` is within the array, by the line above; only an address is taken.
        let decision = unsafe { (&raw mut (*self.0).decisions).cast::<BenchDecision>().add(n as usize) };
        // SAFETY: an array value, which stays for the life of the program; the caller holds one of them at a time.
        Some(unsafe { &mut *decision })
    }

    /// Counts an outcome.
    #[inline(always)]
    pub fn count(self, outcome: u8) {
        // SAFETY: an array value, which stays for the life of the program.
        let outcomes = unsafe { &mut (*self.0).outcomes };
        if let Some(count) = outcomes.get_mut(usize::from(outcome)) {
            *count = count.wrapping_add(1);
        }
    }
}

/// A key of the list.
#[inline(always)]
pub fn key(index: u32) -> Option<BenchKey> {
    let key = KEYS.get_ptr(index)?;
    // SAFETY: an array value, which stays for the life of the program.
    Some(unsafe { ptr::read(key) })
}
