//! Reads the kernel programs' counters.
use crate::pins::Pins;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use sheave_abi::COUNTER_NAMES;
use std::path::Path;

/// The pinned counters, open for reading.
pub struct Counters(PerCpuArray<MapData, u64>);

/// The counters cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the map counters: {0}")]
pub struct CounterError(#[from] MapError);

impl Counters {
    /// Opens the counters that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// When there is no such pin.
    pub fn open(bpffs: &Path) -> Result<Self, CounterError> {
        let map = MapData::from_pin(Pins::new(bpffs).maps().join("counters"))?;
        Ok(Self(PerCpuArray::try_from(Map::PerCpuArray(map))?))
    }

    /// Every counter with its name, summed over all processors.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn read(&self) -> Result<Vec<(&'static str, u64)>, CounterError> {
        let sum = |(index, name): (u32, &&'static str)| {
            let values = self.0.get(&index, 0)?;
            Ok((*name, values.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value))))
        };
        (0..).zip(COUNTER_NAMES).map(sum).collect()
    }
}
