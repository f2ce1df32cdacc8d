//! iptables, as kube-proxy writes it.
//!
//! What one sync writes (kubernetes/kubernetes, `pkg/proxy/iptables/proxier.go`, `syncProxyRules`):
//!
//! | | full | partial |
//! |---|---|---|
//! | table filter: the chains `KUBE-*` of its own | all | all |
//! | table nat: `KUBE-SERVICES`, `KUBE-NODEPORTS`, `KUBE-POSTROUTING`, `KUBE-MARK-MASQ` | all | all |
//! | table nat: `KUBE-SVC-*`, `KUBE-SVL-*`, `KUBE-EXT-*`, `KUBE-FW-*`, `KUBE-SEP-*` | all | of changed Services |
//! | jumps from the built-in chains | checked, made if missing, by a command each | |
//!
//! So a partial restore still grows with the number of Services, by one rule each. A Service port with *E* endpoints and
//! nothing but a ClusterIP makes one rule in `KUBE-SERVICES`, one to masquerade what does not come from a pod, *E* to choose
//! and 2 *E* to translate; five rules are always there. In the table nat that is
//!
//! > 5 + S (2 + 3 E)
//!
//! rules for *S* such ports, as the project's own test has it (`number_generated_rules_test.go`). At 10,000 Services with 10
//! endpoints it is 320,005; every cluster also has `default/kubernetes`, and with one API server that makes 320,010.
//!
//! Above 1,000 endpoints rules lose their comments, and chains that fell out of use stay until a sync at least `syncPeriod`
//! (30 s) after the last clean-up: [`sweep`](crate::Baseline::sweep). The kernel is not asked with `iptables-save` then.
//!
//! `iptables-nft-restore` 1.8.9 keeps chains in a sorted list that it walks for each new one, so a cold start costs it the
//! square of the endpoints: 1.0 s of CPU at 5,500 chains, 4.6 s at 11,000, 42 s at 22,000 (kernel 6.18). Sorting the text
//! would spare it some of that; kube-proxy writes Services in no order.
//!
//! Left out, to the peer's advantage: checking the jumps at a full sync (some 28 runs of `iptables`), and the rules for
//! nfacct counters.

mod chains;
mod frame;
mod frontends;
mod names;
mod tables;

use crate::Baseline;
use crate::node::NodeConfig;
use crate::ruleset::Ruleset;
use crate::script::{Read, Script, push};
use crate::tool::{Tool, Variant};
use names::Chain;
use sheave_core::ServiceName;
use std::collections::BTreeSet;
use tables::Tables;

/// From this many endpoints on, speed goes before legibility (`largeClusterEndpointsThreshold`).
const LARGE_ENDPOINTS_MIN: usize = 1001;

/// How much a sync after a change writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Restore {
    /// The chains of the changed Services and what is always written: kube-proxy since 1.26 (KEP-3453).
    Partial,
    /// Everything: kube-proxy before, and today after an error, a change of the node's labels, or once an hour.
    Full,
}

/// kube-proxy's iptables mode.
#[derive(Clone, Debug)]
pub struct Iptables {
    variant: Variant,
    restore: Restore,
    node: NodeConfig,
    held: Ruleset,
    /// In the kernel, and nothing leads to them.
    stale: BTreeSet<Chain>,
}

/// Whose chains a sync writes.
#[derive(Clone, Copy)]
enum Written<'a> {
    All,
    Only(&'a BTreeSet<ServiceName>),
}

impl Iptables {
    /// With nothing written yet.
    #[must_use]
    pub fn new(variant: Variant, restore: Restore, node: NodeConfig) -> Self {
        let held = Ruleset::new(sheave_core::Family::of(node.addr));
        Self { variant, restore, node, held, stale: BTreeSet::new() }
    }

    fn is_large(&self) -> bool {
        self.held.ports().map(|port| port.cluster.len().max(port.local.len())).sum::<usize>() >= LARGE_ENDPOINTS_MIN
    }

    fn script(&self, tables: &Tables, reads: Vec<Read>) -> Script {
        let tool = Tool::Restore(self.variant, self.held.family());
        Script { tool, text: tables.text(), counts: tables.counts(), reads }
    }

    /// Everything of a sync but the hooks.
    fn write(&mut self, written: Written<'_>) -> Tables {
        let mut tables = Tables::default();
        let large = self.is_large();
        frame::begin(&mut tables, self.held.family());
        for name in self.held.services() {
            let chains = match written {
                Written::All => true,
                Written::Only(changed) => changed.contains(name),
            };
            for port in self.held.service(name) {
                frontends::write(&mut tables, port);
                if chains {
                    chains::write(&mut tables, port, &self.node, large);
                }
            }
        }
        if !large {
            tables.delete(&std::mem::take(&mut self.stale));
        }
        frame::end(&mut tables, self.held.family());
        tables
    }

    /// Takes note of a change: what is held from now on, and which chains that leaves without use.
    fn note(&mut self, rules: &Ruleset, changed: &BTreeSet<ServiceName>) {
        for name in changed {
            let before: BTreeSet<Chain> = self.held.service(name).iter().flat_map(|port| names::of(port)).collect();
            self.held.copy_service(name, rules);
            let after: BTreeSet<Chain> = self.held.service(name).iter().flat_map(|port| names::of(port)).collect();
            self.stale.extend(before.difference(&after));
            for chain in &after {
                self.stale.remove(chain);
            }
        }
    }

    fn reads(&self) -> Vec<Read> {
        let save =
            Read { tool: Tool::Save(self.variant, self.held.family()), args: vec!["-t".to_owned(), "nat".to_owned()] };
        if self.is_large() { vec![] } else { vec![save] }
    }
}

impl Baseline for Iptables {
    fn cold(&mut self, rules: &Ruleset) -> Script {
        self.held = rules.clone();
        self.stale.clear();
        let mut tables = self.write(Written::All);
        frame::hook(&mut tables, self.held.family());
        self.script(&tables, self.reads())
    }

    fn change(&mut self, rules: &Ruleset, changed: &BTreeSet<ServiceName>) -> Script {
        self.note(rules, changed);
        let tables = self.write(match self.restore {
            Restore::Partial => Written::Only(changed),
            Restore::Full => Written::All,
        });
        self.script(&tables, self.reads())
    }

    fn sweep(&mut self) -> Option<Script> {
        let stale = std::mem::take(&mut self.stale);
        (!stale.is_empty()).then(|| {
            let mut tables = Tables::default();
            tables.delete(&stale);
            self.script(&tables, self.reads())
        })
    }

    fn remove(&mut self) -> Script {
        let mut tables = Tables::default();
        let mut chains = std::mem::take(&mut self.stale);
        chains.extend(self.held.ports().flat_map(names::of));
        frame::unhook(&mut tables);
        tables.delete(&chains);
        self.held = Ruleset::new(self.held.family());
        self.script(&tables, vec![])
    }
}

/// Writes a rule: `rule!(lines, chain, "matches and target", …)`.
macro_rules! rule {
    ($lines:expr, $chain:expr, $($format:tt)*) => { push!($lines, "-A {} {}", $chain, format_args!($($format)*)) };
}
use rule;
