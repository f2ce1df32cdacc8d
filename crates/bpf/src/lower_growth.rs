//! When a hash grows: before the first entry that it has no room for, and by so much that it grows seldom.
use crate::image::Image;
use crate::ops::{Hash, MapOp};

/// A growth copies all there is: at this factor each entry is copied a third of a time on average, however many come, and the
/// buckets take 64 bytes an entry at most.
const FACTOR: u32 = 4;

/// What makes room for so many entries more, if there is none yet.
pub(crate) fn growth(image: &Image, hash: Hash, more: usize) -> Option<MapOp> {
    let (held, room) = (image.hash_entries(hash), image.room(hash));
    let needed = held.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    (more > 0 && needed > room).then(|| MapOp::Grow { hash, entries: grown(room, needed) })
}

/// The next size that is large enough.
fn grown(room: u32, needed: u32) -> u32 {
    let mut entries = room.max(1);
    while entries < needed {
        entries = entries.saturating_mul(FACTOR);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_grows_by_its_factor_as_often_as_it_takes() {
        for (room, needed, want) in [
            (0, 1, 1),
            (1 << 12, (1 << 12) + 1, 1 << 14),
            (1 << 12, (1 << 14) + 1, 1 << 16),
            (3, 13, 48),
            (1 << 30, u32::MAX, u32::MAX),
        ] {
            assert_eq!(grown(room, needed), want, "from {room} for {needed}");
        }
    }
}
