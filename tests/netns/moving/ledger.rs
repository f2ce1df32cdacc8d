//! A load whose every request is accounted for.
use sheave_lab::probe::{Answer, Caller, Load, Manner, Sample, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(25);
/// Requests of each caller, so that no answer of an earlier stage counts.
const ANSWERS: usize = 4;

/// Callers, and what has become of their requests.
pub(crate) struct Ledger {
    callers: Vec<Caller>,
    load: Load,
    samples: Receiver<Sample>,
    seen: Vec<Sample>,
}

impl Ledger {
    pub(crate) fn open(callers: Vec<Caller>) -> Self {
        let (load, bounded) = Load::start(callers.clone(), INTERVAL).unwrap();
        // Callers pause when too many outcomes wait for their reader: somebody has to read also while the test waits for other things.
        let (sink, samples) = channel();
        std::thread::spawn(move || bounded.into_iter().all(|sample| sink.send(sample).is_ok()));
        Self { callers, load, samples, seen: Vec::new() }
    }

    /// Waits until each caller has had a few more answers, and counts whatever else has come by then. A failure ends the wait: a held
    /// connection makes no request after it.
    pub(crate) fn until_each_was_answered(&mut self, stage: &str) {
        self.seen.extend(self.samples.try_iter());
        let mut answers = vec![0; self.callers.len()];
        while answers.iter().any(|answers| *answers < ANSWERS) {
            let sample = self.samples.recv().unwrap_or_else(|_| panic!("the callers ended {stage}"));
            assert!(sample.outcome.is_ok(), "{stage}: {}: {:?}", self.name(sample.caller), sample.outcome);
            answers[sample.caller] += 1;
            self.seen.push(sample);
        }
    }

    /// Ends the load. No request may have failed, and whoever held on to a socket has spoken with one backend, under one address.
    pub(crate) fn close(mut self, case: &str) {
        self.load.stop();
        self.seen.extend(self.samples.iter());
        let failed: Vec<_> = self.seen.iter().filter(|sample| sample.outcome.is_err()).collect();
        let told: Vec<_> = failed.iter().map(|sample| (self.name(sample.caller), &sample.outcome)).collect();
        assert!(failed.is_empty(), "{case}: {} of {} requests failed: {told:?}", failed.len(), self.seen.len());
        for (caller, spoken_with) in self.spoken_with() {
            assert_eq!(spoken_with.len(), 1, "{case}: {}: {spoken_with:?}", self.name(caller));
        }
    }

    /// Whom each held connection was answered by, and who the backend took for its client.
    fn spoken_with(&self) -> BTreeMap<usize, BTreeSet<(String, String)>> {
        let mut spoken_with: BTreeMap<usize, BTreeSet<_>> = BTreeMap::new();
        for sample in self.seen.iter().filter(|sample| self.callers[sample.caller].manner == Manner::Held) {
            if let Ok(Answer { pod, peer, .. }) = &sample.outcome {
                spoken_with.entry(sample.caller).or_default().insert((pod.clone(), peer.to_string()));
            }
        }
        spoken_with
    }

    fn name(&self, caller: usize) -> String {
        let Caller { client, target, manner } = &self.callers[caller];
        let transport = if target.transport == Transport::Tcp { "TCP" } else { "UDP" };
        format!("{manner:?} {transport} of {} to {}", client.sandbox().name(), target.addr)
    }
}
