//! The device entrance follows the node's devices: what appears is served at once, what goes is forgotten, what fails is
//! tried again. One device that fails stops no other.
use crate::device_facts::DeviceFacts;
use sheave_bpf::attach::{AttachError, Device, Header, Way, attach_way, detach_device, forget_device, pinned_devices};
use sheave_bpf::load::Programs;
use sheave_dataplane::Room;
use sheave_node::{Layer, Link, LinkChange, LinkIndex, LinkWatch, NodeAddresses, WatchError, exclusion, watch_links};
use std::collections::BTreeSet;
use std::future::pending;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

/// Until what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The devices of this node, and which of them are served.
pub(crate) struct Devices {
    watch: Watch,
    facts: DeviceFacts,
    /// Whether all devices that are there have been told. Before that nothing is attached: a device is not to be served before
    /// the programs know of it.
    settled: bool,
    served: BTreeSet<LinkIndex>,
    /// Devices that should be served and are not, for now.
    failed: BTreeSet<LinkIndex>,
    /// When to try again: the watch, what the programs are told, or the devices that failed.
    retry_at: Instant,
    /// Indices that have pins and were not looked at since the devices were listed anew.
    unseen: BTreeSet<LinkIndex>,
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
    /// Devices have changed.
    Changes(Vec<LinkChange>),
    /// The watch is broken.
    Lost,
    /// It is time to try again.
    Retry,
}

impl Devices {
    /// Serves nothing before [`Devices::follow`].
    pub(crate) fn new(facts: DeviceFacts) -> Self {
        Self {
            watch: Watch::Off,
            facts,
            settled: false,
            served: BTreeSet::new(),
            failed: BTreeSet::new(),
            retry_at: Instant::now(),
            unseen: BTreeSet::new(),
        }
    }

    /// Starts to follow the devices of this network namespace, from a listing of all.
    pub(crate) fn follow(&mut self, programs: &Programs) -> Result<(), WatchError> {
        self.watch = Watch::On(watch_links()?);
        self.settled = false;
        self.facts.forget_links();
        self.served.clear();
        self.failed.clear();
        self.unseen = pinned_devices(programs.links_dir()).into_iter().map(LinkIndex::new).collect();
        Ok(())
    }

    /// How many devices are served.
    pub(crate) fn served(&self) -> usize {
        self.served.len()
    }

    /// How full the programs' table of devices is.
    pub(crate) fn room(&self) -> Room {
        self.facts.room()
    }

    /// Whether [`Devices::follow`] has been called with success.
    pub(crate) fn followed(&self) -> bool {
        !matches!(self.watch, Watch::Off)
    }

    /// Whether every device that was there when [`Devices::follow`] was called has its programs, or cannot have them.
    pub(crate) fn settled(&self) -> bool {
        self.settled
    }

    /// What is to be done next; never ready before [`Devices::follow`]. Dropped and called again, it loses nothing.
    pub(crate) async fn next(&mut self) -> DeviceEvent {
        let retry = sleep_until(self.retry_at);
        let failing = !self.failed.is_empty() || self.facts.failing();
        match &mut self.watch {
            Watch::Off => pending().await,
            Watch::Lost => {
                retry.await;
                DeviceEvent::Retry
            }
            Watch::On(watch) => tokio::select! {
                change = watch.next() => match change {
                    Some(Ok(change)) => DeviceEvent::Changes(with_what_is_at_hand(watch, change)),
                    Some(Err(error)) => {
                        warn!(%error, "devices are not followed for a moment");
                        DeviceEvent::Lost
                    }
                    None => DeviceEvent::Lost,
                },
                () = retry, if failing => DeviceEvent::Retry,
            },
        }
    }

    /// Does it.
    pub(crate) fn handle(&mut self, programs: &mut Programs, event: DeviceEvent) {
        match event {
            DeviceEvent::Changes(changes) => self.changed(programs, changes),
            DeviceEvent::Lost => {
                self.watch = Watch::Lost;
                self.retry_at = Instant::now() + PAUSE;
            }
            DeviceEvent::Retry => self.retry(programs),
        }
    }

    /// Takes the addresses of the devices.
    pub(crate) fn set_addresses(&mut self, addresses: NodeAddresses) {
        self.facts.set_addresses(addresses);
        self.tell();
    }

