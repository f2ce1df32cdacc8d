//! nftables as one map: the least work that nftables can do for a new flow and for a change, as the floor of a comparison.
//!
//! ```text
//! frontends:  addr . protocol . port          → goto internal-N | external-N | refuse
//! backends:   addr . protocol . port . slot   → address . port of a backend
//! internal-N: dnat to addr . protocol . port . numgen random mod N map @backends
//! ```
//!
//! A new flow is looked up twice, whatever the number of Services and backends, and there are two chains for each *size* of
//! a set, not for each Service; nft cannot take the size from a map (`numgen` wants a constant). Slots are kept dense: an
//! endpoint that goes leaves its slot to the last one. So a changed endpoint writes the frontend's element, one or two slots
//! and an element against hairpins, whatever the size of the set.
//!
//! It is no proxy: the policy Local, source ranges and affinity are not carried (a port that has them is served without
//! them, [`SingleMap::carries`]), what a ClusterIP does not serve is left alone, and a port that needs none of this is served
//! as kube-proxy does: masquerading, hairpins, NodePorts at the node's primary address, refusal where there is no endpoint.

mod hairpins;
mod ports;
mod setup;
mod slots;

use crate::Baseline;
use crate::nft::{Elements, Transaction};
use crate::node::NodeConfig;
use crate::ruleset::{Ruleset, ServedPort};
use crate::script::Script;
use crate::tool::Tool;
use hairpins::Hairpins;
use ports::{Group, Map};
use sheave_core::{Backend, Family, ServiceName, ServicePortName, TrafficPolicy};
use slots::Slots;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

const TABLE: &str = "single-map";

/// One map for all backends.
#[derive(Clone, Debug)]
pub struct SingleMap {
    node: NodeConfig,
    held: Ruleset,
    /// Of every port that has a backend.
    slots: HashMap<ServicePortName, Slots>,
    /// Chains that are there; their number is that of the sizes seen.
    groups: BTreeSet<Group>,
    hairpins: Hairpins,
}

impl SingleMap {
    /// With nothing written yet.
    #[must_use]
    pub fn new(node: NodeConfig) -> Self {
        let held = Ruleset::new(Family::of(node.addr));
        Self { node, held, slots: HashMap::new(), groups: BTreeSet::new(), hairpins: Hairpins::default() }
    }

    /// Whether the port is served here as kube-proxy would serve it.
    #[must_use]
    pub fn carries(port: &ServedPort) -> bool {
        let cluster = port.internal == TrafficPolicy::Cluster
            && (port.external == TrafficPolicy::Cluster || !port.uses_external());
        cluster && port.affinity.is_none() && !port.restricts_sources()
    }

    fn transaction(&self) -> Transaction {
        Transaction::new(self.held.family(), TABLE)
    }

    fn slots(&self, port: &ServedPort) -> &[Backend] {
        self.slots.get(&port.name).map_or(&[], Slots::backends)
    }

    /// What the port has in the kernel, by the slots as they are.
    fn elements(&self, port: &ServedPort) -> Elements<Map> {
        ports::elements(port, &self.node, self.slots(port))
    }

    /// Brings slots up to date with what is held; makes the chains that are wanting.
    fn seat(&mut self, transaction: &mut Transaction, port: &ServedPort) {
        if port.cluster.is_empty() {
            self.slots.remove(&port.name);
            return;
        }
        let slots = self.slots.entry(port.name.clone()).or_default();
        slots.update(&port.cluster);
        for group in Group::of(port) {
            if self.groups.insert(group) {
                ports::chain(transaction, &self.node, group);
            }
        }
    }

    /// Writes what differs in these Services between what is held and `rules`, and holds that.
    fn update<'a>(
        &mut self,
        transaction: &mut Transaction,
        rules: &Ruleset,
        services: impl Iterator<Item = &'a ServiceName> + Clone,
    ) {
        let (mut before, mut after) = (Elements::default(), Elements::default());
        let (mut addrs_before, mut addrs_after) = (Vec::new(), Vec::new());
        let mut names = BTreeSet::new();
        for port in services.clone().flat_map(|service| self.held.service(service)) {
            before.extend(self.elements(port));
            addrs_before.extend(addrs(port));
            names.insert(port.name.clone());
        }
        for port in services.clone().flat_map(|service| rules.service(service)) {
            self.seat(transaction, port);
            after.extend(self.elements(port));
            addrs_after.extend(addrs(port));
            names.remove(&port.name);
        }
        for name in &names {
            self.slots.remove(name);
        }
        after.ensure(transaction, &before);
        before.clean_up(transaction, &after);
        let hairpins = self.hairpins.change(&addrs_before, &addrs_after);
        for addr in &hairpins.new {
            transaction.element(setup::HAIRPINS, format_args!("{addr} . {addr}"));
        }
        for addr in &hairpins.gone {
            transaction.delete_element(setup::HAIRPINS, format_args!("{addr} . {addr}"));
        }
        for service in services {
            self.held.copy_service(service, rules);
        }
    }

    fn script(transaction: Transaction) -> Script {
        let (text, counts) = transaction.finish();
        Script { tool: Tool::Nft, text, counts, reads: vec![] }
    }
}

fn addrs(port: &ServedPort) -> impl Iterator<Item = IpAddr> + '_ {
    port.cluster.iter().map(|backend| backend.addr)
}

impl Baseline for SingleMap {
    fn cold(&mut self, rules: &Ruleset) -> Script {
        *self = Self::new(self.node.clone());
        let mut transaction = self.transaction();
        setup::write(&mut transaction, &self.node);
        rules.services().for_each(|service| self.update(&mut transaction, rules, [service].into_iter()));
        Self::script(transaction)
    }

    fn change(&mut self, rules: &Ruleset, changed: &BTreeSet<ServiceName>) -> Script {
        let mut transaction = self.transaction();
        self.update(&mut transaction, rules, changed.iter());
        Self::script(transaction)
    }

    /// Chains of sizes that no set has stay: there are few, and the next set of that size uses them.
    fn sweep(&mut self) -> Option<Script> {
        None
    }

    fn remove(&mut self) -> Script {
        let mut transaction = self.transaction();
        transaction.delete_table();
        *self = Self::new(self.node.clone());
        Self::script(transaction)
    }
}
