//! What maps and links have in common in the kernel: a descriptor, a pin, and information about themselves.
use crate::sys::bpf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ObjectPath {
    path: u64,
    fd: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// Opens what is pinned at a path.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    bpf(BPF_OBJ_GET, &ObjectPath { path: path.as_ptr() as u64, fd: 0, flags: 0 }).map(owned)
}

/// Pins an object: it outlives this process until the file is removed.
pub(crate) fn pin(fd: &impl AsFd, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    bpf(BPF_OBJ_PIN, &ObjectPath { path: path.as_ptr() as u64, fd: raw(fd), flags: 0 }).map(drop)
}

/// What the kernel says of an object: as much of its information as `I` has room for.
pub(crate) fn info<I: FromBytes + IntoBytes>(fd: &impl AsFd) -> io::Result<I> {
    let mut info = I::new_zeroed();
    let len = u32::try_from(size_of::<I>()).expect("invariant: layouts are small");
    bpf(BPF_OBJ_GET_INFO_BY_FD, &InfoByFd { fd: raw(fd), len, info: std::ptr::from_mut(&mut info) as u64 })?;
    Ok(info)
}

/// A descriptor as bpf(2) takes it.
pub(crate) fn raw(fd: &impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("invariant: an open descriptor is not negative")
}

/// A descriptor that bpf(2) has just returned.
pub(crate) fn owned(fd: i32) -> OwnedFd {
    // SAFETY: bpf(2) returned this descriptor to us a moment ago and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}
