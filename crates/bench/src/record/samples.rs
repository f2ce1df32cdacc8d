//! Raw samples: every value of every round, with its unit.
use super::{Quantity, Series, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The series of a point, by quantity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(BTreeMap<Quantity, Series>);

/// One round of `sync`. What a machine cannot tell stays `None`; a quantity that one round lacks is left out of the point,
/// since a series with holes could not be paired with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncRound {
    /// Until the kernel has acknowledged and a first lookup hits; without `generation`.
    pub wall: Duration,
    /// Making the rules' text.
    pub generation: Option<Duration>,
    /// CPU time of this process.
    pub cpu_self: Option<Duration>,
    /// CPU time of the tools it started.
    pub cpu_children: Option<Duration>,
    /// System calls.
    pub syscalls: Option<u64>,
    /// Bytes handed to the kernel or to a tool.
    pub bytes_written: Option<u64>,
    /// Memory that the kernel holds for the rules, in bytes.
    pub kernel_memory_bytes: Option<u64>,
    /// Peak resident memory, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Instructions.
    pub instructions: Option<u64>,
}

/// One round of `lookup`: the mean of many repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LookupRound {
    /// Nanoseconds for each decision or packet.
    pub latency_ns: f64,
    /// Instructions for each, where the machine counts them.
    pub instructions: Option<f64>,
}

/// One round of `connect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRound {
    /// How long each connect() or round trip took that succeeded.
    pub latencies: Vec<Duration>,
    /// The median of as many connections to backends' own addresses, in turns with those.
    pub latency_of_backend: Option<Duration>,
    /// Connections that were tried.
    pub attempts: u64,
    /// Connections that failed.
    pub failures: u64,
    /// How long the round took; together with the successes it gives the rate.
    pub elapsed: Option<Duration>,
}

impl Samples {
    pub(super) fn of_sync(rounds: &[SyncRound]) -> Self {
        let time =
            |of: fn(&SyncRound) -> Option<Duration>| rounds.iter().map(|round| of(round).map(nanoseconds)).collect();
        let count =
            |of: fn(&SyncRound) -> Option<u64>| rounds.iter().map(|round| of(round).map(|n| n as f64)).collect();
        Self::of_columns([
            (Quantity::Wall, time(|round| Some(round.wall))),
            (Quantity::Generation, time(|round| round.generation)),
            (Quantity::CpuSelf, time(|round| round.cpu_self)),
            (Quantity::CpuChildren, time(|round| round.cpu_children)),
            (Quantity::Syscalls, count(|round| round.syscalls)),
            (Quantity::BytesWritten, count(|round| round.bytes_written)),
            (Quantity::KernelMemory, count(|round| round.kernel_memory_bytes)),
            (Quantity::PeakRss, count(|round| round.peak_rss_bytes)),
            (Quantity::Instructions, count(|round| round.instructions)),
        ])
    }

    pub(super) fn of_lookup(rounds: &[LookupRound]) -> Self {
        Self::of_columns([
            (Quantity::Latency, rounds.iter().map(|round| Some(round.latency_ns)).collect()),
            (Quantity::Instructions, rounds.iter().map(|round| round.instructions).collect()),
        ])
    }

    pub(super) fn of_connect(rounds: &[ConnectRound]) -> Self {
        let rate = |round: &ConnectRound| {
            let elapsed = round.elapsed.filter(|elapsed| !elapsed.is_zero())?;
            Some(round.attempts.saturating_sub(round.failures) as f64 / elapsed.as_secs_f64())
        };
        let mut samples = Self::of_columns([
            (Quantity::Attempts, rounds.iter().map(|round| Some(round.attempts as f64)).collect()),
            (Quantity::Failures, rounds.iter().map(|round| Some(round.failures as f64)).collect()),
            (Quantity::Rate, rounds.iter().map(rate).collect()),
            (
                Quantity::LatencyOfBackend,
                rounds.iter().map(|round| round.latency_of_backend.map(nanoseconds)).collect(),
            ),
        ]);
        let values: Vec<_> = rounds.iter().flat_map(|round| kept(&round.latencies)).collect();
        if !values.is_empty() {
            let count = |round: &ConnectRound| u32::try_from(round.latencies.len()).unwrap_or(u32::MAX);
            let per_round = rounds.iter().map(count).collect();
            samples.0.insert(Quantity::Latency, Series { unit: Unit::Nanoseconds, values, per_round });
        }
        samples
    }

    fn of_columns(columns: impl IntoIterator<Item = (Quantity, Option<Vec<f64>>)>) -> Self {
        let whole = columns.into_iter().filter_map(|(quantity, values)| Some((quantity, values?)));
        let kept = whole.filter(|(_, values)| !values.is_empty());
        let series = |quantity: Quantity, values| Series { unit: quantity.unit(), values, per_round: Vec::new() };
        Self(kept.map(|(quantity, values)| (quantity, series(quantity, values))).collect())
    }

    /// The series of a quantity, if it was measured.
    pub fn get(&self, quantity: Quantity) -> Option<&Series> {
        self.0.get(&quantity)
    }

    /// Every series, by quantity.
    pub fn iter(&self) -> impl Iterator<Item = (Quantity, &Series)> {
        self.0.iter().map(|(quantity, series)| (*quantity, series))
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the rounds of another run behind these. Quantities that only one of the two has are given up: the rounds of one
    /// series must be those of the next.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.retain(|quantity, _| other.0.contains_key(quantity));
        for (quantity, series) in &mut self.0 {
            series.append(&other.0[quantity]);
        }
    }
}

/// The latencies of a round as they are kept: in ascending order, to three digits, and the slowest tenth of them to two. That is
/// finer than what differs from round to round, and what came after what within a round means nothing.
fn kept(latencies: &[Duration]) -> Vec<f64> {
    let mut kept: Vec<f64> = latencies.iter().map(|time| nanoseconds(*time)).collect();
    kept.sort_by(f64::total_cmp);
    let slowest = kept.len() - kept.len() / 10;
    for (nth, value) in kept.iter_mut().enumerate() {
        *value = to_digits(*value, if nth < slowest { 3 } else { 2 });
    }
    // Rounded to fewer digits, one may come to stand below its neighbour.
    kept.sort_by(f64::total_cmp);
    kept
}

fn to_digits(value: f64, digits: usize) -> f64 {
    format!("{value:.0$e}", digits - 1).parse().unwrap_or(value)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}
