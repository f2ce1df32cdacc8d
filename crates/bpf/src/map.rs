//! One map of the kernel, by file descriptor: typed reads and writes, single and in batches.
use crate::object::{self, open_pin, owned, raw};
use crate::sys::{bpf, bpf_mut};
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

const BPF_MAP_CREATE: u32 = 0;
const BPF_MAP_LOOKUP_ELEM: u32 = 1;
const BPF_MAP_UPDATE_ELEM: u32 = 2;
const BPF_MAP_DELETE_ELEM: u32 = 3;
const BPF_MAP_GET_NEXT_KEY: u32 = 4;
const BPF_MAP_GET_FD_BY_ID: u32 = 14;
const BPF_MAP_LOOKUP_BATCH: u32 = 24;
const BPF_MAP_UPDATE_BATCH: u32 = 26;

/// Entries read by one system call.
const BATCH: usize = 4096;
/// Entries to ask for at least: the kernel hands out whole buckets of a hash, and ENOSPC when the first one is longer.
const BUCKET_MAX: usize = 256;
/// Bytes of a batch's token: the longest key is 40 bytes.
const TOKEN_LEN: usize = 64;

const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
/// Memory for an entry is taken when it is written.
const BPF_F_NO_PREALLOC: u32 = 1;
/// The kernel's own errno "operation not supported" (`include/linux/errno.h`).
const ENOTSUPP: i32 = 524;

/// A map whose keys are `K` and values `V`; no per-CPU map, whose values are larger than they say.
#[derive(Debug)]
pub struct Map<K, V> {
    fd: OwnedFd,
    types: PhantomData<fn(K) -> V>,
}

/// A place in a walk over a map; the beginning, by default. It holds the kernel's token: a key for an array, a bucket's
/// number for a hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(Option<[u64; TOKEN_LEN / 8]>);

impl Cursor {
    /// Whether the walk is at its beginning, or has come to its end.
    #[must_use]
    pub fn is_start(&self) -> bool {
        self.0.is_none()
    }
}

/// Shape of a map, as the kernel reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Most entries.
    pub max_entries: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Element {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(IntoBytes, FromBytes)]
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// The head of the kernel's `struct bpf_map_info`.
#[derive(IntoBytes, FromBytes)]
#[repr(C)]
struct Info {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl<K: IntoBytes + FromBytes + Immutable, V: IntoBytes + FromBytes + Immutable> Map<K, V> {
    /// Opens a pinned map.
    ///
    /// # Errors
    /// As bpf(2); `InvalidData` when its keys or values are of another size.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_fd(open_pin(path)?)
    }

