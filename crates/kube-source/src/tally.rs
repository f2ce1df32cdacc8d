//! What following an API server has taken so far, kind by kind: counted where it happens, read by whoever shows it.
use sheave_core::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of all kinds. They only grow.
#[derive(Debug, Default)]
pub struct Tally([Counts; Kind::ALL.len()]);

/// The counts of one kind.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    lists: AtomicU64,
    interruptions: AtomicU64,
    bytes: AtomicU64,
}

/// The counts of one kind at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tallied {
    /// Complete lists. One is needed at the start, and one after each interruption that may have lost a change.
    pub lists: u64,
    /// Lists and watches that ended before their time; watches that the server ends when it was asked to are none.
    pub interruptions: u64,
    /// Bytes of answers, as they came out of the connection: without their headers, TLS and HTTP/2 frames.
    pub bytes: u64,
}

impl Tally {
    /// Those of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Tallied {
        let Counts { lists, interruptions, bytes } = self.counts(kind);
        let [lists, interruptions, bytes] = [lists, interruptions, bytes].map(|count| count.load(Ordering::Relaxed));
        Tallied { lists, interruptions, bytes }
    }

    pub(crate) fn counts(&self, kind: Kind) -> &Counts {
        let at = Kind::ALL.into_iter().position(|known| known == kind);
        &self.0[at.expect("invariant: all kinds are among all kinds")]
    }
}

impl Counts {
    pub(crate) fn listed(&self) {
        self.lists.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn interrupted(&self) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
