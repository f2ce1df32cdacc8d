//! Helpers without an object: clock, randomness, counters, load-time configuration.
use super::maps;
use aya_ebpf::Global;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use core::mem::MaybeUninit;
use sheave_abi::Counter;

/// Socket entrance: 0 off, 1 sockets of the host's network namespace, 2 all sockets. Set by the loader.
#[unsafe(no_mangle)]
static SOCKET_LB: Global<u32> = Global::new(0);
/// Cookie of the host's network namespace, or zero. Set by the loader.
#[unsafe(no_mangle)]
static HOST_NETNS: Global<u64> = Global::new(0);
/// 1 where `bpf_set_retval` exists (5.18). The verifier drops the call where this is 0. Set by the loader.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: Global<u32> = Global::new(0);

/// 1 where `bpf_ktime_get_coarse_ns` exists (5.11). Set by the loader.
#[unsafe(no_mangle)]
static HAS_COARSE_CLOCK: Global<u32> = Global::new(0);

/// Whose sockets are translated at connect().
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SocketLb {
    Off,
    Host,
    All,
}

/// The same value, of which the verifier knows nothing any more if `place` stands in a map.
#[inline(always)]
pub fn forgotten<T: Copy>(place: &mut MaybeUninit<T>, value: T) -> T {
    let place = place.as_mut_ptr();
    // SAFETY: a reference was made this pointer.
    unsafe { place.write_volatile(value) };
    // SAFETY: as above; it was written by the line above.
    unsafe { place.read_volatile() }
}

#[inline(always)]
pub fn socket_lb() -> SocketLb {
    match SOCKET_LB.load() {
        1 => SocketLb::Host,
        2 => SocketLb::All,
        _ => SocketLb::Off,
    }
}

/// Cookie of the host's network namespace; zero, which is nobody's, when it is not known.
#[inline(always)]
pub fn host_netns() -> u64 {
    HOST_NETNS.load()
}

#[inline(always)]
pub fn has_set_retval() -> bool {
    HAS_SET_RETVAL.load() == 1
}

/// Time since boot without suspend, in ns: `CLOCK_MONOTONIC` as of the last tick, which is 10 ms ago at most and costs no reading
/// of a clock.
#[inline(always)]
pub fn now_ns() -> u64 {
    if HAS_COARSE_CLOCK.load() == 1 {
        // SAFETY: the helper takes no arguments.
        return unsafe { bpf_ktime_get_coarse_ns() };
    }
    // SAFETY: the helper takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Uniform in `0..bound`, by multiplication instead of modulo; the bias is below `bound` / 2^32.
#[inline(always)]
pub fn random_below(bound: u32) -> u32 {
    // SAFETY: the helper takes no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    ((u64::from(random) * u64::from(bound)) >> 32) as u32
}

/// Adds one to a counter of this processor. Nothing interrupts a device program for another one; tasks in connect() may take turns,
/// and then a socket counter may miss one. (An atomic add needs compare-and-swap in `core`'s eyes, which it denies this target.)
#[inline(always)]
pub fn count(counter: Counter) {
    count_at(counter as u32);
}

/// As [`count`], by the counter's place.
#[inline(always)]
pub fn count_at(counter: u32) {
    if let Some(slot) = maps::COUNTERS.get_ptr_mut(counter) {
        // SAFETY: an aligned value of a per-CPU array, which stays for the life of the program.
        unsafe { *slot = (*slot).wrapping_add(1) };
    }
}
