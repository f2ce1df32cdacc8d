//! The two sets a Service port chooses from: one aligned 64-bit word each, so that a reader sees the old set or the new one.
use core::mem::{align_of, size_of};
use core::num::NonZeroU32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kernel-side id of one family of one Service port: index into the `services` map. Zero is never a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(pub NonZeroU32);

/// Where a set of backends stands: written and read as one aligned 64-bit word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct SetWord {
    /// First slot of the block in the `slots` map.
    pub block: u32,
    /// Backends in the block; the slots `block .. block + count` are valid.
    pub count: u32,
}
const _: () = assert!(size_of::<SetWord>() == 8 && align_of::<SetWord>() == 8);

/// [`ServiceValue::flags`]: internalTrafficPolicy is Local: its ClusterIPs pick from the local set (E4).
pub const SERVICE_INTERNAL_LOCAL: u32 = 1;
/// [`ServiceValue::flags`]: externalTrafficPolicy is Local (E5, E6).
pub const SERVICE_EXTERNAL_LOCAL: u32 = 2;
/// [`ServiceValue::flags`]: its LoadBalancer addresses take the sources in `ranges` under its id only (R8).
pub const SERVICE_RESTRICTED: u32 = 4;

/// Value of `services` (array of arrays, [`crate::SERVICES_CHUNK`] entries each): all a new flow has to know of a Service port.
///
/// One write changes all of it. A reader takes each word as it needs it: whatever it combines, the old flags with a new set
/// or the other way round, is a set that was or is in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct ServiceValue {
    /// What may be picked from all of the cluster (E1). Of none: no endpoint is usable anywhere, reject (E11).
    pub cluster: SetWord,
    /// What may be picked on this node (E2). Of none while `cluster` has some: drop (E4, E5).
    pub local: SetWord,
    /// [`SERVICE_INTERNAL_LOCAL`], [`SERVICE_EXTERNAL_LOCAL`], [`SERVICE_RESTRICTED`].
    pub flags: u32,
    /// For how many seconds after a client's last new flow its next one goes the same way (E10); 0 = each flow picks anew.
    pub affinity_s: u32,
    /// Spare, zero.
    pub zero: [u8; 8],
}
const _: () = assert!(size_of::<ServiceValue>() == 32 && align_of::<ServiceValue>() == 8);

/// Bytes of a [`ServiceNameValue`].
pub const SERVICE_NAME_LEN: usize = 248;

/// Value of `names` (hash, key [`ServiceId`] as u32): which Service port an id belongs to, for `dump` and restarts.
///
/// Text `NAMESPACE/NAME:PORT/PROTOCOL/FAMILY` in UTF-8; Kubernetes bounds each part to 63 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct ServiceNameValue {
    /// Bytes of `text` in use.
    pub len: u32,
    /// Spare, zero.
    pub zero: u32,
    /// The name, zero-filled.
    pub text: [u8; SERVICE_NAME_LEN],
}
const _: () = assert!(size_of::<ServiceNameValue>() == 256);
