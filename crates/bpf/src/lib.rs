//! The eBPF dataplane: `lower` and `image` are pure; `exec`, `read_back` and `attach` talk to the kernel.

pub mod maps;
pub mod ops;
