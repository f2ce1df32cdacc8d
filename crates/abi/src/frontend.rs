//! What a client dials: keys and value of the maps `frontends_v4` and `frontends_v6` (an array of one hash,
//! not preallocated, which a larger one takes the place of).
//!
//! An exact key names one frontend. The wildcard address stands for NodePorts: such a key is looked up for a destination that
//! accepts them ([`crate::ADDR_NODE_PORTS`]) and has no exact one (X1). A key with port [`NetPort::ANY`] and protocol 0 marks an
//! address of which sheave owns every port: a new flow to a port it does not have is rejected (A2).
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

/// [`FrontendValue::kind`]: the whole address is claimed; leads to no Service.
pub const FRONTEND_ADDRESS: u8 = 0;
/// [`FrontendValue::kind`]: a ClusterIP (A1).
pub const FRONTEND_CLUSTER_IP: u8 = 1;
/// [`FrontendValue::kind`]: a NodePort (A4).
pub const FRONTEND_NODE_PORT: u8 = 2;
/// [`FrontendValue::kind`]: a LoadBalancer address (A7).
pub const FRONTEND_LOAD_BALANCER: u8 = 3;
/// [`FrontendValue::kind`]: an external IP (A10).
pub const FRONTEND_EXTERNAL_IP: u8 = 4;

/// Value of `frontends_v4` and `frontends_v6`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct FrontendValue {
    /// [`crate::ServiceId`], host order; 0 for a whole-address entry.
    pub service: u32,
    /// [`FRONTEND_ADDRESS`] to [`FRONTEND_EXTERNAL_IP`].
    pub kind: u8,
    /// Spare, zero.
    pub zero: [u8; 3],
}
const _: () = assert!(size_of::<FrontendValue>() == 8);
