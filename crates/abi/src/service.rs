//! The set a Service port chooses from: one aligned 64-bit word, so that a reader sees the old set or the new one.
use core::mem::{align_of, size_of};
use core::num::NonZeroU32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Kernel-side id of one family of one Service port: index into the `services` map. Zero is never a Service.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(pub NonZeroU32);

/// Value of `services` (array of arrays, [`crate::SERVICES_CHUNK`] entries each): where the set of backends stands.
///
/// Written and read as one aligned 64-bit word. `count` 0 means that there is no usable endpoint: reject (E11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct SetWord {
    /// First slot of the block in the `slots` map.
    pub block: u32,
    /// Backends in the block; the slots `block .. block + count` are valid.
    pub count: u32,
}
const _: () = assert!(size_of::<SetWord>() == 8 && align_of::<SetWord>() == 8);

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
