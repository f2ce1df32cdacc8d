//! What a chart or a column shows: a quantity as it was sampled, or one that follows from several.
use crate::record::{ConnectOperation, Quantity, Samples, Series, Unit, Work};
use crate::stats::{Quantile, Summary, quantile};
use serde::Serialize;

/// Something to compare dataplanes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// Wall time.
    Wall,
    /// CPU time of the process and of the programs it started.
    Cpu,
    /// Making the rules' text.
    Generation,
    /// System calls.
    Syscalls,
    /// Bytes handed to the kernel or to a tool.
    BytesWritten,
    /// Memory that the kernel holds for the rules.
    KernelMemory,
    /// Peak resident memory.
    PeakRss,
    /// Instructions.
    Instructions,
    /// Of one decision, packet, connection or round trip.
    Latency,
    /// How much longer it takes than without any Service, round by round.
    Added,
    /// How much longer it takes than to a backend's own address, on the same node, round by round.
    AddedToBackend,
    /// What 1 of 100 latencies of a round exceeds.
    LatencyP99,
    /// What 1 of 1,000 latencies of a round exceeds.
    LatencyP999,
    /// Connections a second.
    Rate,
    /// Connections of a round that failed.
    Failures,
}

const SYNC: &[Measure] = &[
    Measure::Wall,
    Measure::Cpu,
    Measure::Generation,
    Measure::Syscalls,
    Measure::BytesWritten,
    Measure::KernelMemory,
    Measure::PeakRss,
    Measure::Instructions,
];
const LOOKUP: &[Measure] = &[Measure::Latency, Measure::Instructions];
const CONNECT: &[Measure] = &[
    Measure::Latency,
    Measure::Added,
    Measure::AddedToBackend,
    Measure::LatencyP99,
    Measure::LatencyP999,
    Measure::Failures,
];
const RATE: &[Measure] = &[Measure::Rate, Measure::Failures];

impl Measure {
    /// The measures of a work, the principal one first.
    pub(crate) fn of(work: Work) -> &'static [Self] {
        match work {
            Work::Sync(_) => SYNC,
            Work::Lookup(_) => LOOKUP,
            Work::Connect(ConnectOperation::Rate) => RATE,
            Work::Connect(_) => CONNECT,
        }
    }

    /// The unit of its values.
    pub(crate) fn unit(self) -> Unit {
        self.quantity().unit()
    }

    /// A few words, in lower case.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Wall => "wall time",
            Self::Cpu => "CPU time, own and of tools",
            Self::Generation => "making the rules' text",
            Self::Syscalls => "system calls",
            Self::BytesWritten => "bytes handed over",
            Self::KernelMemory => "kernel memory",
            Self::PeakRss => "peak resident memory",
            Self::Instructions => "instructions",
            Self::Latency => "latency",
            Self::Added => "latency added to that without a Service",
            Self::AddedToBackend => "latency added to that of the backend's own address",
            Self::LatencyP99 => "latency, 99th percentile",
            Self::LatencyP999 => "latency, 99.9th percentile",
            Self::Rate => "rate",
            Self::Failures => "failed connections in a round",
        }
    }

    /// The name for machines: `wall`, `kernel_memory` …
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Cpu => "cpu",
            Self::Generation => "generation",
            Self::Syscalls => "syscalls",
            Self::BytesWritten => "bytes_written",
            Self::KernelMemory => "kernel_memory",
            Self::PeakRss => "peak_rss",
            Self::Instructions => "instructions",
            Self::Latency => "latency",
            Self::Added => "added",
            Self::AddedToBackend => "added_to_backend",
            Self::LatencyP99 => "latency_p99",
            Self::LatencyP999 => "latency_p999",
            Self::Rate => "rate",
            Self::Failures => "failures",
        }
    }

    /// Whether a small value is the good one.
    pub(crate) fn is_cost(self) -> bool {
        self != Self::Rate
    }

    /// The values behind the figure that is shown; `None` when they were not measured. `floor` is what was measured in turns with them
    /// without any Service.
    pub(crate) fn summary(self, samples: &Samples, floor: Option<&Samples>) -> Option<Summary> {
        match self {
            Self::Latency => Summary::of(samples.get(Quantity::Latency)?.values.iter().copied()),
            _ => Summary::of(self.rounds(samples, floor)?),
        }
    }

    /// One value for each round, in the order of the rounds; `None` when it was not measured.
    pub(crate) fn rounds(self, samples: &Samples, floor: Option<&Samples>) -> Option<Vec<f64>> {
        let of = |quantity| samples.get(quantity).map(|series| by_round(series, Quantile::Median));
        match self {
            Self::Added => differences(&of(Quantity::Latency)??, &Self::Latency.rounds(floor?, None)?),
            Self::AddedToBackend => differences(&of(Quantity::Latency)??, &of(Quantity::LatencyOfBackend)??),
            Self::Cpu => {
                let (own, tools) = (of(Quantity::CpuSelf)??, of(Quantity::CpuChildren).flatten());
                Some(match tools.filter(|tools| tools.len() == own.len()) {
                    Some(tools) => own.iter().zip(tools).map(|(own, tools)| own + tools).collect(),
                    None => own,
                })
            }
            Self::LatencyP99 => by_round(samples.get(Quantity::Latency)?, Quantile::P99),
            Self::LatencyP999 => by_round(samples.get(Quantity::Latency)?, Quantile::P999),
            other => of(other.quantity())?,
        }
    }

    /// The quantity that it shows as it is, or that it is made from.
    fn quantity(self) -> Quantity {
        match self {
            Self::Wall => Quantity::Wall,
            Self::Cpu => Quantity::CpuSelf,
            Self::Generation => Quantity::Generation,
            Self::Syscalls => Quantity::Syscalls,
            Self::BytesWritten => Quantity::BytesWritten,
            Self::KernelMemory => Quantity::KernelMemory,
            Self::PeakRss => Quantity::PeakRss,
            Self::Instructions => Quantity::Instructions,
            Self::Latency | Self::Added | Self::AddedToBackend | Self::LatencyP99 | Self::LatencyP999 => {
                Quantity::Latency
            }
            Self::Rate => Quantity::Rate,
            Self::Failures => Quantity::Failures,
        }
    }
}

/// How much more one took than the other, round by round. Without as many rounds nobody knows which were next to each other.
fn differences(with: &[f64], without: &[f64]) -> Option<Vec<f64>> {
    let is_paired = with.len() == without.len();
    is_paired.then(|| with.iter().zip(without).map(|(with, without)| with - without).collect())
}

/// The quantile within each round; `None` when a round has too few values for it.
fn by_round(series: &Series, which: Quantile) -> Option<Vec<f64>> {
    let of = |round: &[f64]| {
        let mut round = round.to_vec();
        round.sort_by(f64::total_cmp);
        quantile(&round, which)
    };
    // A round without a value (every connection of it failed) says nothing about how long one takes.
    series.rounds().into_iter().filter(|round| !round.is_empty()).map(of).collect()
}

/// A title as the beginning of a sentence.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
