//! What benchmarks share.

pub mod cluster;
pub mod objects;
