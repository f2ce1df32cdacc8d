//! What later fragments do not say (`fragments_v4` and `fragments_v6`, LRU hash): the ports of the first one, as it was seen at the
//! hook. The key is a flow's, with the identification in place of the ports, and the time in place of zeros: an identification comes
//! back sooner or later, and must not be taken for the datagram that had it before.
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `fragments_v4` and `fragments_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct FragmentValue {
    /// Source port, network order.
    pub src_port: NetPort,
    /// Destination port, network order.
    pub dst_port: NetPort,
}
const _: () = assert!(size_of::<FragmentValue>() == 4);

/// An entry counts for the epoch it was made in and for the next one: 17 to 34 s. Linux waits 30 s for the fragments of a datagram
/// (`net.ipv4.ipfrag_time`).
const EPOCH_NS_LOG2: u32 = 34;

/// What stands in a key in place of zeros, at `now_ns` of `CLOCK_MONOTONIC`, or so many epochs before.
#[must_use]
pub const fn fragment_epoch(now_ns: u64, before: u16) -> [u8; 2] {
    let [low, high, ..] = (now_ns >> EPOCH_NS_LOG2).to_le_bytes();
    u16::from_le_bytes([low, high]).wrapping_sub(before).to_le_bytes()
}