    /// Opens a map by its id, as map-in-map lookups return it.
    pub(crate) fn open_id(id: u32) -> io::Result<Self> {
        Self::from_fd(owned(bpf(BPF_MAP_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 })?))
    }

    /// Creates an array that may stand in a map of arrays with a template of the same shape.
    pub(crate) fn create_array(max_entries: u32) -> io::Result<Self> {
        Self::create("chunk", BPF_MAP_TYPE_ARRAY, max_entries, 0, 0)
    }

    /// Creates a hash that may stand in a map of maps with a template of the same shape, of whatever size (5.10, kernel commit
    /// 134fede4eecf).
    ///
    /// # Errors
    /// As bpf(2).
    pub fn create_hash(max_entries: u32) -> io::Result<Self> {
        Self::create("table", BPF_MAP_TYPE_HASH, max_entries, BPF_F_NO_PREALLOC, 0)
    }

    fn create(name: &str, map_type: u32, max_entries: u32, flags: u32, inner_map: u32) -> io::Result<Self> {
        let mut shown = [0; 16];
        // The last byte stays zero.
        shown.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
        let (key_size, value_size) = (size_u32::<K>(), size_u32::<V>());
        let attr = Create { map_type, key_size, value_size, max_entries, flags, inner_map, numa_node: 0, name: shown };
        Self::from_fd(owned(bpf(BPF_MAP_CREATE, &attr)?))
    }

    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let shape = Shape::of(&fd)?;
        if shape.key_size != size_u32::<K>() || shape.value_size != size_u32::<V>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { fd, types: PhantomData })
    }

    /// The value of a key, if there is one. A map of maps gives the id of the inner map.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn get(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::new_zeroed();
        let attr = self.element(key, std::ptr::from_mut(&mut value) as u64);
        found(bpf(BPF_MAP_LOOKUP_ELEM, &attr)).map(|found| found.map(|_| value))
    }

    /// Writes an entry. A map of maps takes the file descriptor of the inner map.
    ///
    /// # Errors
    /// As bpf(2); `E2BIG` when the map is full.
    pub fn put(&self, key: &K, value: &V) -> io::Result<()> {
        bpf(BPF_MAP_UPDATE_ELEM, &self.element(key, std::ptr::from_ref(value) as u64)).map(drop)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// As bpf(2); `ENOENT` when there is none.
    pub fn delete(&self, key: &K) -> io::Result<()> {
        bpf(BPF_MAP_DELETE_ELEM, &self.element(key, 0)).map(drop)
    }

    /// Writes entries with one system call where the kernel can (5.6), else one by one. After an error any of them may have
    /// been written.
    ///
    /// # Errors
    /// As bpf(2).
    ///
    /// # Panics
    /// When there are not as many keys as values.
    pub fn put_all(&self, keys: &[K], values: &[V]) -> io::Result<()> {
        assert_eq!(keys.len(), values.len(), "invariant: one value for each key");
        if let ([key], [value]) = (keys, values) {
            return self.put(key, value);
        }
        let mut attr = Batch {
            from: 0,
            to: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: u32::try_from(keys.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            map: self.raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        match bpf_mut(BPF_MAP_UPDATE_BATCH, &mut attr) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => {
                keys.iter().zip(values).try_for_each(|(key, value)| self.put(key, value))
            }
            result => result.map(drop),
        }
    }

    /// The key after `key`, or the first one; `None` at the end. A key that is gone starts again from the first.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn next_key(&self, key: Option<&K>) -> io::Result<Option<K>> {
        let mut next = K::new_zeroed();
        let attr = Element {
            map: self.raw_fd(),
            zero: 0,
            key: key.map_or(0, |key| std::ptr::from_ref(key) as u64),
            value: std::ptr::from_mut(&mut next) as u64,
            flags: 0,
        };
        found(bpf(BPF_MAP_GET_NEXT_KEY, &attr)).map(|found| found.map(|_| next))
    }

    /// All entries, in no order. For maps that only this process writes: a key removed meanwhile starts the walk anew.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn entries(&self) -> io::Result<Vec<(K, V)>> {
        match self.entries_in_batches() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => self.entries_one_by_one(),
            result => result,
        }
    }

    fn entries_one_by_one(&self) -> io::Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut key = self.next_key(None)?;
        while let Some(here) = key {
            key = self.next_key(Some(&here))?;
            if let Some(value) = self.get(&here)? {
                entries.push((here, value));
            }
        }
        Ok(entries)
    }

    fn entries_in_batches(&self) -> io::Result<Vec<(K, V)>> {
        let mut cursor = Cursor::default();
        let mut entries = self.next_entries(&mut cursor, BATCH)?;
        while cursor.0.is_some() {
            entries.extend(self.next_entries(&mut cursor, BATCH)?);
        }
        Ok(entries)
    }

    /// The next entries, about `count` of them (5.6); at the end the cursor starts anew. Entries that others add or remove
    /// meanwhile may be missed.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn next_entries(&self, cursor: &mut Cursor, count: usize) -> io::Result<Vec<(K, V)>> {
        let count = count.max(BUCKET_MAX);
        let mut keys: Vec<K> = (0..count).map(|_| K::new_zeroed()).collect();
        let mut values: Vec<V> = (0..count).map(|_| V::new_zeroed()).collect();
        let mut next = [0_u64; TOKEN_LEN / 8];
        let mut attr = Batch {
            from: cursor.0.as_ref().map_or(0, |from| from.as_ptr() as u64),
            to: next.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?,
            map: self.raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        // ENOENT: these were the last ones.
        let more = found(bpf_mut(BPF_MAP_LOOKUP_BATCH, &mut attr))?.is_some();
        cursor.0 = more.then_some(next);
        let got = usize::try_from(attr.count).expect("invariant: 32 bits fit");
        Ok(keys.into_iter().zip(values).take(got).collect())
    }

    pub(crate) fn raw_fd(&self) -> u32 {
        raw(&self.fd)
    }

    /// The kernel's number for this very map, as a lookup in a map of maps returns it.
    pub(crate) fn id(&self) -> io::Result<u32> {
        object::info::<Info>(&self.fd).map(|info| info.id)
    }

    /// How many entries it may have.
    pub(crate) fn max_entries(&self) -> io::Result<u32> {
        Shape::of(&self.fd).map(|shape| shape.max_entries)
    }

    /// Pins the map: it outlives this process until the file is removed.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        object::pin(&self.fd, path)
    }

    fn element(&self, key: &K, value: u64) -> Element {
        Element { map: self.raw_fd(), zero: 0, key: std::ptr::from_ref(key) as u64, value, flags: 0 }
    }
}

impl Map<u32, u32> {
    /// Creates a map of maps like `template`.
    pub(crate) fn create_outer<K, V>(name: &str, max_entries: u32, template: &Map<K, V>) -> io::Result<Self> {
        Self::create(name, BPF_MAP_TYPE_ARRAY_OF_MAPS, max_entries, 0, raw(&template.fd))
    }
}

impl Shape {
    /// The shape of a pinned map.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn of_pin(path: &Path) -> io::Result<Self> {
        Self::of(&open_pin(path)?)
    }

    fn of(fd: &OwnedFd) -> io::Result<Self> {
        let Info { map_type, key_size, value_size, max_entries, .. } = object::info(fd)?;
        Ok(Self { map_type, key_size, value_size, max_entries })
    }
}

fn size_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).expect("invariant: layouts are small")
}

fn found(result: io::Result<i32>) -> io::Result<Option<i32>> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        result => result.map(Some),
    }
}
