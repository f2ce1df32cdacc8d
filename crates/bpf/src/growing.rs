//! A hash that grows while it is read: a map of maps with one slot. A larger hash is filled beside the one in force and takes its place
//! by one store.
//!
//! A reader finds the old hash or the new one, and both hold the same at that moment: there is one writer, and it does nothing else
//! meanwhile. The store returns after every program that may still read the old hash has ended (`maybe_wait_bpf_programs`, kernel
//! commit 1ae80cf31938), so what is written afterwards is written to the only hash there is.
//!
//! The hash in force is pinned beside the map, as `NAME-table`; for the reason see [`crate::chunks`]. One that is to take its place is
//! pinned as `NAME-next` before. Which of the two is in force the map says: it knows each by its id.
use crate::map::{Cursor, Map};
use sheave_abi::HASH_FIRST;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The one slot.
const SLOT: u32 = 0;
/// Entries copied at once.
const PIECE: usize = 4096;
/// How often the hash in force is looked for beside a writer that may be exchanging it.
const LOOKS: usize = 5;

/// The map of maps, and the hash in force.
#[derive(Debug)]
pub struct Growing<K, V> {
    pins: HashPins,
    outer: Map<u32, u32>,
    table: Map<K, V>,
    max_entries: u32,
}

/// What a growth does, in this order. A process may end before any of them, and the next one goes on from what it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Finishes or undoes what an earlier growth has left.
    Settle,
    /// Makes the larger hash, with all the old one holds.
    Fill,
    /// Pins it as the next one.
    Pin,
    /// Has it take the old one's place.
    Publish,
    /// Gives it the old one's pin.
    Adopt,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Settle, Self::Fill, Self::Pin, Self::Publish, Self::Adopt];
}

impl<K, V> Growing<K, V>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    /// Opens the map pinned at a path, to read it; to write it, if nobody else does.
    ///
    /// # Errors
    /// As bpf(2); `InvalidData` when it is a map of another shape, `NotFound` when no hash is in force.
    pub fn open(path: &Path) -> io::Result<Self> {
        let pins = HashPins::beside(path);
        let outer = Map::open(path)?;
        let table = in_force(&outer, &pins)?;
        Ok(Self { max_entries: table.max_entries()?, pins, outer, table })
    }

    /// Creates the map and its first hash and pins them; what is there already stays, and a growth on which a process has died is
    /// finished or undone. For the writer alone.
    ///
    /// # Errors
    /// As bpf(2), rename(2), unlink(2).
    pub fn create_pinned(name: &str, path: &Path) -> io::Result<()> {
        let pins = HashPins::beside(path);
        // The template has no type information, for the reason that `Chunks::create_pinned` has.
        if !path.exists() {
            let template: Map<K, V> = Map::create_hash(HASH_FIRST)?;
            Map::create_outer(name, 1, &template)?.pin(path)?;
        }
        let outer: Map<u32, u32> = Map::open(path)?;
        if outer.get(&SLOT)?.is_none() {
            // A pin that was never published is what a process left that died right here.
            remove(&pins.table)?;
            let first: Map<K, V> = Map::create_hash(HASH_FIRST)?;
            first.pin(&pins.table)?;
            outer.put(&SLOT, &first.raw_fd())?;
        }
        Self::open(path)?.settle()
    }

    /// The hash in force.
    pub fn table(&self) -> &Map<K, V> {
        &self.table
    }

    /// How many entries it has room for now.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Makes room for so many entries, unless there is.
    ///
    /// # Errors
    /// As bpf(2), rename(2), unlink(2). Nothing is lost then, and the hash in force is the old one or the new one.
    pub fn grow(&mut self, entries: u32) -> io::Result<()> {
        self.grow_unless(entries, |_| Ok(()))
    }

    /// The same; `before` is asked before each step, and when it says no, nothing more is done, as if the process had ended there.
    ///
    /// # Errors
    /// As [`Self::grow`], and what `before` says.
    pub fn grow_unless(&mut self, entries: u32, mut before: impl FnMut(Step) -> io::Result<()>) -> io::Result<()> {
        if entries <= self.max_entries {
            return Ok(());
        }
        before(Step::Settle)?;
        self.settle()?;
        before(Step::Fill)?;
        let larger = Map::create_hash(entries)?;
        copy(&self.table, &larger)?;
        before(Step::Pin)?;
        larger.pin(&self.pins.next)?;
        before(Step::Publish)?;
        self.outer.put(&SLOT, &larger.raw_fd())?;
        (self.table, self.max_entries) = (larger, entries);
        before(Step::Adopt)?;
        self.settle()
    }

    /// Makes it hold all that a hash does, in addition to what it holds.
    pub(crate) fn copy_from(&mut self, other: &Map<K, V>) -> io::Result<()> {
        let (keys, values): (Vec<K>, Vec<V>) = other.entries()?.into_iter().unzip();
        let entries = u32::try_from(keys.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        self.grow(entries.next_power_of_two())?;
        self.table.put_all(&keys, &values)
    }

    /// Gives the hash in force its own pin, and removes the other one.
    fn settle(&self) -> io::Result<()> {
        let held = self.table.id()?;
        match Map::<K, V>::open(&self.pins.next) {
            Ok(next) if next.id()? == held => std::fs::rename(&self.pins.next, &self.pins.table),
            Ok(_) => remove(&self.pins.next),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Where the hashes of a map are pinned.
#[derive(Debug)]
struct HashPins {
    table: PathBuf,
    next: PathBuf,
}

impl HashPins {
    fn beside(path: &Path) -> Self {
        let named = |suffix: &str| {
            let mut name = path.to_owned().into_os_string();
            name.push(suffix);
            name.into()
        };
        Self { table: named("-table"), next: named("-next") }
    }
}

/// The hash that the map names, by its pin. Without one it is opened by its id, which only a privileged process may.
fn in_force<K, V>(outer: &Map<u32, u32>, pins: &HashPins) -> io::Result<Map<K, V>>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    let named = || outer.get(&SLOT)?.ok_or_else(|| io::ErrorKind::NotFound.into());
    for _ in 0..LOOKS {
        let id: u32 = named()?;
        for pin in [&pins.table, &pins.next] {
            match Map::open(pin) {
                Ok(table) if table.id()? == id => return Ok(table),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    named().and_then(Map::open_id)
}

fn copy<K, V>(from: &Map<K, V>, to: &Map<K, V>) -> io::Result<()>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    let mut cursor = Cursor::default();
    loop {
        let (keys, values): (Vec<K>, Vec<V>) = from.next_entries(&mut cursor, PIECE)?.into_iter().unzip();
        if !keys.is_empty() {
            to.put_all(&keys, &values)?;
        }
        if cursor.is_start() {
            return Ok(());
        }
    }
}

fn remove(pin: &Path) -> io::Result<()> {
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
