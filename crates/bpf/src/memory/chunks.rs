//! An array of arrays modelled in memory.
use sheave_abi::CHUNKS_MAX;
use std::collections::HashMap;

const E2BIG: i32 = 7;

/// What was written; the rest reads as zero.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    entries_max: u32,
    entries: HashMap<u32, T>,
}

impl<T: Copy> Chunks<T> {
    pub(super) fn new(chunk: u32) -> Self {
        Self { entries_max: chunk * CHUNKS_MAX, entries: HashMap::new() }
    }

    pub(super) fn get(&self, index: u32) -> Option<T> {
        self.entries.get(&index).copied()
    }

    pub(super) fn set(&mut self, index: u32, value: T) -> Result<(), i32> {
        if index >= self.entries_max {
            return Err(E2BIG);
        }
        self.entries.insert(index, value);
        Ok(())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, T)> {
        self.entries.iter().map(|(index, value)| (*index, *value))
    }
}
