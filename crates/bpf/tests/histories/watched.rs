//! Maps under watch: after every operation, done or failed, each frontend is resolved the way the kernel would (I1).
use ipnet::IpNet;
use sheave_bpf::maps::{MapError, Maps};
use sheave_bpf::memory::{Found, MemoryMaps};
use sheave_bpf::ops::MapOp;
use sheave_core::{Backend, Frontend, TrafficPolicy};
use std::collections::{BTreeMap, BTreeSet};

/// Who may dial; `None` = everyone.
pub(crate) type Restriction = Option<BTreeSet<IpNet>>;

/// What a frontend may resolve to during one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    /// Its Cluster set.
    pub(crate) cluster: Vec<BTreeSet<Backend>>,
    /// The set that flows from outside pick from, by the policy that governs it.
    pub(crate) outside: Vec<BTreeSet<Backend>>,
    /// Whom it lets in: whom both of one of these pairs do, and nobody that neither does.
    pub(crate) sources: Vec<(Restriction, Restriction)>,
    /// Whether it may lead nowhere: it did before, or is to.
    pub(crate) nowhere: bool,
}

impl Allowed {
    fn allows(&self, maps: &MemoryMaps, frontend: &Frontend) -> bool {
        let is_one_of = |sets: &[BTreeSet<Backend>], policy| match maps.resolve(frontend, policy) {
            Found::Set { backends, .. } => sets.contains(&backends.into_iter().collect()),
            Found::Nothing | Found::Vip | Found::Dangling { .. } => false,
        };
        match maps.policy(frontend) {
            None => self.nowhere,
            Some(policy) => {
                let sources = maps.sources(frontend);
                is_one_of(&self.cluster, TrafficPolicy::Cluster)
                    && is_one_of(&self.outside, policy)
                    && self.sources.iter().any(|(old, new)| is_between(&sources, old, new))
            }
        }
    }
}

fn is_between(found: &Restriction, old: &Restriction, new: &Restriction) -> bool {
    let lets_in = |restriction: &Restriction, range: &IpNet| restriction.as_ref().is_none_or(|set| set.contains(range));
    match found {
        None => old.is_none() || new.is_none(),
        Some(found) => {
            let mut all = [old, new].into_iter().flatten().flatten();
            let whole = all.all(|range| found.contains(range) || !lets_in(old, range) || !lets_in(new, range));
            whole && found.iter().all(|range| lets_in(old, range) || lets_in(new, range))
        }
    }
}

/// Maps that note each moment at which a new flow would have found neither the old nor the new state.
pub(crate) struct Watched {
    pub(crate) maps: MemoryMaps,
    pub(crate) allowed: BTreeMap<Frontend, Allowed>,
    pub(crate) violations: Vec<String>,
}

impl Watched {
    pub(crate) fn new(maps: MemoryMaps) -> Self {
        Self { maps, allowed: BTreeMap::new(), violations: Vec::new() }
    }

    fn check(&mut self, op: &MapOp) {
        let maps = &self.maps;
        for (frontend, allowed) in self.allowed.iter().filter(|(frontend, allowed)| !allowed.allows(maps, frontend)) {
            let found = [TrafficPolicy::Cluster, TrafficPolicy::Local].map(|policy| maps.resolve(frontend, policy));
            let found = (found, maps.policy(frontend), maps.sources(frontend));
            self.violations.push(format!("{frontend} resolves to {found:?} after {op:?}; allowed: {allowed:?}"));
        }
    }
}

impl Maps for Watched {
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError> {
        let result = self.maps.exec(op);
        self.check(op);
        result
    }
}
