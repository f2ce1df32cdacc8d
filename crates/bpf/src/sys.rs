//! The bpf(2) system call. Everything sheave asks of it that aya does not offer goes through here.
use std::io;
use std::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Performs a command whose attributes the kernel only reads; returns what it returns, a file descriptor for some.
pub(crate) fn bpf<A: IntoBytes + Immutable>(command: u32, attr: &A) -> io::Result<i32> {
    // SAFETY: `attr` is as long as said, the kernel reads it, and its pointers are the caller's to vouch for.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<A>()) })
}

/// Performs a command whose attributes the kernel also writes.
pub(crate) fn bpf_mut<A: IntoBytes + FromBytes>(command: u32, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `attr` is as long as said, any bytes are a valid `A`, and its pointers are the caller's to vouch for.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<A>()) })
}

fn check(ret: libc::c_long) -> io::Result<i32> {
    match i32::try_from(ret) {
        Ok(ret) if ret >= 0 => Ok(ret),
        _ => Err(io::Error::last_os_error()),
    }
}
