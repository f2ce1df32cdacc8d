//! One suite of objects and packets, put to the reference, the fake dataplane and the kernel programs: what the rules say, what
//! a plan makes of it, and what a packet meets are the same.
//!
//! `cargo test -p sheave-tests --test conformance`; `SEED=N` repeats the random worlds of a run, `WORLDS=N` asks for more.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod cases;
mod coverage;
mod random;
#[path = "../../crates/dataplane/tests/decisions/world.rs"]
mod world;

/// Why these tests need root.
const NEEDS: &str = "making namespaces and loading kernel programs needs root";
