//! Both sources over their real transport: files on a disk, and HTTP against the API stub.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod events;
mod files;
mod follower;
mod misbehaviour;
mod rules;
mod watch;
