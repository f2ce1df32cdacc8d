//! What may be picked: values of `slots`, `backends_v4` and `backends_v6` (arrays of arrays).
//!
//! A slot holds a [`BackendId`] as u32, which one store replaces atomically; the address stands once, in the backend's
//! entry. An entry is written before a slot names it and never rewritten while one does.
use crate::NetPort;
use core::mem::size_of;
use core::num::NonZeroU32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kernel-side id of one endpoint of one Service port: index into `backends_v4` or `backends_v6`, by the Service's family.
/// Zero marks an empty slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendId(pub NonZeroU32);

/// [`BackendV4::state`], all bits clear: the entry is free, or its endpoint serves no more.
pub const BACKEND_ABSENT: u8 = 0;
/// [`BackendV4::state`], a bit: the endpoint serves: flows that name it go on; whether new flows may pick it the slots say.
pub const BACKEND_SERVING: u8 = 1;
/// [`BackendV4::state`], a bit: it is in the Cluster set. For affinity, which asks about one backend without reading the set (E10).
pub const BACKEND_IN_CLUSTER: u8 = 2;
/// [`BackendV4::state`], a bit: it is in the Local set.
pub const BACKEND_IN_LOCAL: u8 = 4;

/// Value of `backends_v4` ([`crate::BACKENDS_CHUNK`] entries per inner array).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackendV4 {
    /// Address of the endpoint, network order.
    pub addr: [u8; 4],
    /// [`crate::ServiceId`] it belongs to, host order. A reader that came through another Service's word retries.
    pub service: u32,
    /// Target port, network order.
    pub port: NetPort,
    /// [`BACKEND_SERVING`], [`BACKEND_IN_CLUSTER`], [`BACKEND_IN_LOCAL`], or [`BACKEND_ABSENT`].
    pub state: u8,
    /// Spare, zero.
    pub zero: [u8; 5],
}
const _: () = assert!(size_of::<BackendV4>() == 16);

/// Value of `backends_v6` ([`crate::BACKENDS_CHUNK`] entries per inner array).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct BackendV6 {
    /// Address of the endpoint, network order.
    pub addr: [u8; 16],
    /// [`crate::ServiceId`] it belongs to, host order. A reader that came through another Service's word retries.
    pub service: u32,
    /// Target port, network order.
    pub port: NetPort,
    /// [`BACKEND_SERVING`], [`BACKEND_IN_CLUSTER`], [`BACKEND_IN_LOCAL`], or [`BACKEND_ABSENT`].
    pub state: u8,
    /// Spare, zero.
    pub zero: [u8; 9],
}
const _: () = assert!(size_of::<BackendV6>() == 32);
