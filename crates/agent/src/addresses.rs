//! The node's own addresses, whatever becomes of the watch.
use crate::retry::Retry;
use sheave_node::{AddressWatch, NodeAddresses, WatchError, watch_addresses};
use tracing::{debug, info, warn};

/// Follows the node's own addresses; a watch that breaks is opened again, later each time.
#[derive(Default)]
pub(crate) struct Addresses {
    watch: Option<AddressWatch>,
    retry: Retry,
}

impl Addresses {
    /// All of them, at first and whenever they are others. Dropped before it is ready and called again, it loses nothing.
    /// While they cannot be read it is not ready: what was told last goes on to hold (I4).
    pub(crate) async fn next(&mut self) -> NodeAddresses {
        loop {
            match self.attempt().await {
                Ok(addresses) => {
                    if self.retry.failing() {
                        info!("addresses of the node are followed again");
                    }
                    self.retry.succeeded();
                    return addresses;
                }
                Err(error) => self.lost(&error),
            }
        }
    }

    async fn attempt(&mut self) -> Result<NodeAddresses, WatchError> {
        if let Some(watch) = &mut self.watch {
            return watch.next().await;
        }
        if self.retry.failing() {
            self.retry.wait().await;
        }
        self.watch.insert(watch_addresses()?).next().await
    }

    /// Says it once, until it works again.
    fn lost(&mut self, error: &WatchError) {
        match self.retry.failing() {
            false => warn!(%error, "addresses of the node are not followed for a while; it is tried again"),
            true => debug!(%error, "addresses of the node are still not followed"),
        }
        self.watch = None;
        self.retry.failed();
    }
}
