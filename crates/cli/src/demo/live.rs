//! What is seen on stderr while the demo runs, and the way out of it.
use super::ledger::Ledger;
use crate::output::note;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The demo was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; everything the demo made is removed")]
pub(crate) struct Interrupted;

/// One line that says what is going on; on a terminal it is drawn again and again, elsewhere once per phase.
pub(crate) struct Live {
    bar: ProgressBar,
    ledger: Arc<Mutex<Ledger>>,
    interrupted: Arc<AtomicBool>,
    started: Instant,
}

impl Live {
    /// Shows nothing yet. `interrupted` is set from outside, by a signal.
    pub(crate) fn new(ledger: Arc<Mutex<Ledger>>, interrupted: Arc<AtomicBool>) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("invariant: a fixed template"));
        Self { bar, ledger, interrupted, started: Instant::now() }
    }

    /// A new phase.
    pub(crate) fn phase(&self, what: &str) -> Result<(), Interrupted> {
        let line = format!("{:5.1} s  {what}", self.started.elapsed().as_secs_f64());
        if std::io::stderr().is_terminal() {
            self.bar.println(line);
        } else {
            note(&line);
        }
        self.tick()
    }

    /// Draws the line; says whether to go on.
    pub(crate) fn tick(&self) -> Result<(), Interrupted> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Interrupted);
        }
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let rates = ledger.tallies().iter().filter(|(_, tally)| tally.requests > 0);
        let shown =
            rates.map(|(name, tally)| format!("{} {}", short(name), tally.requests)).collect::<Vec<_>>().join("  ");
        self.bar.set_message(format!("{} requests, {} failures  {shown}", ledger.requests(), ledger.failures()));
        self.bar.tick();
        Ok(())
    }

    /// Lets time pass, doing `meanwhile` ten times a second.
    pub(crate) fn watch(&self, time: Duration, mut meanwhile: impl FnMut()) -> Result<(), Interrupted> {
        let end = Instant::now() + time;
        loop {
            meanwhile();
            self.tick()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Takes the line away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// `web:http v4` of `shop/web:http IPv4`.
fn short(label: &str) -> String {
    label.split_once('/').map_or(label, |(_, rest)| rest).replace("IPv", "v")
}
