//! nftables, as kube-proxy writes it.
//!
//! A table of its own, in which maps lead from what is dialled to a chain of the Service port, and that to a chain of the
//! endpoint (kubernetes/kubernetes, `pkg/proxy/nftables/proxier.go`, `syncProxyRules`). What a sync after a change writes:
//!
//! - every chain of each changed Service, its endpoints' chains included, made if missing, emptied and written anew, however
//!   little of it changed;
//! - elements of maps that differ;
//! - for chains that fell out of use: they are emptied; a transaction of its own at the next sync more than a second later
//!   takes them away ([`sweep`](crate::Baseline::sweep)), because kernels before 6.2 may still see them in use;
//! - sets of clients (affinity) that fell out of use are taken away at once.
//!
//! In front of it kube-proxy lists the table with `nft --json --terse`, which grows with the cluster
//! (kubernetes/kubernetes#137501, release 1.36); it is in [`Script::reads`], and the text does without.
//!
//! | at *S* Service ports with *E* endpoints and a ClusterIP only | always | for them |
//! |---|---|---|
//! | chains | 16 | S (1 + E) |
//! | rules | 22 | S (2 + 2 E) |
//! | sets and maps | 7 | |
//! | elements | 1 | 2 S |
//!
//! and one rule more where a ServiceCIDR is known. The elements of a choice stand in its rule and are not counted.
//!
//! Each choice is an anonymous map, and for each of those in a transaction the kernel walks the whole transaction
//! (`__nft_set_trans_bind`). So a cold start costs the square of the Services: with 10 endpoints each, 0.5 s in the kernel at
//! 1,000 Services and 83 s at 10,000 (kernel 6.18, nft 1.0.6). kube-proxy writes all of them in one transaction, and so does
//! this.

mod chains;
mod elements;
mod names;
mod setup;

use crate::Baseline;
use crate::nft::{Elements, Transaction, words};
use crate::node::NodeConfig;
use crate::ruleset::{Ruleset, ServedPort};
use crate::script::{Counts, Read, Script};
use crate::tool::Tool;
use elements::Map;
use names::Names;
use sheave_core::{Family, ServiceName};
use std::collections::BTreeSet;
use std::sync::Arc;

const TABLE: &str = "kube-proxy";
const MARK_FOR_MASQUERADE: &str = "mark-for-masquerade";

/// kube-proxy's nftables mode.
#[derive(Clone, Debug)]
pub struct Nftables {
    node: NodeConfig,
    held: Ruleset,
    /// In the kernel, empty, and nothing leads to them.
    stale: BTreeSet<String>,
}

/// What some Service ports have in the kernel.
#[derive(Default)]
struct Have {
    elements: Elements<Map>,
    chains: BTreeSet<String>,
    affinity_sets: BTreeSet<String>,
}

impl Have {
    fn add(&mut self, port: &ServedPort, names: &Names) {
        self.elements.extend(elements::of(port, names));
        self.chains.extend(names.chains(port).map(str::to_owned));
        self.affinity_sets.extend(names.affinity_sets(port).map(str::to_owned));
    }
}

impl Nftables {
    /// With nothing written yet.
    #[must_use]
    pub fn new(node: NodeConfig) -> Self {
        let held = Ruleset::new(Family::of(node.addr));
        Self { node, held, stale: BTreeSet::new() }
    }

    fn transaction(&self) -> Transaction {
        Transaction::new(self.held.family(), TABLE)
    }

    /// Writes one Service as it is in `rules`, where `before` is there; adds what it then has to `after`.
    fn write(&self, transaction: &mut Transaction, service: &[Arc<ServedPort>], before: &Have, after: &mut Have) {
        let named: Vec<_> = service.iter().map(|port| (port, Names::of(port))).collect();
        for (port, names) in &named {
            chains::make(transaction, port, names);
        }
        let mut has = Have::default();
        named.iter().for_each(|(port, names)| has.add(port, names));
        has.elements.ensure(transaction, &before.elements);
        for (port, names) in &named {
            chains::write(transaction, port, names, &self.node);
        }
        after.elements.extend(has.elements);
        after.chains.append(&mut has.chains);
        after.affinity_sets.append(&mut has.affinity_sets);
    }

    fn script((text, counts): (String, Counts), reads: Vec<Read>) -> Script {
        Script { tool: Tool::Nft, text, counts, reads }
    }

    fn reads(&self) -> Vec<Read> {
        let args = ["--json", "--terse", "list", "table", words(self.held.family()).ip, TABLE];
        vec![Read { tool: Tool::Nft, args: args.map(str::to_owned).to_vec() }]
    }
}

impl Baseline for Nftables {
    fn cold(&mut self, rules: &Ruleset) -> Script {
        self.held = rules.clone();
        self.stale.clear();
        let mut transaction = self.transaction();
        setup::write(&mut transaction, &self.node);
        for service in rules.services() {
            self.write(&mut transaction, rules.service(service), &Have::default(), &mut Have::default());
        }
        Self::script(transaction.finish(), vec![])
    }

    fn change(&mut self, rules: &Ruleset, changed: &BTreeSet<ServiceName>) -> Script {
        let mut transaction = self.transaction();
        let (mut before, mut after) = (Have::default(), Have::default());
        for port in changed.iter().flat_map(|service| self.held.service(service)) {
            before.add(port, &Names::of(port));
        }
        for service in changed {
            self.write(&mut transaction, rules.service(service), &before, &mut after);
            self.held.copy_service(service, rules);
        }
        for chain in before.chains.difference(&after.chains) {
            transaction.flush_chain(chain);
            self.stale.insert(chain.clone());
        }
        for chain in &after.chains {
            self.stale.remove(chain);
        }
        before.affinity_sets.difference(&after.affinity_sets).for_each(|set| transaction.delete_set(set));
        before.elements.clean_up(&mut transaction, &after.elements);
        Self::script(transaction.finish(), self.reads())
    }

    fn sweep(&mut self) -> Option<Script> {
        let mut transaction = self.transaction();
        std::mem::take(&mut self.stale).iter().for_each(|chain| transaction.delete_chain(chain));
        (!transaction.is_empty()).then(|| Self::script(transaction.finish(), vec![]))
    }

    fn remove(&mut self) -> Script {
        let mut transaction = self.transaction();
        transaction.delete_table();
        self.stale.clear();
        self.held = Ruleset::new(self.held.family());
        Self::script(transaction.finish(), vec![])
    }
}
