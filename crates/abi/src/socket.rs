//! UDP sockets of the node. Those that were connected to a VIP: map `udp_sockets` (hash, key the socket's cookie, value
//! [`crate::Origin`]), so that the agent finds those of a backend that is gone (L8); an entry goes when its socket is closed.
//! Flows of those that are not connected: map `socket_flows` (LRU hash).
//!
//! A socket that is not connected names the destination with each datagram. A flow has two entries, and each holds what the other's key is made
//! of: one is found by what the socket sends to, the VIP, the other by what it receives from, the backend.
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of `socket_flows`: two for each flow. The kernel makes them in full, some 5 MB.
pub const SOCKET_FLOWS_MAX: u32 = 1 << 15;

/// Entries of `udp_sockets`. When it is full, sockets that are connected to a VIP are left to the device entrance.
pub const UDP_SOCKETS_MAX: u32 = 1 << 16;

/// [`SocketFlowKey::side`]: `addr` and `port` are those of a VIP, the value holds the backend's.
pub const SOCKET_SENDS: u8 = 0;
/// [`SocketFlowKey::side`]: `addr` and `port` are those of a backend, the value holds the VIP's.
pub const SOCKET_RECEIVES: u8 = 1;

/// Key of `socket_flows`. Addresses are IPv6, IPv4 as v4-mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct SocketFlowKey {
    /// The socket's cookie, which no other socket ever has.
    pub cookie: u64,
    /// Address of the other end, network order.
    pub addr: [u8; 16],
    /// Port of the other end, network order.
    pub port: NetPort,
    /// [`SOCKET_SENDS`] or [`SOCKET_RECEIVES`].
    pub side: u8,
    /// Always zero.
    pub zero: [u8; 5],
}
const _: () = assert!(size_of::<SocketFlowKey>() == 32);

/// Value of `socket_flows`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct SocketFlowValue {
    /// Time of the last datagram of this side, ns of `CLOCK_MONOTONIC`; up to [`crate::FLOW_SEEN_GRAIN_NS`] behind.
    pub seen_ns: u64,
    /// What the address is replaced by, network order.
    pub addr: [u8; 16],
    /// What the port is replaced by, network order.
    pub port: NetPort,
    /// Spare, zero.
    pub zero: [u8; 2],
    /// [`crate::ServiceId`] of the flow, host order.
    pub service: u32,
    /// [`crate::BackendId`] of the flow, host order.
    pub backend_id: u32,
    /// Spare, zero.
    pub spare: [u8; 4],
}
const _: () = assert!(size_of::<SocketFlowValue>() == 40);
