//! An in-memory Kubernetes API server for tests, demo and bench.
//!
//! It speaks what a service proxy and kubectl need: list with paging, watch with bookmarks, streaming lists, versions and
//! their compaction (410), selectors, writes with conflicts, discovery, JSON and protobuf. On request it [misbehaves](Misbehaviour) in the ways
//! real ones do. Its answers are held against recordings of a real kube-apiserver (`tests/recordings.rs`).
//!
//! An object is serialised once, when it changes; lists and watches send those bytes.

mod answer;
mod api;
mod body;
mod discovery;
mod encoding;
mod list;
mod manifests;
mod misbehaviour;
mod object;
mod protobuf;
mod query;
mod refusal;
mod resource;
mod schema;
mod selector;
mod serve;
mod store;
mod traffic;
mod watch;

pub use api::Api;
pub use encoding::{to_protobuf, to_protobuf_event};
pub use manifests::LoadError;
pub use misbehaviour::Misbehaviour;
pub use refusal::Refusal;
pub use serve::{Server, serve, serve_connection};
pub use traffic::{Request, Verb};
