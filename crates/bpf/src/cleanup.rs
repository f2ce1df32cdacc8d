//! Removing everything sheave has put on a node: pinned links and maps, and clsact filters (H10).
use crate::attach::detach_clsact;
use crate::link::Link;
use crate::pins::Pins;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

/// What [`cleanup`] has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Pinned links: programs at sockets and devices.
    pub links: usize,
    /// Pinned maps.
    pub maps: usize,
    /// clsact filters.
    pub filters: usize,
}

/// Something could not be removed; the rest has been.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {path}: {source}; remove it by hand, then run cleanup again")]
pub struct CleanupError {
    path: PathBuf,
    source: io::Error,
}

/// Removes links first, so that no program runs without its maps, then maps of every layout version. Nothing there is
/// fine. Established flows that were translated at a device end; those translated at the socket go on.
pub fn cleanup(bpffs: &Path) -> Result<Removed, CleanupError> {
    let pins = Pins::new(bpffs);
    let mut removed =
        Removed { filters: device_names().iter().map(|name| detach_clsact(name)).sum(), ..Removed::default() };
    for version in entries(pins.root())? {
        detach(&entries(&version.join("links"))?);
        removed.links += remove_files(&version.join("links"))?;
        removed.maps += remove_files(&version.join("maps"))?;
        remove_directory(&version)?;
    }
    remove_directory(pins.root())?;
    Ok(removed)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CleanupError + '_ {
    move |source| CleanupError { path: path.to_owned(), source }
}

fn entries(root: &Path) -> Result<Vec<PathBuf>, CleanupError> {
    match std::fs::read_dir(root) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(root)(error)),
    }
}

/// So that nothing runs any more when cleanup returns. Where the kernel cannot (before 5.9), removing the pin does it.
fn detach(links: &[PathBuf]) {
    for link in links {
        let _unused = Link::open(link).and_then(|link| link.detach());
    }
}

fn remove_files(directory: &Path) -> Result<usize, CleanupError> {
    let files = entries(directory)?;
    for file in &files {
        std::fs::remove_file(file).map_err(failed(file))?;
    }
    remove_directory(directory)?;
    Ok(files.len())
}

fn remove_directory(directory: &Path) -> Result<(), CleanupError> {
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(directory)(error)),
        _ => Ok(()),
    }
}

/// Names of the devices of the calling thread's network namespace. (`/sys/class/net` shows those of whoever mounted it.)
fn device_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: no arguments; the result is checked below and freed by if_freenameindex().
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return names;
    }
    let mut entry = list;
    loop {
        // SAFETY: the array ends with an entry whose name is null, which ends this loop.
        let device = unsafe { *entry };
        if device.if_name.is_null() {
            break;
        }
        // SAFETY: a name that is not null is a C string that lives until the list is freed.
        let name = unsafe { CStr::from_ptr(device.if_name) };
        names.push(name.to_string_lossy().into_owned());
        // SAFETY: this entry was not the last one.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: `list` came from if_nameindex() and is freed once.
    unsafe { libc::if_freenameindex(list) };
    names
}
