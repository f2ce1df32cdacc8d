//! The devices of the node: map `devices` (hash, key ifindex as u32), kept by the agent from rtnetlink.
//!
//! A device without an entry is served all the same: no pods by name, no uplink, and masquerading takes `fallback`, key 0.
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`DeviceValue::flags`]: what comes in here is from a pod of this node, by the detector's name or prefix (R5).
pub const DEVICE_PODS: u32 = 1;
/// [`DeviceValue::flags`]: leads out of the node. Replies of flows that came in by one uplink do not leave by another.
pub const DEVICE_UPLINK: u32 = 2;
/// [`DeviceValue::flags`]: a port of a bridge, whose address is `bridge_mac`: what the bridge takes up is decided
/// here and not there, what it sends there and not here, and replies of translated flows are handed up to the stack instead of being bridged
/// past it.
pub const DEVICE_BRIDGE_PORT: u32 = 4;
/// [`DeviceValue::flags`]: packets begin with the IP header.
pub const DEVICE_NO_ETHERNET: u32 = 8;

/// Key of the entry for every device without addresses of its own.
pub const DEVICE_FALLBACK: u32 = 0;

/// Value of `devices`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct DeviceValue {
    /// [`DEVICE_PODS`] and so on.
    pub flags: u32,
    /// What the node sends from by this device, network order; zero = take that of [`DEVICE_FALLBACK`].
    pub addr_v4: [u8; 4],
    /// What the node sends from by this device, network order; zero = take that of [`DEVICE_FALLBACK`].
    pub addr_v6: [u8; 16],
    /// The device's own Ethernet address; zero without one.
    pub mac: [u8; 6],
    /// The Ethernet address of the bridge it is a port of; zero for others.
    pub bridge_mac: [u8; 6],
    /// Index of the bridge it is a port of; zero for others.
    pub bridge: u32,
    /// The network namespace of its other end, which for a pod's veth is the pod's: the node's number for it plus one; zero where
    /// there is none, or it is not known.
    pub peer_netns: u32,
    /// Spare, zero.
    pub zero: [u8; 4],
}
const _: () = assert!(size_of::<DeviceValue>() == 48);
