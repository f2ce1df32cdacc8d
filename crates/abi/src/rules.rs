//! What holds for the node as a whole: the map `rules`, its addresses in `node_addrs_v4` and `node_addrs_v6`, and prefixes in
//! `ranges_v4` and `ranges_v6`.
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`RulesValue::flags`]: everything to a ClusterIP is masqueraded (R1).
pub const RULES_MASQUERADE_ALL: u32 = 1;
/// [`RulesValue::flags`]: IPv4 sources inside `pods_v4` are pods of this node (R5).
pub const RULES_PODS_V4: u32 = 2;
/// [`RulesValue::flags`]: IPv6 sources inside `pods_v6` are pods of this node (R5).
pub const RULES_PODS_V6: u32 = 4;
/// [`RulesValue::flags`]: what comes in by a device with [`crate::DEVICE_PODS`] is from a pod of this node: the one named
/// `interface` (R5).
pub const RULES_PODS_INTERFACE: u32 = 8;
/// [`RulesValue::flags`]: the same, and `interface` is what the devices' names begin with.
pub const RULES_PODS_PREFIX: u32 = 16;

/// Value of `rules` (array of one entry). One write changes all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct RulesValue {
    /// [`RULES_MASQUERADE_ALL`] and so on.
    pub flags: u32,
    /// Pod network, network order, host bits zero.
    pub pods_v4: [u8; 4],
    /// Its mask, network order.
    pub mask_v4: [u8; 4],
    /// Pod network, network order, host bits zero.
    pub pods_v6: [u8; 16],
    /// Its mask, network order.
    pub mask_v6: [u8; 16],
    /// Name or prefix of a device, zero-filled. Programs do not read it: whom it fits [`crate::DEVICE_PODS`] says.
    pub interface: [u8; 16],
}
const _: () = assert!(size_of::<RulesValue>() == 60);

/// Value of `node_addrs_v4` and `node_addrs_v6`: the address is the node's own. Loopback is, without an entry.
pub const ADDR_OWN: u32 = 1;
/// Value of `node_addrs_v4` and `node_addrs_v6`: it accepts NodePorts (A5); for loopback read by the socket entrance only (A6).
pub const ADDR_NODE_PORTS: u32 = 2;

/// Key of `ranges_v4` (`BPF_MAP_TYPE_LPM_TRIE`; the value, a u32, is always 1): with a [`crate::ServiceId`] who may dial its
/// LoadBalancer addresses (R8), with 0 a ServiceCIDR (A3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct RangeKeyV4 {
    /// Bits that count, from `service` on: 32 and the prefix's own. Host order, as the kernel's trie wants it.
    pub prefix_len: u32,
    /// [`crate::ServiceId`] or 0, host order.
    pub service: u32,
    /// The prefix, network order.
    pub addr: [u8; 4],
}
const _: () = assert!(size_of::<RangeKeyV4>() == 12);

/// Key of `ranges_v6`, as [`RangeKeyV4`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4))]
pub struct RangeKeyV6 {
    /// Bits that count, from `service` on: 32 and the prefix's own. Host order, as the kernel's trie wants it.
    pub prefix_len: u32,
    /// [`crate::ServiceId`] or 0, host order.
    pub service: u32,
    /// The prefix, network order.
    pub addr: [u8; 16],
}
const _: () = assert!(size_of::<RangeKeyV6>() == 24);

/// Bits of [`RangeKeyV4::prefix_len`] and [`RangeKeyV6::prefix_len`] that `service` takes.
pub const RANGE_SERVICE_BITS: u32 = 32;
