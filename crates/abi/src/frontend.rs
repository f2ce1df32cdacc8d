//! What a client dials: keys and value of the maps `frontends_v4` and `frontends_v6` (hash, not preallocated).
//!
//! An exact key names one frontend. A key with port [`NetPort::ANY`] and protocol 0 marks an address of which sheave owns
//! every port: a new flow to a port it does not have is rejected (A2).
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of `frontends_v4`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct FrontendKeyV4 {
    /// Destination address, network order.
    pub addr: [u8; 4],
    /// Destination port, network order.
    pub port: NetPort,
    /// IP protocol number; 0 with port 0 marks the whole address.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}
const _: () = assert!(size_of::<FrontendKeyV4>() == 8);

/// Key of `frontends_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct FrontendKeyV6 {
    /// Destination address, network order.
    pub addr: [u8; 16],
    /// Destination port, network order.
    pub port: NetPort,
    /// IP protocol number; 0 with port 0 marks the whole address.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}
const _: () = assert!(size_of::<FrontendKeyV6>() == 20);

/// Value of `frontends_v4` and `frontends_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FrontendValue {
    /// [`crate::ServiceId`], host order; 0 for a whole-address entry.
    pub service: u32,
    /// Flags; none is defined in this layout version, always zero.
    pub flags: u32,
}
const _: () = assert!(size_of::<FrontendValue>() == 8);
