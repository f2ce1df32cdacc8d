//! Takes over what version 2 of the layout has pinned, in which frontends and names were hashes of one size for their life.
//!
//! Everything else is laid out as it was, so its pins move, and with them flows and ids (I5). The programs of before hold their maps and
//! decide by them, until `attach` exchanges them in their links. A process may end anywhere on the way: what has not moved yet moves next
//! time, and what was copied is copied again, from a hash whose pin goes last.
use crate::growing::Growing;
use crate::map::Map;
use crate::pins::Pins;
use sheave_abi::{FrontendKeyV4, FrontendKeyV6, FrontendValue, ServiceNameValue};
use std::fs;
use std::io;
use std::path::Path;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The version before this one.
const BEFORE: u32 = 2;

/// Moves the pins of the version before to those of this one, whose directories are there. Nothing there is fine. For the writer alone.
pub(crate) fn take_over(pins: &Pins) -> io::Result<()> {
    let before = pins.of_version(BEFORE);
    let (from, to) = (before.join("maps"), pins.maps());
    if !before.exists() {
        return Ok(());
    }
    refill::<FrontendKeyV4, FrontendValue>("frontends_v4", &from, &to)?;
    refill::<FrontendKeyV6, FrontendValue>("frontends_v6", &from, &to)?;
    refill::<u32, ServiceNameValue>("names", &from, &to)?;
    move_all(&from, &to)?;
    move_all(&before.join("links"), &pins.links())?;
    fs::remove_dir(&before)
}

/// Copies a hash into one that grows, then removes its pin.
fn refill<K, V>(map: &str, from: &Path, to: &Path) -> io::Result<()>
where
    K: IntoBytes + FromBytes + Immutable,
    V: IntoBytes + FromBytes + Immutable,
{
    let old = match Map::<K, V>::open(&from.join(map)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let path = to.join(map);
    Growing::<K, V>::create_pinned(map, &path)?;
    Growing::open(&path)?.copy_from(&old)?;
    fs::remove_file(from.join(map))
}

fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    fs::remove_dir(from)
}
