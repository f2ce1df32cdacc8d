//! What the agent shows of itself, asked over HTTP: health, metrics, health checks of Services. The loop is played by the test,
//! over a dataplane in memory.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod agent;
mod checks;
mod client;
mod health;
mod limits;
mod metrics;
mod servers;
