//! What runs must have counted: the whole change of the counters by name, held against what was seen of the packets.
use sheave_bpf::counters::{CounterError, Counters};
use std::collections::BTreeMap;

/// What may be counted for a packet that was thrown away: the rules know several reasons, and a packet shows none.
const DROPS: [&str; 4] = ["drop_source_range", "drop_unallocated", "drop_no_local_endpoint", "drop_no_route"];
/// Besides a packet's own outcome: of two flows one gets another port.
const EVENTS: [&str; 1] = ["event_port_taken"];

/// What a run was seen to do, and so which counter it moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Mark {
    /// This one.
    Exactly(&'static str),
    /// One of [`DROPS`]: the same one for each packet of a kind.
    Dropped,
}

/// The counters as they were, and the runs since then.
#[derive(Default)]
pub(super) struct Tally {
    before: Vec<(&'static str, u64)>,
    runs: BTreeMap<Mark, u64>,
}

impl Tally {
    pub(super) fn new(counters: &Counters) -> Result<Self, CounterError> {
        Ok(Self { before: counters.read()?, runs: BTreeMap::new() })
    }

    /// A program ran.
    pub(super) fn ran(&mut self, mark: Mark) {
        *self.runs.entry(mark).or_default() += 1;
    }

    /// The counters that have moved since the last time; what is wrong where they tell of other runs than there were.
    pub(super) fn settle(&mut self, counters: &Counters) -> Result<Result<Vec<&'static str>, String>, CounterError> {
        let after = counters.read()?;
        let moved: Vec<(&str, u64)> =
            after.iter().zip(&self.before).map(|(a, b)| (a.0, a.1 - b.1)).filter(|(_, by)| *by > 0).collect();
        self.before = after;
        let runs = std::mem::take(&mut self.runs);
        let names = || moved.iter().map(|(name, _)| *name).collect();
        Ok(if fits(&runs, &moved) { Ok(names()) } else { Err(format!("{runs:?} were seen, and {moved:?} counted")) })
    }
}

/// Whether these counters have moved by these runs and by nothing else.
fn fits(runs: &BTreeMap<Mark, u64>, moved: &[(&'static str, u64)]) -> bool {
    let counted: BTreeMap<Mark, u64> = moved
        .iter()
        .filter(|(name, _)| !EVENTS.contains(name))
        .map(|(name, by)| (if DROPS.contains(name) { Mark::Dropped } else { Mark::Exactly(name) }, *by))
        .collect();
    let reasons = moved.iter().filter(|(name, _)| DROPS.contains(name)).count();
    counted == *runs && reasons <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_that_moves_is_that_of_a_run() {
        let runs = |of: &[(Mark, u64)]| of.iter().copied().collect::<BTreeMap<_, _>>();
        let two_new = [(Mark::Exactly("flow_new"), 2)];
        for (name, seen, moved, want) in [
            ("as seen", &two_new[..], &[("flow_new", 2)][..], true),
            ("one too few", &two_new, &[("flow_new", 1)], false),
            ("another of its class", &two_new, &[("flow_new", 1), ("flow_forward", 1)], false),
            ("an event besides", &two_new, &[("flow_new", 2), ("event_port_taken", 1)], true),
            ("an event that has no place here", &two_new, &[("flow_new", 2), ("event_established_full", 1)], false),
            ("a drop by any of the rules", &[(Mark::Dropped, 3)], &[("drop_unallocated", 3)], true),
            ("drops by two", &[(Mark::Dropped, 3)], &[("drop_unallocated", 1), ("drop_source_range", 2)], false),
            ("a drop by no rule", &[(Mark::Dropped, 1)], &[("drop_flow_table_full", 1)], false),
            ("nothing was seen", &[], &[("pass_no_frontend", 1)], false),
        ] {
            assert_eq!(fits(&runs(seen), moved), want, "case: {name}");
        }
    }
}
