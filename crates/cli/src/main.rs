//! The one binary: sheave.
fn main() {}
