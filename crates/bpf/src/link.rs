//! Links between a program and where it runs, pinned so that they outlive this process, updated in place.
//!
//! aya 0.14 can update neither a cgroup link nor tell what a link is attached to, so these are bpf(2) calls of our own.
use crate::object::{self, owned, raw};
use crate::sys::bpf;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

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

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    /// tcx: relative fd and expected revision; both zero: after the last one, whatever stands there.
    relative: [u64; 2],
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The head of the kernel's `struct bpf_link_info`; the union's first 16 bytes are what cgroup and tcx links fill.
#[derive(IntoBytes, FromBytes)]
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
        let attr = LinkCreate { program: raw(&program), target, attach_type, flags: 0, relative: [0; 2] };
        bpf(BPF_LINK_CREATE, &attr).map(owned).map(Self)
    }

    /// Opens a pinned link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        object::open_pin(path).map(Self)
    }

    /// Pins the link: it outlives this process until the file is removed.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        object::pin(&self.0, path)
    }

    /// Replaces the program; no packet and no connect() in between goes without one.
    pub(crate) fn update(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let attr = LinkUpdate { link: raw(&self.0), program: raw(&program), flags: 0, old_program: 0 };
        bpf(BPF_LINK_UPDATE, &attr).map(drop)
    }

    /// Detaches the program at once (5.9). Without it a link that nobody holds any more is let go some time later.
    pub(crate) fn detach(&self) -> io::Result<()> {
        bpf(BPF_LINK_DETACH, &raw(&self.0)).map(drop)
    }

    /// What the link is attached to.
    pub(crate) fn target(&self) -> io::Result<Target> {
        let info: LinkInfo = object::info(&self.0)?;
        Ok(match info.link_type {
            LINK_TYPE_TCX => Target::Device(info.union[0]),
            LINK_TYPE_CGROUP => Target::Cgroup(u64::from(info.union[0]) | u64::from(info.union[1]) << 32),
            _ => Target::Other,
        })
    }
}
