//! The daemon: configuration, sync loop, source and dataplane brought together.

mod addresses;
pub mod admin;
mod announce;
pub mod arrivals;
pub mod check;
pub mod config;
mod configz;
pub mod conntrack;
mod device_facts;
mod devices;
pub mod explain;
pub mod health;
mod http;
pub mod leftovers;
pub mod log;
mod login;
pub mod metrics;
pub mod monitor;
pub mod mounts;
pub mod oom;
mod retry;
mod run;
mod said;
mod sockets;
mod standing;
pub mod status;
pub mod sync;
mod takeover;

pub use run::{RunError, run};
