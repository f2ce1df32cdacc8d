//! The device entrance follows the node's devices: what appears is served at once, what goes is forgotten.
use sheave_bpf::attach::{AttachError, Device, attach_device, forget_device, pinned_devices};
use sheave_bpf::load::Programs;
use sheave_node::{Link, LinkChange, LinkError, LinkWatch, exclusion, watch_links};
use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Links that cannot be followed are followed anew after this time.
const PAUSE: Duration = Duration::from_secs(1);

/// The devices of this node, and which of them are served.
pub(crate) struct Devices {
    watch: Option<LinkWatch>,
    served: BTreeSet<u32>,
    /// Indices that have pins from an earlier run and were not seen yet; `None` once they have been looked at.
    leftover: Option<BTreeSet<u32>>,
}

impl Devices {
    /// Serves nothing before [`Devices::follow`].
    pub(crate) fn new() -> Self {
        Self { watch: None, served: BTreeSet::new(), leftover: None }
    }

    /// Starts to follow the devices of this network namespace.
    pub(crate) fn follow(&mut self, programs: &Programs) -> Result<(), LinkError> {
        self.watch = Some(watch_links()?);
        self.leftover = Some(pinned_devices(programs.links_dir()).into_iter().collect());
        Ok(())
    }

    /// The next change; never, before [`Devices::follow`]. Safe to drop and call again.
    pub(crate) async fn changed(&mut self) -> Option<LinkChange> {
        let Some(watch) = &mut self.watch else { return pending().await };
        match watch.next().await {
            Some(Ok(change)) => Some(change),
            Some(Err(error)) => {
                warn!(%error, "devices are not followed for a moment");
                None
            }
            None => {
                tokio::time::sleep(PAUSE).await;
                self.watch = watch_links().inspect_err(|error| warn!(%error, "devices cannot be followed")).ok();
                None
            }
        }
    }

    /// Attaches to a device that is new or has changed, forgets one that has gone. One device that fails stops no other.
    pub(crate) fn apply(&mut self, programs: &mut Programs, change: &LinkChange) {
        match change {
            LinkChange::Added(link) | LinkChange::Changed(link) => self.present(programs, link),
            LinkChange::Removed(link) => {
                self.served.remove(&link.index.get());
                forget_device(programs.links_dir(), link.index.get());
            }
            LinkChange::Settled => {
                for index in self.leftover.take().into_iter().flatten() {
                    forget_device(programs.links_dir(), index);
                }
            }
        }
    }

    fn present(&mut self, programs: &mut Programs, link: &Link) {
        let index = link.index.get();
        if let Some(reason) = exclusion(link) {
            debug!(device = link.name, %reason, "device is not served");
            if self.served.remove(&index) {
                forget_device(programs.links_dir(), index);
            }
            return;
        }
        if let Some(leftover) = &mut self.leftover {
            leftover.remove(&index);
        }
        if self.served.contains(&index) {
            return;
        }
        let hook = programs.device_hook();
        match attach_device(programs, &Device { index, name: link.name.clone() }, hook) {
            Ok(()) => {
                self.served.insert(index);
                debug!(device = link.name, index, "device is served");
            }
            Err(error) if error.device_gone() => {}
            Err(error) => self.failed(link, &error),
        }
    }

    fn failed(&self, link: &Link, error: &AttachError) {
        // The next change of the device tries again; meanwhile its pods are served at the socket only.
        warn!(device = link.name, served = self.served.len(), %error, "device is not served");
    }

    /// Logs how many devices are served.
    pub(crate) fn report(&self) {
        info!(devices = self.served.len(), "device entrance attached");
    }
}
