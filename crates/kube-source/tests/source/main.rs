//! Both sources over their real transport: files on a disk, and HTTP against the API stub.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod connection;
mod events;
mod files;
mod follower;
mod hostile;
mod misbehaviour;
mod recordings;
mod replay;
mod rules;
mod tally;
mod watch;
