//! What later fragments do not say (`fragments_v4` and `fragments_v6`, LRU hash): the ports of the first one, as it was seen at the
//! hook. The key is a flow's, with the identification in place of the ports.
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
