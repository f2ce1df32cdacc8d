//! The map `devices`: what the programs know of each device of the node. The agent keeps it, outside of every plan.
use crate::load::LoadError;
use crate::map::Map;
use crate::maps::MapError;
use crate::pins::Pins;
use sheave_abi::{DEVICES_MAX, DeviceValue};
use sheave_dataplane::{Room, Writes};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

const MAP: &str = "devices";

/// The map, and what it holds.
#[derive(Debug)]
pub struct DeviceTable {
    map: Map<u32, DeviceValue>,
    held: BTreeMap<u32, DeviceValue>,
}

impl DeviceTable {
    /// Opens the map that [`crate::load::Loader`] has pinned below a BPF file system, with all an earlier run left in it.
    ///
    /// # Errors
    /// When the map is missing, of another layout, or cannot be read.
    pub fn open(bpffs: &Path) -> Result<Self, LoadError> {
        let path = Pins::new(bpffs).maps().join(MAP);
        let read = || {
            let map = Map::open(&path)?;
            let held = map.entries()?.into_iter().collect();
            Ok(Self { map, held })
        };
        read().map_err(|source| LoadError::Map { map: MAP, path: path.clone(), source })
    }

    /// What the map holds, by ifindex; under [`sheave_abi::DEVICE_FALLBACK`] what counts for devices without addresses.
    #[must_use]
    pub fn held(&self) -> &BTreeMap<u32, DeviceValue> {
        &self.held
    }

    /// How full it is.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { map: MAP, used: self.held.len() as u64, max: DEVICES_MAX.into() }
    }

    /// Makes the map hold exactly `wanted`, but for devices that find no room: those are returned, and the programs take them for
    /// devices without addresses. Only what differs is written: nothing while the node is idle.
    ///
    /// # Errors
    /// With the first write the kernel refused; the ones before it count, and the next call goes on from there.
    pub fn update(&mut self, wanted: &BTreeMap<u32, DeviceValue>) -> Result<(Writes, Vec<u32>), MapError> {
        let mut left_out = Vec::new();
        let mut writes = Writes::default();
        // Room first: a device that is gone makes it for one that came.
        let gone: Vec<u32> = self.held.keys().filter(|device| !wanted.contains_key(device)).copied().collect();
        for device in gone {
            writes.count(1);
            self.map.delete(&device).or_else(absent).map_err(failed("delete"))?;
            self.held.remove(&device);
        }
        for (device, value) in wanted {
            if !self.held.contains_key(device) && self.held.len() >= DEVICES_MAX as usize {
                left_out.push(*device);
            } else if self.held.get(device) != Some(value) {
                writes.count(1);
                self.map.put(device, value).map_err(failed("update"))?;
                self.held.insert(*device, *value);
            }
        }
        Ok((writes, left_out))
    }
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> MapError {
    move |error| MapError { map: MAP, operation, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
}
