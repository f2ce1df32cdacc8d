//! What a translated socket dialled: value of `origins` (socket storage: it lives and dies with its socket).
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `origins`. Addresses are IPv6, IPv4 as v4-mapped, so that one layout serves sockets of both families.
///
/// A UDP socket that was never connected has one, too, without a backend: it says that `socket_flows` has entries of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Origin {
    /// The VIP that was dialled, network order.
    pub vip: [u8; 16],
    /// The backend the socket was connected to, network order: a later connect() elsewhere makes the entry void.
    pub backend: [u8; 16],
    /// Port of the VIP, network order.
    pub vip_port: NetPort,
    /// Port of the backend, network order; zero when there is none, or a later connect() made the entry void.
    pub backend_port: NetPort,
    /// [`crate::ServiceId`] it was picked for, host order.
    pub service: u32,
    /// [`crate::BackendId`] of the backend, host order: whether it serves still its entry says (L8).
    pub backend_id: u32,
    /// Spare, zero.
    pub zero: [u8; 4],
}
const _: () = assert!(size_of::<Origin>() == 48);
