//! The daemon: configuration, sync loop, source and dataplane brought together.

mod addresses;
pub mod check;
pub mod config;
mod conntrack;
mod device_facts;
mod devices;
pub mod explain;
pub mod log;
mod login;
pub mod mounts;
pub mod oom;
mod retry;
mod run;
mod said;
mod sockets;
pub mod sync;

pub use run::{RunError, run};
