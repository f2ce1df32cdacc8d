//! Flows counted by Service port and by backend: values of `service_flows`, and of `backend_flows_v4` and `backend_flows_v6`, which are
//! plain `u64`. Arrays of arrays beside `services`, `backends_v4` and `backends_v6`, with chunks as long as theirs.
//!
//! They are arrays of their own because the agent writes an entry of those as a whole: what the programs count there meanwhile would be lost.
use core::mem::{align_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of `service_flows` ([`crate::SERVICES_CHUNK`] entries per inner array): what became of the new flows of one Service port since
/// its id was given to it. The programs add to it, the agent writes zeros before it gives an id to another Service port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct ServiceFlows {
    /// Flows that got a backend, each once: connections translated at the socket, and pairs entered into the flow tables.
    pub begun: u64,
    /// Packets answered, and calls of sockets that failed, because no endpoint is usable (E11).
    pub rejected: u64,
    /// Packets dropped because the policy is Local and no usable endpoint is on this node (E4, E5).
    pub no_local_endpoint: u64,
    /// Packets dropped, and calls of sockets that failed, because their source may not dial this address (R8).
    pub source_range: u64,
}
const _: () = assert!(size_of::<ServiceFlows>() == 32 && align_of::<ServiceFlows>() == 8);
