//! What became of a packet: the counter it is counted by, and what the kernel is told to do with it.
use crate::sys::kernel;
use sheave_abi::{COUNTERS_MAX, Counter};

/// Goes on with the next program, or with the stack: `TC_ACT_UNSPEC` for clsact, `TCX_NEXT` for tcx.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;
/// `TC_ACT_REDIRECT`, `TCX_REDIRECT`: a helper has noted where to.
const REDIRECT: i32 = 7;

/// Where the verdict stands: above the counter. One word, because the verifier forbids to return by pointer.
const VERDICT_SHIFT: u32 = 16;

/// An outcome, or [`Outcome::NONE`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u32);

impl Outcome {
    /// No outcome yet: the packet has to be decided by other means.
    pub const NONE: Self = Self(u32::MAX);
    /// No outcome yet: the packet's source has to be chosen. Said rather than done, because of the stack.
    pub const PENDING: Self = Self(u32::MAX - 1);
    /// No outcome yet: the packet has to go on from another port, its own being that of a flow which is translated.
    pub const TAKEN: Self = Self(u32::MAX - 2);

    #[inline(always)]
    pub fn next(counter: Counter) -> Self {
        Self(counter as u32)
    }

    #[inline(always)]
    pub fn drop(counter: Counter) -> Self {
        Self(counter as u32 | (DROP as u32) << VERDICT_SHIFT)
    }

    /// `verdict` is what a redirecting helper returned: it refuses by dropping.
    #[inline(always)]
    pub fn redirect(counter: Counter, verdict: i32) -> Self {
        let verdict = if verdict == REDIRECT { REDIRECT } else { DROP };
        Self(counter as u32 | (verdict as u32) << VERDICT_SHIFT)
    }

    /// Counts it, once, and says what it means to the kernel.
    #[inline(always)]
    pub fn conclude(self) -> i32 {
        kernel::count_at(self.0 & (COUNTERS_MAX - 1));
        match self.0 >> VERDICT_SHIFT {
            0 => NEXT,
            verdict => verdict as i32,
        }
    }
}
