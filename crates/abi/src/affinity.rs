//! Where a client's next flow goes (E10): `affinity_v4` and `affinity_v6` (LRU hash), written by both entrances.
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `affinity_v4`: one entry for all frontends of a Service port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct AffinityKeyV4 {
    /// The client's address, network order. The wildcard address stands for the node itself.
    pub client: [u8; 4],
    /// [`crate::ServiceId`], host order.
    pub service: u32,
}
const _: () = assert!(size_of::<AffinityKeyV4>() == 8);

/// Key of `affinity_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct AffinityKeyV6 {
    /// The client's address, network order. The wildcard address stands for the node itself.
    pub client: [u8; 16],
    /// [`crate::ServiceId`], host order.
    pub service: u32,
}
const _: () = assert!(size_of::<AffinityKeyV6>() == 20);

/// Value of `affinity_v4` and `affinity_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct AffinityValue {
    /// Time of the client's last new flow, ns of `CLOCK_MONOTONIC`.
    pub seen_ns: u64,
    /// [`crate::BackendId`] it went to, host order. It counts only while that backend is the Service's and in the set.
    pub backend: u32,
    /// Spare, zero.
    pub zero: u32,
}
const _: () = assert!(size_of::<AffinityValue>() == 16);
