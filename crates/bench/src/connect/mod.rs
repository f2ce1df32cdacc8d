//! `bench connect`: what a client sees, between namespaces, through a dataplane.
//!
//! ```text
//!   client (pod) ── node, with the dataplane ── fabric ── far node, which answers for every pod of the cluster
//! ```
mod client;
mod network;

pub(crate) use client::{Dial, Until, dial, rate, round_trips};
pub(crate) use network::{DEVICES, Network};
