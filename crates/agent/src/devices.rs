//! The device entrance follows the node's devices: what appears is served at once, what goes is forgotten, what fails is
//! tried again. One device that fails stops no other.
use sheave_bpf::attach::{AttachError, Device, attach_device, detach_device, forget_device, pinned_devices};
use sheave_bpf::load::Programs;
use sheave_node::{Link, LinkChange, LinkWatch, WatchError, exclusion, watch_links};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

/// Until what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The devices of this node, and which of them are served.
pub(crate) struct Devices {
    watch: Watch,
    served: BTreeSet<u32>,
    /// Devices that should be served and are not, for now.
    failed: BTreeMap<u32, Link>,
    /// When to try again: the watch, or the devices that failed.
    retry_at: Instant,
    /// Indices that have pins and were not seen since the devices were listed anew: those of devices that went meanwhile.
    unseen: BTreeSet<u32>,
}

enum Watch {
    /// Not asked for yet.
    Off,
    On(LinkWatch),
    /// Broken; to be opened again.
    Lost,
}

/// Something to do about devices.
pub(crate) enum DeviceEvent {
    /// A device has changed.
    Change(LinkChange),
    /// The watch is broken.
    Lost,
    /// It is time to try again.
    Retry,
}

impl Devices {
    /// Serves nothing before [`Devices::follow`].
    pub(crate) fn new() -> Self {
        Self {
            watch: Watch::Off,
            served: BTreeSet::new(),
            failed: BTreeMap::new(),
            retry_at: Instant::now(),
            unseen: BTreeSet::new(),
        }
    }

    /// Starts to follow the devices of this network namespace, from a listing of all.
    pub(crate) fn follow(&mut self, programs: &Programs) -> Result<(), WatchError> {
        self.watch = Watch::On(watch_links()?);
        self.served.clear();
        self.failed.clear();
        self.unseen = pinned_devices(programs.links_dir()).into_iter().collect();
        Ok(())
    }

    /// What is to be done next; never ready before [`Devices::follow`]. Dropped and called again, it loses nothing.
    pub(crate) async fn next(&mut self) -> DeviceEvent {
        let retry = sleep_until(self.retry_at);
        match &mut self.watch {
            Watch::Off => pending().await,
            Watch::Lost => {
                retry.await;
                DeviceEvent::Retry
            }
            Watch::On(watch) => tokio::select! {
                change = watch.next() => match change {
                    Some(Ok(change)) => DeviceEvent::Change(change),
                    Some(Err(error)) => {
                        warn!(%error, "devices are not followed for a moment");
                        DeviceEvent::Lost
                    }
                    None => DeviceEvent::Lost,
                },
                () = retry, if !self.failed.is_empty() => DeviceEvent::Retry,
            },
        }
    }

    /// Does it.
    pub(crate) fn handle(&mut self, programs: &mut Programs, event: DeviceEvent) {
        match event {
            DeviceEvent::Change(LinkChange::Added(link) | LinkChange::Changed(link)) => self.present(programs, &link),
            DeviceEvent::Change(LinkChange::Removed(link)) => self.gone(programs, link.index.get()),
            DeviceEvent::Change(LinkChange::Settled) => {
                for index in std::mem::take(&mut self.unseen) {
                    self.gone(programs, index);
                }
                info!(devices = self.served.len(), failed = self.failed.len(), "device entrance attached");
            }
            DeviceEvent::Lost => {
                self.watch = Watch::Lost;
                self.retry_at = Instant::now() + PAUSE;
            }
            DeviceEvent::Retry => self.retry(programs),
        }
    }

    fn retry(&mut self, programs: &mut Programs) {
        self.retry_at = Instant::now() + PAUSE;
        if let Watch::Lost = self.watch {
            if let Err(error) = self.follow(programs) {
                warn!(%error, "devices cannot be followed");
            }
            return;
        }
        for link in std::mem::take(&mut self.failed).into_values() {
            self.present(programs, &link);
        }
    }

    /// Attaches to a device, also if it was served before: behind an index may stand another device by now, and a link that
    /// is what it should be is only given the program it has.
    fn present(&mut self, programs: &mut Programs, link: &Link) {
        let index = link.index.get();
        let (device, hook) = (Device { index, name: link.name.clone() }, programs.device_hook());
        self.unseen.remove(&index);
        if let Some(reason) = exclusion(link) {
            debug!(device = link.name, %reason, "device is not served");
            if self.served.remove(&index) {
                detach_device(programs, &device, hook);
            }
            return;
        }
        match attach_device(programs, &device, hook) {
            Ok(()) => {
                self.failed.remove(&index);
                if self.served.insert(index) {
                    debug!(device = link.name, index, "device is served");
                }
            }
            Err(error) if error.device_gone() => {}
            Err(error) => self.failed(link, &error),
        }
    }

    fn gone(&mut self, programs: &Programs, index: u32) {
        self.served.remove(&index);
        self.failed.remove(&index);
        forget_device(programs.links_dir(), index);
    }

    fn failed(&mut self, link: &Link, error: &AttachError) {
        warn!(device = link.name, %error, "device is not served; it is tried again");
        self.retry_at = Instant::now() + PAUSE;
        self.failed.insert(link.index.get(), link.clone());
    }
}
