//! Layouts shared by the agent (`crates/bpf`) and the kernel programs (`ebpf/`).
//!
//! Addresses and ports are in network order, ids and counters in host order; the types say which (I9). Every struct
//! derives [`zerocopy::IntoBytes`], so padding does not compile, and asserts its size, so a layout cannot change unnoticed.
//! Nothing here holds an `enum`, a `bool` or an `Option`: any byte pattern read from a map is a valid value.
//!
//! The layout of a *pinned* map is frozen within one [`LAYOUT_VERSION`]; a new layout gets a new version, and with it a
//! new pin directory beside the old one.
#![no_std]

mod affinity;
mod backend;
mod bench_select;
mod counter;
mod crc32c;
mod device;
mod flow;
mod flow_counts;
mod fragment;
mod frontend;
mod origin;
mod rules;
mod service;
mod socket;

pub use affinity::*;
pub use backend::*;
pub use bench_select::*;
pub use counter::{COUNTER_NAMES, COUNTERS, COUNTERS_MAX, Counter};
pub use crc32c::Crc32cPowers;
pub use device::*;
pub use flow::*;
pub use flow_counts::ServiceFlows;
pub use fragment::{FragmentValue, fragment_epoch};
pub use frontend::*;
pub use origin::Origin;
pub use rules::*;
pub use service::*;
pub use socket::*;

/// Part of the pin path: maps of another layout are never opened.
pub const LAYOUT_VERSION: u32 = 3;

/// Entries per inner array of the `services` map (an array of arrays that grows chunk by chunk).
pub const SERVICES_CHUNK: u32 = 1 << 14;
/// Entries per inner array of the `slots` map; also the largest block, hence the most backends one Service port can have.
pub const SLOTS_CHUNK: u32 = 1 << 16;
/// Entries per inner array of the `backends_v4` and `backends_v6` maps.
pub const BACKENDS_CHUNK: u32 = 1 << 14;
/// Inner arrays an outer map can hold: the ceiling of on-line growth.
pub const CHUNKS_MAX: u32 = 256;

/// Entries that a hash which grows on line has room for at first: `frontends_v4`, `frontends_v6` and `names`.
pub const HASH_FIRST: u32 = 1 << 12;

/// Entries of `node_addrs_v4` and `node_addrs_v6`, each.
pub const NODE_ADDRS_MAX: u32 = 1 << 14;
/// Entries of `ranges_v4` and `ranges_v6`, each.
pub const RANGES_MAX: u32 = 1 << 20;
/// Entries of `devices`.
pub const DEVICES_MAX: u32 = 1 << 14;

/// Entries of `affinity_v4` and `affinity_v6`, each: a client and a Service port.
pub const AFFINITY_MAX: u32 = 1 << 16;
/// Entries of `fragments_v4` and `fragments_v6`, each: a datagram in flight.
pub const FRAGMENTS_MAX: u32 = 1 << 13;

/// IP protocol number of TCP.
pub const IPPROTO_TCP: u8 = 6;
/// IP protocol number of UDP.
pub const IPPROTO_UDP: u8 = 17;
/// IP protocol number of SCTP.
pub const IPPROTO_SCTP: u8 = 132;

/// A port in network order.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Debug,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
)]
#[repr(transparent)]
pub struct NetPort(u16);

impl NetPort {
    /// Port zero: in a frontend key, "any port of this address".
    pub const ANY: Self = Self(0);

    /// From a port in host order.
    #[must_use]
    pub const fn from_host(port: u16) -> Self {
        Self(port.to_be())
    }

    /// The port in host order.
    #[must_use]
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0)
    }

    /// From the two bytes as they stand on the wire, read as a native integer.
    #[must_use]
    pub const fn from_wire(raw: u16) -> Self {
        Self(raw)
    }

    /// The two bytes as they stand on the wire, as a native integer.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}
