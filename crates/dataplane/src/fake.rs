//! A dataplane in memory, for tests and for measuring everything but the kernel. As strict as one: a step that a real one
//! could not carry out is a bug of the plan, and panics. What it does to a packet: [`Fake::decide`].
use crate::{Applied, ApplyError, Dataplane, Subject};
use sheave_core::{Backend, Change, Frontend, NodeRules, Plan, Realized, ServiceKey, Serving};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a dataplane would hold.
#[derive(Debug, Default)]
pub struct Fake {
    pub(crate) services: BTreeMap<ServiceKey, Serving>,
    pub(crate) frontends: BTreeMap<Frontend, ServiceKey>,
    pub(crate) vips: BTreeSet<IpAddr>,
    pub(crate) rules: Arc<NodeRules>,
    steps: u64,
    faults: BTreeSet<u64>,
}

/// The failure a [`Fake`] was told to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("step {0} fails on purpose")]
pub struct Fault(pub u64);

impl Fake {
    /// A fake whose steps of these numbers fail, counted from 0 over its whole life.
    #[must_use]
    pub fn failing_at(steps: impl IntoIterator<Item = u64>) -> Self {
        Self { faults: steps.into_iter().collect(), ..Self::default() }
    }

    fn step(&mut self, change: &Change) -> Result<(), Fault> {
        let step = self.steps;
        self.steps += 1;
        if self.faults.contains(&step) {
            return Err(Fault(step));
        }
        match change {
            Change::Rules { rules } => {
                assert_ne!(self.rules, *rules, "the rules are these already");
                self.rules = Arc::clone(rules);
            }
            Change::Serve { key, serving } => self.serve(key, serving),
            Change::ClaimVip { addr } => assert!(self.vips.insert(*addr), "{addr} is claimed twice"),
            Change::Release { frontend, key } => {
                let holder = self.frontends.remove(frontend);
                assert!(holder.is_some() && holder == *key, "{frontend} leads to {holder:?}, not to {key:?}");
                self.leave(frontend, holder.as_ref());
            }
            Change::ReleaseVip { addr } => assert!(self.vips.remove(addr), "{addr} is not claimed"),
            Change::Retire { key, backends } => self.retire(key, backends),
            Change::Forget { key } => {
                let frontends = &self.services.get(key).expect("a key that is forgotten is held").frontends;
                assert!(frontends.is_empty(), "{key} is forgotten while {frontends:?} lead to it");
                self.services.remove(key);
            }
        }
        Ok(())
    }

    fn serve(&mut self, key: &ServiceKey, wanted: &Serving) {
        let held = self.services.entry(key.clone()).or_default();
        let kept = held.members().chain(wanted.keep.keys()).filter(|b| !picks(wanted, b)).copied().collect();
        let frontends = wanted.frontends.iter().chain(held.frontends.iter()).map(|(f, kind)| (*f, *kind)).collect();
        *held = Serving { keep: kept, frontends, ..wanted.clone() };
        for frontend in wanted.frontends.keys() {
            let holder = self.frontends.insert(*frontend, key.clone());
            self.leave(frontend, holder.as_ref().filter(|holder| *holder != key));
        }
    }

    fn leave(&mut self, frontend: &Frontend, holder: Option<&ServiceKey>) {
        if let Some(serving) = holder.and_then(|key| self.services.get_mut(key)) {
            serving.frontends.remove(frontend);
        }
    }

    fn retire(&mut self, key: &ServiceKey, backends: &BTreeSet<Backend>) {
        let held = self.services.get_mut(key).expect("a key whose backends are retired is held");
        for backend in backends {
            assert!(!picks(held, backend), "{backend} of {key} is retired while it is picked");
            assert!(held.keep.remove(backend), "{backend} of {key} is not held");
        }
    }

    /// Carries out some steps; returns whether one failed.
    fn run<'a>(&mut self, changes: impl Iterator<Item = &'a Change>, applied: &mut Applied) -> bool {
        let mut failed = BTreeSet::new();
        for change in changes {
            let subject = Subject::of(change);
            // A Service of which a step failed is left alone until it is planned again.
            if failed.contains(&subject) {
                applied.pending.merge(change.touched());
                continue;
            }
            applied.writes.count(1);
            if let Err(fault) = self.step(change) {
                applied.pending.merge(change.touched());
                failed.insert(subject.clone());
                applied.failed.push(ApplyError { subject, cause: fault.into() });
            }
        }
        !failed.is_empty()
    }
}

/// Whether new flows may go to a backend.
fn picks(serving: &Serving, backend: &Backend) -> bool {
    serving.cluster.contains(backend) || serving.local.contains(backend)
}

impl Dataplane for Fake {
    fn apply(&mut self, plan: &Plan) -> Applied {
        let mut applied = Applied::default();
        if self.run(plan.make.iter(), &mut applied) {
            plan.break_.iter().for_each(|change| applied.pending.merge(change.touched()));
        } else {
            self.run(plan.break_.iter(), &mut applied);
        }
        applied
    }
}

impl Realized for Fake {
    fn rules(&self) -> Option<Arc<NodeRules>> {
        Some(Arc::clone(&self.rules))
    }

    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        self.services.get(key).cloned()
    }

    fn settled(&self, _: &ServiceKey) -> bool {
        true
    }

    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.frontends.get(frontend).cloned()
    }

    fn owns(&self, addr: IpAddr) -> bool {
        self.vips.contains(&addr)
    }

    fn keys(&self) -> Vec<ServiceKey> {
        self.services.keys().cloned().collect()
    }

    fn frontends(&self) -> Vec<Frontend> {
        self.frontends.keys().copied().collect()
    }

    fn vips(&self) -> Vec<IpAddr> {
        self.vips.iter().copied().collect()
    }
}
