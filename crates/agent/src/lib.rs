//! The daemon: configuration, sync loop, source and dataplane brought together.

pub mod check;
pub mod config;
mod devices;
pub mod explain;
pub mod mounts;
mod run;
mod said;
pub mod sync;

pub use run::{RunError, run};
