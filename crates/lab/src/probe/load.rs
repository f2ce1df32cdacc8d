//! Many clients at a steady pace.
use super::Target;
use super::client::{Client, Dialler, Held};
use super::outcome::Outcome;
use crate::sandbox::SandboxError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Outcomes that wait for their reader; clients pause when there are more.
const BACKLOG: usize = 4096;

/// How a client of a load goes about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Manner {
    /// A socket for each request.
    Fresh,
    /// One connection for all of them; its first failure is its last request.
    Held,
}

/// One client of a load.
#[derive(Clone)]
pub struct Caller {
    /// Who.
    pub client: Client,
    /// Whom it dials.
    pub target: Target,
    /// How.
    pub manner: Manner,
}

/// One request of a load.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The caller's place in the list.
    pub caller: usize,
    /// Whom it dialled.
    pub target: Target,
    /// When it began.
    pub started: Instant,
    /// When its outcome was known.
    pub finished: Instant,
    /// What became of it.
    pub outcome: Outcome,
}

/// A running load; told to stop when dropped.
pub struct Load {
    signal: Arc<Signal>,
}

#[derive(Default)]
struct Signal {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Load {
    /// Starts the callers, each with a request every `interval`, evenly out of step. A request that takes longer delays the
    /// caller's next one; none is made up for. The receiver ends when all callers have: read it to the end after
    /// [`Load::stop`], or drop it.
    ///
    /// # Errors
    /// The machine has no thread left; the callers that run already stop.
    pub fn start(callers: Vec<Caller>, interval: Duration) -> Result<(Self, Receiver<Sample>), SandboxError> {
        let load = Self { signal: Arc::default() };
        let (sink, samples) = sync_channel(BACKLOG);
        let count = u32::try_from(callers.len()).unwrap_or(u32::MAX);
        let start = Instant::now();
        for (number, caller) in callers.into_iter().enumerate() {
            let offset = interval / count.max(1) * u32::try_from(number).unwrap_or(u32::MAX);
            let (signal, sink) = (load.signal.clone(), sink.clone());
            let Caller { client, target, manner } = caller;
            let calls = Calls { number, dialler: client.dialler(), target, manner, held: None };
            client.sandbox().start("probe-load", move || calls.run(start + offset, interval, &signal, &sink))?;
        }
        Ok((load, samples))
    }

    /// Tells the callers to stop. A request that is under way is still finished and reported.
    pub fn stop(&self) {
        *self.signal.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.signal.changed.notify_all();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Signal {
    /// Waits until `due`; `false` if the load is to stop.
    fn wait_until(&self, due: Instant) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = due.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(stopped, pause, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A caller without its sandbox: a thread that held its own sandbox would keep the cluster from ending.
struct Calls {
    number: usize,
    dialler: Dialler,
    target: Target,
    manner: Manner,
    held: Option<Held>,
}

impl Calls {
    fn run(mut self, first: Instant, interval: Duration, signal: &Signal, sink: &SyncSender<Sample>) {
        let mut due = first;
        while signal.wait_until(due) {
            let started = Instant::now();
            let outcome = self.request();
            let finished = Instant::now();
            let over = self.manner == Manner::Held && outcome.is_err();
            let sample = Sample { caller: self.number, target: self.target, started, finished, outcome };
            if sink.send(sample).is_err() || over {
                return;
            }
            due = (due + interval).max(finished);
        }
    }

    fn request(&mut self) -> Outcome {
        match (self.manner, &mut self.held) {
            (Manner::Fresh, _) => self.dialler.request(self.target),
            (Manner::Held, Some(held)) => held.round_trip(),
            (Manner::Held, none) => none.insert(self.dialler.hold(self.target)?).round_trip(),
        }
    }
}
