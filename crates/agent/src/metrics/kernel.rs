//! What the kernel programs count, read at each scrape: one metric, as many series as there are outcomes.
use super::ReadCounters;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

const LABEL: &str = "outcome";

pub(super) struct Kernel {
    read: ReadCounters,
    /// Never counted in; it says what the metric is.
    shape: IntCounterVec,
}

impl Kernel {
    pub(super) fn new(read: ReadCounters) -> Self {
        Self { read, shape: outcomes() }
    }
}

fn outcomes() -> IntCounterVec {
    let help = "Packets and connections by what became of them in the kernel, since the maps were made";
    let opts = Opts::new("sheave_packet_outcomes_total", help);
    IntCounterVec::new(opts, &[LABEL]).expect("invariant: name and label are ours, and valid")
}

impl Collector for Kernel {
    fn desc(&self) -> Vec<&Desc> {
        self.shape.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew, so that two scrapes at a time do not add to each other.
        let outcomes = outcomes();
        (self.read)().into_iter().for_each(|(name, value)| outcomes.with_label_values(&[name]).inc_by(value));
        outcomes.collect()
    }
}
