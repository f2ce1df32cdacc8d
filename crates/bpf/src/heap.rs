//! The heap of the agent, kept as small as what is in it. It stands in this crate because asking glibc is `unsafe`.
//!
//! A list of 10,000 Services and their slices is read once and is garbage when it was sorted in. Read by two threads, it leaves two heaps full
//! of holes: measured were 77 to 108 MB for what takes 61 MB in one heap that is given back.

/// How large a piece is before it gets pages of its own, and how much may lie idle at the heap's end: glibc's own starting values, which it
/// would raise as large pieces are freed (mallopt(3), `M_MMAP_THRESHOLD`).
#[cfg(target_env = "gnu")]
const IDLE_BYTES_MAX: i32 = 128 << 10;

/// One heap for every thread, in which little lies idle. To be called while there is one thread.
#[cfg(target_env = "gnu")]
pub fn make_small() {
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, IDLE_BYTES_MAX), (libc::M_TRIM_THRESHOLD, IDLE_BYTES_MAX)]
    {
        // SAFETY: mallopt(3) takes numbers, and refuses those that it does not know.
        let _refused = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back to the kernel what is free in the middle of it: some milliseconds, all at once.
#[cfg(target_env = "gnu")]
pub fn trim() {
    // SAFETY: malloc_trim(3) takes a number and touches free memory only.
    let _any = unsafe { libc::malloc_trim(0) };
}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub fn make_small() {}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
