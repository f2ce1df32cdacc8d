//! `bench connect`: what a client sees, between namespaces, through a dataplane.
//!
//! ```text
//!   client (pod) ── node, with the dataplane ── fabric ── far node, which answers for every pod of the cluster
//! ```
mod client;
mod network;

pub(crate) use client::{Dial, Target, Until, dial, dial_beside_backends, rate, round_trips};
pub(crate) use network::{DEVICES, Network};
