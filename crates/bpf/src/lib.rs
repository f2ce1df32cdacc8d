//! The eBPF dataplane: `lower` and `image` are pure; `exec`, `read_back` and `attach` talk to the kernel.

pub mod apply;
mod blocks;
pub mod contents;
mod ids;
pub mod image;
pub mod limits;
pub mod lower;
pub mod maps;
pub mod memory;
pub mod ops;
pub mod refused;
mod set;
