//! The only place with `unsafe`: packets, socket contexts, maps and helpers behind safe functions.
pub mod flow_counts;
mod flow_entry;
pub mod kernel;
pub mod lookup;
pub mod maps;
pub mod packet;
mod sock_addr;
pub mod socket_flows;

pub use flow_entry::FlowEntry;
pub use packet::{Failed, Packet};
pub use sock_addr::{Closing, SockAddr, SocketOrigin};
