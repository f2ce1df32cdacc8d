//! Links, addresses and routes of this node, followed at run time; and its sockets, where they have to be broken.

mod address;
mod addresses;
mod feed;
mod link;
mod notice;
mod sockets;
mod table;
mod watch;

pub use addresses::{AddressWatch, watch_addresses};
pub use feed::{Subject, WatchError};
pub use link::{Exclusion, Layer, Link, LinkIndex, LinkKind, Upper, exclusion, serves};
pub use sockets::{ConnectedUdp, SocketDiag};
pub use table::LinkChange;
pub use watch::{LinkWatch, watch_links};
