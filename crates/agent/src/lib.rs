//! The daemon: configuration, sync loop, source and dataplane brought together.

mod addresses;
pub mod check;
pub mod config;
mod device_facts;
mod devices;
pub mod explain;
pub mod leftovers;
pub mod mounts;
mod retry;
mod run;
mod said;
mod sockets;
pub mod sync;
mod takeover;

pub use run::{RunError, run};
