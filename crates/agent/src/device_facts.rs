//! What the kernel programs are told of the node's devices, kept true. An idle node writes nothing (W13).
use sheave_bpf::device_table::DeviceTable;
use sheave_bpf::maps::MapError;
use sheave_core::rules::LocalPods;
use sheave_dataplane::Room;
use sheave_node::{Link, LinkIndex, NodeAddresses, Surroundings, device_values, fallback_addresses};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tracing::{debug, info, warn};

/// The devices, their addresses, and what of them the programs were told.
pub(crate) struct DeviceFacts {
    links: BTreeMap<LinkIndex, Link>,
    /// Not known yet: nothing is told, and what was told before goes on to hold (I4).
    addresses: Option<NodeAddresses>,
    primary: Vec<IpAddr>,
    local_pods: LocalPods,
    table: DeviceTable,
    standing: Standing,
}

/// How what was told stands to what is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Told,
    /// Something may differ.
    Stale,
    /// The kernel did not take it.
    Failed,
}

impl DeviceFacts {
    /// Of a node of which nothing is known yet. The primary addresses are those that a previous process told, until the Node
    /// object has been read: without the API server the node goes on to send from the same address.
    pub(crate) fn new(table: DeviceTable, local_pods: LocalPods) -> Self {
        let primary = fallback_addresses(table.held());
        Self { links: BTreeMap::new(), addresses: None, primary, local_pods, table, standing: Standing::Stale }
    }

    /// A device as it is now.
    pub(crate) fn put(&mut self, link: Link) {
        self.links.insert(link.index, link);
        self.outdated();
    }

    /// A device is gone.
    pub(crate) fn remove(&mut self, index: LinkIndex) {
        self.links.remove(&index);
        self.outdated();
    }

    /// All devices are told anew.
    pub(crate) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// The device of an index.
    pub(crate) fn link(&self, index: LinkIndex) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The indices of all devices.
    pub(crate) fn indices(&self) -> impl Iterator<Item = LinkIndex> {
        self.links.keys().copied()
    }

    /// The addresses of the devices as they are now.
    pub(crate) fn set_addresses(&mut self, addresses: NodeAddresses) {
        self.addresses = Some(addresses);
        self.outdated();
    }

    /// The node's primary addresses.
    pub(crate) fn set_primary(&mut self, primary: Vec<IpAddr>) {
        if self.primary != primary {
            self.primary = primary;
            self.outdated();
        }
    }

    /// How full the programs' table of devices is.
    pub(crate) fn room(&self) -> Room {
        self.table.room()
    }

    /// Whether the kernel did not take what it was told last.
    pub(crate) fn failing(&self) -> bool {
        self.standing == Standing::Failed
    }

    /// Tells the programs what is different.
    pub(crate) fn tell(&mut self) {
        let Self { links, addresses: Some(addresses), primary, local_pods, table, standing } = self else { return };
        if *standing == Standing::Told {
            return;
        }
        let values = device_values(Surroundings { links, addresses, primary, local_pods });
        match table.update(&values) {
            Ok((writes, left_out)) => {
                let Room { map, max, .. } = table.room();
                for device in left_out.iter().filter_map(|index| links.get(&LinkIndex::new(*index))) {
                    warn!(
                        device = &*device.name,
                        map,
                        max,
                        "the map is full: at this device the programs masquerade as the node's primary address"
                    );
                }
                if *standing == Standing::Failed {
                    info!("the programs are told of the devices again");
                }
                debug!(devices = values.len(), writes = writes.ops, "programs are told of the devices");
                *standing = Standing::Told;
            }
            Err(error) => self.failed(&error),
        }
    }

    fn outdated(&mut self) {
        if self.standing == Standing::Told {
            self.standing = Standing::Stale;
        }
    }

    /// Says it once, until it works again.
    fn failed(&mut self, error: &MapError) {
        match self.failing() {
            false => warn!(%error, "the programs are not told of the devices as they are now; it is tried again"),
            true => debug!(%error, "the programs are still not told of the devices as they are now"),
        }
        self.standing = Standing::Failed;
    }
}
