//! Watches a Kubernetes API server or manifest files and parses them to core types.
//!
//! Both sources end in one parser ([`parse`]) and speak one language ([`sheave_core::Event`]), so a manifest means the same
//! wherever it comes from. A source never reports less than it knows to be complete (I4): an interruption reports nothing.

pub mod address;
mod client;
mod config;
pub mod events;
mod field;
mod files;
mod manifest;
pub mod manifests;
pub mod parse;
mod raw;
pub mod render;
mod said;
mod shape;
mod tally;
mod watch;
mod wire;

pub use client::ApiClient;
pub use config::{KubeConfig, Pace};
pub use manifest::documents;
pub use manifests::{Manifests, ReadError};
pub use parse::{Absent, Nameless, Outcome, Parsed, object_ref};
pub use tally::{Tallied, Tally};

use sheave_core::Event;
use std::path::PathBuf;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A manifest file, or a directory of them.
    Files(PathBuf),
    /// An API server, and at what pace it is asked.
    Kube(ApiClient, Pace),
}

/// Why there is no client for an API server. A source that runs never gives up: it keeps what it reported, and retries.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No way to the API server is configured.
    #[error("no kubeconfig and no service account found; set KUBECONFIG, or name a server or manifests")]
    Infer(#[source] Box<kube::config::InferConfigError>),
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {0} cannot be used")]
    Kubeconfig(PathBuf, #[source] Box<kube::config::KubeconfigError>),
    /// The server's address is no URL.
    #[error("{0:?} is not a URL; write https://HOST:PORT")]
    Url(String),
    /// The kubeconfig asks for a proxy.
    #[error(
        "the kubeconfig asks for the proxy {0:?}, which is not served; remove `proxy-url`, and name a `server` that is reached directly"
    )]
    Proxy(String),
    /// Credentials or certificates cannot be used.
    #[error("the API client cannot be set up")]
    Client(#[source] Box<kube::Error>),
}

/// Follows a source on behalf of a node, until nobody listens any more. Events come in batches that belong together; the
/// order within and between batches is the source's.
///
/// Every kind is listed once at start, when it is complete (W12), and again after an interruption that may have lost events.
pub async fn run(source: Source, node: &str, events: Sender<Vec<Event>>) {
    match source {
        Source::Files(path) => files::run(path, node, events).await,
        Source::Kube(client, pace) => watch::run(&client, &pace, node, events).await,
    }
}

/// [`run`] as a task of its own; aborting it ends everything it started.
pub fn spawn(source: Source, node: &str, events: Sender<Vec<Event>>) -> JoinHandle<()> {
    let node = node.to_owned();
    tokio::spawn(async move { run(source, &node, events).await })
}
