//! The reference: each rule by two questions that differ in its condition and in the answer.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
mod addresses;
mod conflicts;
mod policies;
mod rewriting;
mod sources;
mod world;
