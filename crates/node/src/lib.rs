//! Devices and addresses of this node, followed at run time, and what the kernel programs need to know of them; and its sockets,
//! where they have to be broken.

mod address;
mod addresses;
mod attribute;
mod conntrack;
mod devices;
mod dump;
mod feed;
pub mod keep_nat;
pub mod kube_proxy;
mod link;
mod nf_tables;
mod notice;
mod sockets;
mod survey;
mod table;
mod watch;

pub use addresses::{AddressWatch, NodeAddresses, SourceAddr, watch_addresses};
pub use conntrack::translated_flows;
pub use devices::{Surroundings, device_values, fallback_addresses};
pub use feed::{Subject, WatchError};
pub use link::{Exclusion, Layer, Link, LinkIndex, LinkKind, NetnsId, Upper, exclusion, serves};
pub use sockets::{ConnectedUdp, SocketDiag};
pub use survey::{Chain, Filter, Survey, chains, filters, survey};
pub use table::LinkChange;
pub use watch::{LinkWatch, watch_links};
