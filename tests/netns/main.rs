//! Real sockets through the kernel programs: manifests in, packets between namespaces out. Nothing here is simulated but the
//! machines.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod addresses;
mod agent;
mod atomic;
mod bare;
mod bridge;
mod changes;
mod clsact;
mod counts;
mod devices;
mod dns;
mod growth;
mod health;
mod host_network;
mod kernel_sockets;
mod links;
mod manifests;
mod masquerade;
mod moving;
mod offloads;
mod outside;
mod paths;
mod raw;
mod refusals;
mod released;
mod restarts;
mod reuse;
mod sctp;
mod sockets;
mod world;

/// Why these tests need root.
const NEEDS: &str = "making namespaces and loading kernel programs needs root";
