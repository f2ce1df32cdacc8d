//! Links between a program and where it runs, pinned so that they outlive this process, updated in place.
//!
//! aya 0.14 can update neither a cgroup link nor tell what a link is attached to, so these are bpf(2) calls of our own.
use crate::sys::bpf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use zerocopy::{FromZeros, Immutable, IntoBytes, KnownLayout};

const BPF_OBJ_PIN: u32 = 6;
const BPF_OBJ_GET: u32 = 7;
const BPF_OBJ_GET_INFO_BY_FD: u32 = 15;
const BPF_LINK_CREATE: u32 = 28;
const BPF_LINK_UPDATE: u32 = 29;
const BPF_LINK_DETACH: u32 = 34;

/// A link; dropping it detaches the program unless the link is pinned.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// What a link is attached to, as far as the kernel says: a device's index (0: the device is gone), or a cgroup's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Device(u32),
    Cgroup(u64),
    Other,
}

#[derive(IntoBytes, Immutable, KnownLayout, FromZeros)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    /// tcx: relative fd and expected revision; both zero: after the last one, whatever stands there.
    relative: [u64; 2],
}

#[derive(IntoBytes, Immutable, KnownLayout, FromZeros)]
#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

#[derive(IntoBytes, Immutable, KnownLayout, FromZeros)]
#[repr(C)]
struct ObjectPath {
    path: u64,
    fd: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable, KnownLayout, FromZeros)]
#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

/// The head of the kernel's `struct bpf_link_info`; the union's first 16 bytes are what cgroup and tcx links fill.
#[derive(IntoBytes, Immutable, KnownLayout, FromZeros)]
#[repr(C)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program: u32,
    zero: u32,
    union: [u32; 4],
}

const LINK_TYPE_CGROUP: u32 = 3;
const LINK_TYPE_TCX: u32 = 11;

impl Link {
    /// Attaches a program: `target` is a device's index or a cgroup's file descriptor, as `attach_type` wants it.
    pub(crate) fn create(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> io::Result<Self> {
        let attr = LinkCreate { program: raw(program), target, attach_type, flags: 0, relative: [0; 2] };
        bpf(BPF_LINK_CREATE, &attr).map(owned).map(Self)
    }

    /// Opens a pinned link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = c_path(path)?;
        let attr = ObjectPath { path: path.as_ptr() as u64, fd: 0, flags: 0 };
        bpf(BPF_OBJ_GET, &attr).map(owned).map(Self)
    }

    /// Pins the link: it outlives this process until the file is removed.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        let path = c_path(path)?;
        let attr = ObjectPath { path: path.as_ptr() as u64, fd: raw(self.0.as_fd()), flags: 0 };
        bpf(BPF_OBJ_PIN, &attr).map(drop)
    }

    /// Replaces the program; no packet and no connect() in between goes without one.
    pub(crate) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attr = LinkUpdate { link: raw(self.0.as_fd()), program: raw(program), flags: 0, old_program: 0 };
        bpf(BPF_LINK_UPDATE, &attr).map(drop)
    }

    /// Detaches the program at once (5.9). Without it a link that nobody holds any more is let go some time later.
    pub(crate) fn detach(&self) -> io::Result<()> {
        bpf(BPF_LINK_DETACH, &raw(self.0.as_fd())).map(drop)
    }

    /// What the link is attached to.
    pub(crate) fn target(&self) -> io::Result<Target> {
        let mut info = LinkInfo::new_zeroed();
        let len = u32::try_from(size_of::<LinkInfo>()).expect("invariant: 32 bytes");
        let attr = InfoByFd { fd: raw(self.0.as_fd()), len, info: std::ptr::from_mut(&mut info) as u64 };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &attr)?;
        Ok(match info.link_type {
            LINK_TYPE_TCX => Target::Device(info.union[0]),
            LINK_TYPE_CGROUP => Target::Cgroup(u64::from(info.union[0]) | u64::from(info.union[1]) << 32),
            _ => Target::Other,
        })
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("invariant: an open descriptor is not negative")
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: `bpf` returned this descriptor to us a moment ago and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}
