//! What has been noted and written, by series. No I/O and no clock: time and chance are parameters.
use super::document::Place;
use super::{EventPace, Note, Told, Witness};
use sheave_core::ObjectRef;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Series that are remembered (I7). A new one takes the place of one that has nothing to say.
pub(super) const SERIES_MAX: usize = 256;
/// Attempts to write one note.
const ATTEMPTS_MAX: u32 = 4;

/// All series of this process.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<(ObjectRef, &'static str), Series>);

#[derive(Debug)]
struct Series {
    note: Note,
    place: Place,
    /// Observed and not written yet.
    unwritten: u64,
    /// When to write; `None` while there is nothing to.
    due: Option<Instant>,
    /// When it was last written or found written.
    written: Option<Instant>,
    standing: Standing,
    attempts: u32,
}

/// Whose series it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Not known: the Event is to be created.
    New,
    /// Ours: we count on.
    Ours,
    /// Another node wrote it and counts on.
    Others,
}

/// Something to be written now.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) note: Note,
    pub(super) place: Place,
    pub(super) standing: Standing,
    /// How often it was observed since it was last written.
    pub(super) observed: u64,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It is there, and this is whose it is.
    Written(Standing),
    /// The Event is gone: it is to be created anew.
    Gone,
    /// It may go well later, not before this.
    Later(Duration),
    /// It will not.
    Refused,
}

impl Book {
    /// Takes in what was told. False if there was no room for it.
    pub(super) fn take(&mut self, told: Told, node: &str, pace: &EventPace, now: Instant) -> bool {
        match told {
            Told::Note(note) => self.note(note, node, pace, now),
            Told::Withdrawn(regarding, reason) => {
                if let Some(series) = self.0.get_mut(&(regarding, reason)) {
                    (series.unwritten, series.due) = (0, None);
                }
                true
            }
        }
    }

    fn note(&mut self, note: Note, node: &str, pace: &EventPace, now: Instant) -> bool {
        let key = (note.regarding.clone(), note.reason);
        if !self.0.contains_key(&key) && !self.make_room() {
            return false;
        }
        let place = Place::of(&note, node);
        let fresh = || Series {
            place,
            note: note.clone(),
            unwritten: 0,
            due: None,
            written: None,
            standing: Standing::New,
            attempts: 0,
        };
        let series = self.0.entry(key).or_insert_with(fresh);
        series.note = note;
        series.unwritten += 1;
        let spread = match series.note.witness {
            Witness::Node => pace.node_spread,
            Witness::Cluster => pace.cluster_spread,
        };
        let earliest = series.written.map_or(now, |written| now.max(written + pace.repeat_min));
        if series.standing != Standing::Others {
            series.due.get_or_insert_with(|| earliest + spread.mul_f64(fastrand::f64()));
        } else if earliest == now {
            // The other node may be gone, and the Event with it: it is looked at again as if it were new.
            series.standing = Standing::New;
            series.due = Some(now + spread.mul_f64(fastrand::f64()));
        }
        true
    }

    fn make_room(&mut self) -> bool {
        if self.0.len() < SERIES_MAX {
            return true;
        }
        let idle = self.0.iter().filter(|(_, series)| series.due.is_none());
        let oldest = idle.min_by_key(|(_, series)| series.written).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.0.remove(&key).is_some())
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().filter_map(|series| series.due).min()
    }

    /// The one that has been due for the longest time.
    pub(super) fn due(&self, now: Instant) -> Option<Due> {
        let due = self.0.values().filter(|series| series.due.is_some_and(|due| due <= now));
        due.min_by_key(|series| series.due).map(|series| Due {
            note: series.note.clone(),
            place: series.place.clone(),
            standing: series.standing,
            // The Event itself stands for the first one.
            observed: if series.standing == Standing::New { 1 } else { series.unwritten },
        })
    }

    /// Notes what became of something that was due. False if it is given up.
    pub(super) fn settle(&mut self, due: &Due, outcome: Outcome, pace: &EventPace, now: Instant) -> bool {
        let Some(series) = self.0.get_mut(&(due.note.regarding.clone(), due.note.reason)) else { return true };
        match outcome {
            Outcome::Written(standing) => {
                // What was observed while it was written waits for its turn.
                series.unwritten = series.unwritten.saturating_sub(due.observed);
                (series.standing, series.written, series.attempts) = (standing, Some(now), 0);
                if standing == Standing::Others {
                    series.unwritten = 0;
                }
                series.due = (series.unwritten > 0).then(|| now + pace.repeat_min);
                true
            }
            Outcome::Gone => {
                series.standing = Standing::New;
                series.due = Some(now);
                series.retry(pace, now, Duration::ZERO)
            }
            Outcome::Later(wait) => series.retry(pace, now, wait),
            Outcome::Refused => {
                series.give_up(now);
                false
            }
        }
    }
}

impl Series {
    fn retry(&mut self, pace: &EventPace, now: Instant, wait: Duration) -> bool {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX {
            self.give_up(now);
            return false;
        }
        let backoff = pace.retry_min * 2_u32.pow(self.attempts - 1);
        self.due = Some(now + wait.max(backoff.mul_f64(0.5 + fastrand::f64())));
        true
    }

    /// Until it is noted again, and not soon after.
    fn give_up(&mut self, now: Instant) {
        (self.unwritten, self.due, self.written, self.attempts) = (0, None, Some(now), 0);
    }
}
