//! Maps under watch: after every operation, done or failed, each frontend is resolved the way the kernel would (I1).
use sheave_bpf::maps::{MapError, Maps};
use sheave_bpf::memory::{Found, MemoryMaps};
use sheave_bpf::ops::MapOp;
use sheave_core::{Backend, Frontend};
use std::collections::{BTreeMap, BTreeSet};

/// The sets a frontend may resolve to during one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) sets: Vec<BTreeSet<Backend>>,
    /// Whether it may lead nowhere: it did before, or is to.
    pub(crate) nowhere: bool,
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
        for (frontend, allowed) in &self.allowed {
            let found = self.maps.resolve(frontend);
            let fine = match &found {
                Found::Nothing | Found::Vip => allowed.nowhere,
                Found::Set { backends, .. } => allowed.sets.contains(&backends.iter().copied().collect()),
                Found::Dangling { .. } => false,
            };
            if !fine {
                self.violations.push(format!("{frontend} resolves to {found:?} after {op:?}; allowed: {allowed:?}"));
            }
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
