//! What is seen on stderr while the bench runs.
use crate::output::note;
use indicatif::{ProgressBar, ProgressStyle};
use sheave_bench::run::Watch;
use std::cell::Cell;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where nobody sees a line being drawn again, one is written this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// One line, drawn again and again on a terminal.
pub(super) struct Live {
    bar: ProgressBar,
    is_terminal: bool,
    last: Cell<Option<Instant>>,
    interrupted: Arc<AtomicBool>,
}

impl Live {
    /// `interrupted` is set from outside, by a signal.
    pub(super) fn new(interrupted: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("invariant: a fixed template"));
        Self { bar, is_terminal: std::io::stderr().is_terminal(), last: Cell::new(None), interrupted }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Live {
    fn say(&self, line: &str) {
        if self.is_terminal {
            self.bar.println(line);
        } else {
            note(line);
        }
    }

    fn progress(&self, now: &str, done: f64, left: Option<Duration>) {
        let left = left.map_or_else(String::new, |left| format!(", about {} left", told(left)));
        let line = format!("{:3.0} %{left}  {now}", done * 100.0);
        if self.is_terminal {
            self.bar.set_message(line);
            self.bar.tick();
        } else if self.last.get().is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            note(&line);
            self.last.set(Some(Instant::now()));
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// `45 s`, `12 min`.
fn told(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 90 => format!("{seconds} s"),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}
