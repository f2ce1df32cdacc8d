//! Events for the API server (H9): events.k8s.io/v1, one series for each object and reason.
//!
//! Nobody waits for them: what is noted goes into a bounded queue and is written when it may be. What every node of a cluster
//! would say at the same moment is said by one of them, after a random time (docs/decisions/0013-events.md).
mod budget;
mod document;
mod series;
mod writer;

pub use budget::EventPace;
pub use writer::Writer;

use sheave_core::ObjectRef;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Notes that wait for the writer (I7).
const QUEUE_MAX: usize = 256;

/// What is noted of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The object, of kind Service, EndpointSlice or Node. A Service is named `NAMESPACE/NAME`.
    pub regarding: ObjectRef,
    /// Why, in one word: `Starting`. With the object it names the series.
    pub reason: &'static str,
    /// What was being done, in one word: `Listen`.
    pub action: &'static str,
    /// Whether somebody should act.
    pub severity: Severity,
    /// For humans; what is longer than 1,024 bytes is cut.
    pub message: String,
    /// Who else would say so.
    pub witness: Witness,
}

/// An Event's `type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should act.
    Warning,
}

/// Who sees what is noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Witness {
    /// This node alone: it has a series of its own.
    Node,
    /// Every node of the cluster: one series for all of them, written by whichever comes first.
    Cluster,
}

/// What the writer is told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Note(Note),
    /// It holds no more: what was not written yet need not be.
    Withdrawn(ObjectRef, &'static str),
}

/// Takes notes; clones share the queue.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Told>,
    tally: Arc<Tally>,
}

/// What became of notes.
#[derive(Debug, Default)]
struct Tally {
    written: AtomicU64,
    dropped: AtomicU64,
}

/// A recorder, and the writer that carries out what it notes.
#[must_use]
pub fn recorder(node: &str, pace: EventPace) -> (Recorder, Writer) {
    let (queue, told) = mpsc::channel(QUEUE_MAX);
    let tally = Arc::<Tally>::default();
    (Recorder { queue, tally: Arc::clone(&tally) }, Writer::new(node, pace, told, tally))
}

impl Recorder {
    /// Notes something. Never waits: what does not fit is dropped and counted.
    pub fn note(&self, note: Note) {
        self.tell(Told::Note(note));
    }

    /// What was noted of the object for this reason holds no more.
    pub fn withdraw(&self, regarding: ObjectRef, reason: &'static str) {
        self.tell(Told::Withdrawn(regarding, reason));
    }

    /// Requests that the API server took so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.tally.written.load(Ordering::Relaxed)
    }

    /// Notes that were dropped so far: the queue was full, or the API server refused them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.tally.dropped.load(Ordering::Relaxed)
    }

    fn tell(&self, told: Told) {
        if self.queue.try_send(told).is_err() {
            self.tally.drop_one();
        }
    }
}

impl Tally {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn write_one(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }
}
