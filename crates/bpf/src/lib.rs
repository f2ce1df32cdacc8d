//! The eBPF dataplane: `lower` and `image` are pure; `exec`, `read_back` and `attach` talk to the kernel.

pub mod apply;
pub mod attach;
mod blocks;
pub mod chunks;
pub mod cleanup;
pub mod contents;
pub mod counters;
pub mod exec;
mod file_system;
mod ids;
pub mod image;
mod interfaces;
pub mod limits;
mod link;
pub mod load;
pub mod lower;
pub mod map;
pub mod maps;
pub mod memory;
pub mod ops;
pub mod pins;
pub mod read_back;
pub mod refused;
mod set;
pub mod sweep;
mod sys;
pub mod test_run;
