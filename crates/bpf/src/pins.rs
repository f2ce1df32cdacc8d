//! Where maps and links are pinned: `BPFFS/sheave/v3/{maps,links}/NAME`. Another layout version stands beside this one.
use sheave_abi::LAYOUT_VERSION;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The pin directories below one BPF file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pins {
    bpffs: PathBuf,
    root: PathBuf,
}

impl Pins {
    /// Below a mounted BPF file system. Creates nothing.
    #[must_use]
    pub fn new(bpffs: &Path) -> Self {
        Self { bpffs: bpffs.to_owned(), root: bpffs.join("sheave") }
    }

    /// The BPF file system, or a directory on one.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// The directory that holds all layout versions.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the maps of this layout version are.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    /// Where the links of this layout version are.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.version().join("links")
    }

    /// Claims the pins for this process, until the result is dropped or the process ends: one writer at a time.
    ///
    /// # Errors
    /// `WouldBlock` while another process has them; else as open(2).
    pub fn lock(&self) -> io::Result<File> {
        let directory = File::open(&self.root)?;
        directory.try_lock()?;
        Ok(directory)
    }

    /// Where everything of a layout version is.
    pub(crate) fn of_version(&self, version: u32) -> PathBuf {
        self.root.join(format!("v{version}"))
    }

    fn version(&self) -> PathBuf {
        self.of_version(LAYOUT_VERSION)
    }
}