    /// Takes the node's primary addresses.
    pub(crate) fn set_primary(&mut self, primary: Vec<IpAddr>) {
        self.facts.set_primary(primary);
        self.tell();
    }

    fn changed(&mut self, programs: &mut Programs, changes: Vec<LinkChange>) {
        let mut touched = BTreeSet::new();
        let mut listed = false;
        for change in changes {
            match change {
                LinkChange::Added(link) | LinkChange::Changed(link) => {
                    touched.insert(link.index);
                    self.facts.put(link);
                }
                LinkChange::Removed(link) => {
                    self.facts.remove(link.index);
                    self.gone(programs, link.index);
                }
                LinkChange::Settled => listed |= !self.settled,
            }
        }
        if listed {
            self.settled = true;
            touched.extend(self.facts.indices());
            let gone: Vec<LinkIndex> = self.unseen.iter().copied().filter(|i| self.facts.link(*i).is_none()).collect();
            gone.into_iter().for_each(|index| self.gone(programs, index));
        }
        self.tell();
        if self.settled {
            self.present(programs, touched);
        }
        if listed {
            info!(devices = self.served.len(), failed = self.failed.len(), "device entrance attached");
        }
    }

    /// Tells the programs of the devices, before they meet them.
    fn tell(&mut self) {
        if !self.settled {
            return;
        }
        self.facts.tell();
        if self.facts.failing() {
            self.retry_at = Instant::now() + PAUSE;
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
        self.tell();
        self.present(programs, self.failed.clone());
    }

    /// Attaches to devices, also if they were served before: behind an index may stand another device by now, and a link that
    /// is what it should be is only given the program it has.
    fn present(&mut self, programs: &mut Programs, indices: BTreeSet<LinkIndex>) {
        let mut links: Vec<Link> = indices.into_iter().filter_map(|index| self.facts.link(index).cloned()).collect();
        links.retain(|link| self.is_to_be_served(programs, link));
        // One way at all of them, then the other, see `attach_way`.
        for way in [Way::Egress, Way::Ingress] {
            links.retain(|link| self.attach(programs, link, way));
        }
        for Link { index, name, .. } in links {
            self.failed.remove(&index);
            if self.served.insert(index) {
                debug!(device = name, %index, "device is served");
            }
        }
    }

    /// Detaches from a device that is not.
    fn is_to_be_served(&mut self, programs: &Programs, link: &Link) -> bool {
        let pinned = self.unseen.remove(&link.index);
        let Some(reason) = exclusion(link) else { return true };
        debug!(device = link.name, %reason, "device is not served");
        self.failed.remove(&link.index);
        if self.served.remove(&link.index) || pinned {
            detach_device(programs, &device(link), programs.device_hook());
        }
        false
    }

    /// False where there is nothing more to do about it for now.
    fn attach(&mut self, programs: &mut Programs, link: &Link, way: Way) -> bool {
        let hook = programs.device_hook();
        match attach_way(programs, &device(link), hook, way) {
            Ok(()) => return true,
            Err(error) if error.device_gone() => drop(self.failed.remove(&link.index)),
            Err(error) => self.failed(link, &error),
        }
        false
    }

    fn gone(&mut self, programs: &Programs, index: LinkIndex) {
        self.unseen.remove(&index);
        self.served.remove(&index);
        self.failed.remove(&index);
        forget_device(programs.links_dir(), index.get());
    }

    /// Says it once, until it works again.
    fn failed(&mut self, link: &Link, error: &AttachError) {
        self.retry_at = Instant::now() + PAUSE;
        match self.failed.insert(link.index) {
            true => warn!(device = link.name, %error, "device is not served; it is tried again"),
            false => debug!(device = link.name, %error, "device is still not served"),
        }
    }
}

/// A change, and those that need no waiting.
fn with_what_is_at_hand(watch: &mut LinkWatch, first: LinkChange) -> Vec<LinkChange> {
    let mut changes = vec![first];
    // An error ends the watch, which the next call tells.
    while let Some(Ok(change)) = watch.at_hand() {
        changes.push(change);
    }
    changes
}

fn device(link: &Link) -> Device {
    let header = match link.layer {
        Layer::Ip => Header::Ip,
        Layer::Ethernet | Layer::Loopback | Layer::Other(_) => Header::Ethernet,
    };
    Device { index: link.index.get(), name: link.name.clone(), header }
}
