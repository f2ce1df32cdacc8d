//! A map of arrays that grows chunk by chunk: index `i` stands in inner array `i / LEN`, at `i % LEN`.
//!
//! Nothing is ever swapped: a chunk is created empty and published by one store in the outer map.
//!
//! After a store in the outer map the kernel waits until every program that runs has ended (`maybe_wait_bpf_programs`, 12 ms on 6.18),
//! since 6.8 once for all stores of a batch (kernel commit 37ba5b59d6ad). So chunks that are known to be needed are published together; kernels
//! before 5.19 have no batches for maps of maps (9263dddc7b6f), and take one after the other.
//!
//! Each chunk is pinned beside the outer map, as `NAME-CHUNK`. The outer map knows it by its id, and the kernel opens a map by its
//! id only for CAP_SYS_ADMIN (`bpf_map_get_fd_by_id`), which an agent in a container need not have; for a pin CAP_BPF will do.
use crate::map::Map;
use sheave_abi::CHUNKS_MAX;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The outer map and the inner arrays opened so far.
#[derive(Debug)]
pub struct Chunks<V> {
    path: PathBuf,
    outer: Map<u32, u32>,
    inner: Vec<Option<Map<u32, V>>>,
    len: u32,
}

impl<V: IntoBytes + FromBytes + Immutable> Chunks<V> {
    /// Opens a pinned map of arrays with `len` entries each.
    ///
    /// # Errors
    /// As bpf(2); `InvalidData` when it is a map of another shape.
    pub fn open(path: &Path, len: u32) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), outer: Map::open(path)?, inner: Vec::new(), len })
    }

    /// Creates a map of arrays with `len` entries each and pins it, unless something is pinned there already.
    ///
    /// The loader's library would create it with type information in the template, and kernels 5.15 to 6.2 then refuse arrays
    /// without (`bpf_map_meta_equal` compares what they know of timers); here neither has any.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn create_pinned(name: &str, path: &Path, len: u32) -> io::Result<()> {
        if path.exists() {
            return Ok(());
        }
        let template: Map<u32, V> = Map::create_array(len)?;
        Map::create_outer(name, CHUNKS_MAX, &template)?.pin(path)
    }

    /// Writes entries; indices that lie next to each other in `keys` and share a chunk go in one batch. Chunks that are
    /// missing are created.
    ///
    /// # Errors
    /// As bpf(2); `E2BIG` beyond the last chunk.
    pub fn put_all(&mut self, indices: &[u32], values: &[V]) -> io::Result<()> {
        let len = self.len;
        let mut done = 0;
        for run in indices.chunk_by(|a, b| a / len == b / len) {
            let Some(first) = run.first() else { continue };
            let keys: Vec<u32> = run.iter().map(|index| index % len).collect();
            let here = values.get(done..done + run.len()).ok_or(io::ErrorKind::InvalidInput)?;
            self.chunk_or_new(first / len)?.put_all(&keys, here)?;
            done += run.len();
        }
        Ok(())
    }

    /// Makes the chunks that these entries stand in, where they are missing: entries of zeros.
    ///
    /// # Errors
    /// As bpf(2); `E2BIG` beyond the last chunk.
    pub fn reserve(&mut self, indices: &[u32]) -> io::Result<()> {
        let len = self.len;
        let mut runs = indices.chunk_by(|a, b| a / len == b / len).filter_map(|run| run.first());
        runs.try_for_each(|first| self.chunk_or_new(first / len).map(drop))
    }

    /// Makes all chunks below an index that are missing. Those that were made before an error stay.
    ///
    /// # Errors
    /// As bpf(2); `E2BIG` beyond the last chunk.
    pub fn reserve_below(&mut self, end: u32) -> io::Result<()> {
        let mut made = Vec::new();
        let all = (0..end.div_ceil(self.len)).try_for_each(|chunk| {
            if self.chunk(chunk)?.is_none() {
                made.push((chunk, self.create(chunk)?));
            }
            Ok(())
        });
        self.publish(made).and(all)
    }

    /// An entry; `None` where there is no chunk for it.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn get(&mut self, index: u32) -> io::Result<Option<V>> {
        let len = self.len;
        self.chunk(index / len)?.map_or(Ok(None), |chunk| chunk.get(&(index % len)))
    }

    /// All entries of a chunk, by place; `None` when there is no such chunk.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn chunk(&mut self, chunk: u32) -> io::Result<Option<&Map<u32, V>>> {
        if self.opened(chunk).is_none()
            && let Some(id) = self.outer.get(&chunk)?
        {
            *self.opened(chunk) = Some(open(&self.pin(chunk), id)?);
        }
        Ok(self.opened(chunk).as_ref())
    }

    /// How many entries a chunk has.
    #[must_use]
    pub fn chunk_len(&self) -> u32 {
        self.len
    }

    /// All entries of the chunks there are, by index.
    ///
    /// Before 6.8 (kernel commit c26f2a890139) a kernel waits for an RCU grace period, 10 ms and more, whenever the outer map is asked for
    /// an entry. So it is asked for those that have a pin, and beyond them up to the first that is not there: chunks are made in their order,
    /// and one whose pin somebody has removed stands between others.
    ///
    /// # Errors
    /// As bpf(2), and as reading a directory.
    pub fn entries(&mut self) -> io::Result<Vec<(u32, V)>> {
        let (len, pinned) = (self.len, self.pinned()?);
        let mut all = Vec::new();
        for chunk in 0..CHUNKS_MAX {
            match self.chunk(chunk)? {
                Some(map) => all.extend(map.entries()?.into_iter().map(|(place, value)| (chunk * len + place, value))),
                None if pinned.is_none_or(|last| chunk > last) => break,
                None => {}
            }
        }
        Ok(all)
    }

    /// The last chunk that has a pin.
    fn pinned(&self) -> io::Result<Option<u32>> {
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(None) };
        let prefix = format!("{}-", name.to_string_lossy());
        let mut last = None;
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name();
            let chunk = name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|chunk| chunk.parse().ok());
            last = last.max(chunk);
        }
        Ok(last)
    }

    fn chunk_or_new(&mut self, chunk: u32) -> io::Result<&Map<u32, V>> {
        if self.chunk(chunk)?.is_none() {
            let new = self.create(chunk)?;
            self.publish(vec![(chunk, new)])?;
        }
        self.chunk(chunk)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A new chunk with its pin, which nobody finds yet.
    fn create(&self, chunk: u32) -> io::Result<Map<u32, V>> {
        let new = Map::create_array(self.len)?;
        let pin = self.pin(chunk);
        // A pin that nobody has published is what a process left that died before it did.
        match std::fs::remove_file(&pin) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => new.pin(&pin)?,
        }
        Ok(new)
    }

    /// Has everybody find new chunks.
    fn publish(&mut self, made: Vec<(u32, Map<u32, V>)>) -> io::Result<()> {
        let (chunks, fds): (Vec<u32>, Vec<u32>) = made.iter().map(|(chunk, new)| (*chunk, new.raw_fd())).unzip();
        self.outer.put_all(&chunks, &fds)?;
        made.into_iter().for_each(|(chunk, new)| *self.opened(chunk) = Some(new));
        Ok(())
    }

    /// The place of a chunk among those that are open.
    fn opened(&mut self, chunk: u32) -> &mut Option<Map<u32, V>> {
        let place = usize::try_from(chunk).expect("invariant: 32 bits fit");
        if self.inner.len() <= place {
            self.inner.resize_with(place + 1, || None);
        }
        self.inner.get_mut(place).expect("invariant: resized above")
    }

    fn pin(&self, chunk: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!("-{chunk}"));
        name.into()
    }
}

/// By its pin. One that somebody has removed by hand costs a privileged process nothing.
fn open<V: IntoBytes + FromBytes + Immutable>(pin: &Path, id: u32) -> io::Result<Map<u32, V>> {
    match Map::open(pin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Map::open_id(id),
        opened => opened,
    }
}
