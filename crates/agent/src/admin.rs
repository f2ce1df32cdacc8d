//! The admin socket: what the agent tells of itself over HTTP/1.1 on a Unix socket that only root can open.
//!
//! The loop is never held up by who asks: a connection puts its [`Request`] into a bounded queue, the loop answers it between
//! two syncs from what it owns, and what takes longer than a look (counters, flows of all Services) is read on the connection's own task.
mod client;
mod flows;
mod request;
mod route;
mod serve;
mod socket;

pub use client::{ClientError, explain, flows, service, status};
pub use request::{BadExplain, Evidence, ExplainReply, ExplainRequest, PacketQuestion, Request};
pub use socket::SocketError;

use crate::metrics::ReadCounters;
use sheave_bpf::flow_counts::FlowCounts;
use socket::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Requests that wait for the loop; who comes then is told that the agent is busy.
const BACKLOG: usize = 32;

/// The served socket. Dropping it removes it.
#[derive(Debug)]
pub struct Admin {
    requests: mpsc::Receiver<Request>,
    _served: Option<Served>,
}

#[derive(Debug)]
struct Served {
    task: JoinHandle<()>,
    _socket: Bound,
}

impl Admin {
    /// Serves at a path; counters are read anew for each answer, and flows are told if they are given. Call within a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`]: another agent is served there, or the path cannot be used.
    pub fn serve(
        path: &Path,
        counters: ReadCounters,
        flows: Option<Arc<Mutex<FlowCounts>>>,
    ) -> Result<Self, SocketError> {
        let (socket, listener) = socket::bind(path)?;
        let (sender, requests) = mpsc::channel(BACKLOG);
        let task = tokio::spawn(serve::serve(listener, serve::Handler::new(request::Loop(sender), counters, flows)));
        Ok(Self { requests, _served: Some(Served { task, _socket: socket }) })
    }

    /// No socket: nobody ever asks.
    #[must_use]
    pub fn unserved() -> Self {
        Self { requests: mpsc::channel(1).1, _served: None }
    }

    /// The next request for the loop. Dropped and called again, it loses none.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            // The server, if there is one, holds the other end as long as it lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}
