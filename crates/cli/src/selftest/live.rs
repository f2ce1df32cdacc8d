//! What is seen on stderr while the selftest runs.
use crate::output::note;
use indicatif::{ProgressBar, ProgressStyle};
use sheave_conformance::matrix::Watch;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where nobody sees a line being drawn again, one is written this often, and whenever the surroundings change.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// One line, drawn again and again on a terminal.
pub(super) struct Live {
    bar: ProgressBar,
    is_terminal: bool,
    last: Mutex<Option<(String, Instant)>>,
    interrupted: Arc<AtomicBool>,
}

impl Live {
    /// `interrupted` is set from outside, by a signal.
    pub(super) fn new(interrupted: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("invariant: a fixed template"));
        Self { bar, is_terminal: std::io::stderr().is_terminal(), last: Mutex::new(None), interrupted }
    }

    /// A case of the suite is done.
    pub(super) fn case(&self, name: &str) {
        self.say("decisions", &format!("decisions  {name}"));
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, surroundings: &str, line: &str) {
        if self.is_terminal {
            self.bar.set_message(line.to_owned());
            self.bar.tick();
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.as_ref().is_none_or(|(said, when)| said != surroundings || when.elapsed() >= LINE_EVERY);
        if due {
            note(line);
            *last = Some((surroundings.to_owned(), Instant::now()));
        }
    }
}

impl Watch for Live {
    fn progress(&self, now: &str, done: usize, of: usize) {
        self.say(now, &format!("traffic {done:5} of {of}  {now}"));
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
