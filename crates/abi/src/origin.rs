//! What a translated socket dialled: value of `origins` (socket storage: it lives and dies with its socket).
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `origins`. Addresses are IPv6, IPv4 as v4-mapped, so that one layout serves sockets of both families.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct Origin {
    /// The VIP that was dialled, network order.
    pub vip: [u8; 16],
    /// The backend the socket was connected to, network order: a later connect() elsewhere makes the entry void.
    pub backend: [u8; 16],
    /// Port of the VIP, network order.
    pub vip_port: NetPort,
    /// Port of the backend, network order; zero when a later connect() made the entry void.
    pub backend_port: NetPort,
    /// Spare, zero.
    pub zero: [u8; 4],
}
const _: () = assert!(size_of::<Origin>() == 40);
