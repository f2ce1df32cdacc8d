//! Packets through the device entrance, by `BPF_PROG_TEST_RUN`: built, not blobs; verdict, bytes and the whole counter delta.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod bare;
mod bench_select;
mod bridge;
mod checksums;
mod choice;
mod clash;
mod counts;
mod egress;
mod errors;
mod foreign;
mod fragments;
mod frame;
mod limits;
mod lost;
mod many;
mod masquerade;
mod pass;
mod policies;
mod refusal;
mod rig;
mod scattered;
mod sctp;
mod sweep;
mod tables;
mod tcp;
mod udp;
mod ways;
