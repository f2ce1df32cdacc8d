//! The API server as a source: one watch per kind.
//!
//! Not `kube::runtime::watcher`: that goes on after a line it could not read, and so loses a change for good; it reconnects
//! without a pause when a server closes watches at once; and it retries a watch that HTTP answers with 410 for ever from the
//! same version (docs/decisions/0011-watch.md). The client below it (credentials, TLS, tokens) is kube's.
mod encoding;
mod interruption;
mod kind;
mod listing;
mod own_address;
mod pause;
mod reflector;
mod stream;

use crate::{ApiClient, Pace};
use reflector::Reflector;
use sheave_core::{Event, Kind};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

/// Runs until nobody listens any more.
pub(crate) async fn run(client: &ApiClient, pace: &Pace, node: &str, events: Sender<Vec<Event>>) {
    let mut watches = JoinSet::new();
    for kind in Kind::ALL {
        let reflector = Reflector::new(client.clone(), pace.clone(), kind, node, events.clone());
        watches.spawn(reflector.run());
    }
    drop(events);
    while let Some(ended) = watches.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
