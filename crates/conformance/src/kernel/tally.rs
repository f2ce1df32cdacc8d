//! What runs must have counted: the whole change of the counters, held against what was seen of the packets.
use sheave_bpf::counters::{CounterError, Counters};
use std::collections::BTreeMap;

/// What a run did, as the first word of its counter's name has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Pass,
    Drop,
    Reject,
    Flow,
}

impl Kind {
    fn of(counter: &str) -> Option<Self> {
        match counter.split_once('_')?.0 {
            "pass" => Some(Self::Pass),
            "drop" => Some(Self::Drop),
            "reject" => Some(Self::Reject),
            "flow" => Some(Self::Flow),
            _ => None,
        }
    }
}

/// The counters as they were, and the runs since then.
#[derive(Default)]
pub(super) struct Tally {
    before: Vec<(&'static str, u64)>,
    runs: BTreeMap<Kind, u64>,
}

impl Tally {
    pub(super) fn new(counters: &Counters) -> Result<Self, CounterError> {
        Ok(Self { before: counters.read()?, runs: BTreeMap::new() })
    }

    /// A program ran.
    pub(super) fn ran(&mut self, kind: Kind) {
        *self.runs.entry(kind).or_default() += 1;
    }

    /// The counters that have moved since the last time; what is wrong where they tell of other runs than there were.
    pub(super) fn settle(&mut self, counters: &Counters) -> Result<Result<Vec<&'static str>, String>, CounterError> {
        let after = counters.read()?;
        let moved: Vec<(&str, u64)> =
            after.iter().zip(&self.before).map(|(a, b)| (a.0, a.1 - b.1)).filter(|(_, by)| *by > 0).collect();
        self.before = after;
        let runs = std::mem::take(&mut self.runs);
        let mut counted: BTreeMap<Kind, u64> = BTreeMap::new();
        for (name, by) in moved.iter().filter(|(name, _)| !name.starts_with("event_")) {
            match Kind::of(name) {
                Some(kind) => *counted.entry(kind).or_default() += by,
                None => return Ok(Err(format!("{name} was counted, which is none of a device's"))),
            }
        }
        let names = || moved.iter().map(|(name, _)| *name).collect();
        Ok(if counted == runs { Ok(names()) } else { Err(format!("{runs:?} were seen, and {moved:?} counted")) })
    }
}
