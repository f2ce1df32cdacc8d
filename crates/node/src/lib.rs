//! Links, addresses and routes of this node, followed at run time.

mod link;
mod notice;
mod table;
mod watch;

pub use link::{Exclusion, Layer, Link, LinkIndex, LinkKind, Upper, exclusion, serves};
pub use table::LinkChange;
pub use watch::{LinkError, LinkWatch, watch_links};
