//! What benchmarks share.

pub mod cluster;
