//! A peer: the rules that another proxy would write, brought into the kernel by the tool it would run.
use super::{Contender, ContenderError, Effort};
use crate::cluster::{Cluster, NODE_ADDR, PODS};
use sheave_baseline::{Baseline, Found, Layout, NodeConfig, Ruleset, Script, Tool, exec};
use sheave_core::{Family, ServiceName, Touched};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Services that a set-up hands to `nft` in one transaction. The kernel's time for one grows with the square of its Services
/// (see `sheave_baseline`), while each run of `nft` reads the whole ruleset first, so the cluster is brought up in pieces: of
/// this size, where 10,000 Services take least.
const PIECE: usize = 2500;

/// One baseline with its tools.
pub(crate) struct Peer {
    layout: Layout,
    tools: BTreeMap<Tool, Found>,
    baseline: Box<dyn Baseline + Send>,
    rules: Ruleset,
    script: Option<Script>,
}

impl Peer {
    /// With nothing written yet.
    pub(crate) fn new(layout: Layout) -> Result<Self, ContenderError> {
        let found = layout.tool(Family::V4).find()?;
        let baseline = layout.baseline(NodeConfig::new(NODE_ADDR, PODS));
        let tools = BTreeMap::from([(found.tool, found)]);
        Ok(Self { layout, tools, baseline, rules: Ruleset::new(Family::V4), script: None })
    }

    fn tool(&mut self, tool: Tool) -> Result<&Found, ContenderError> {
        match self.tools.entry(tool) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(tool.find()?)),
        }
    }

    /// The reads come first, as in a proxy's sync: they are part of what a change costs.
    fn run(&mut self, script: &Script) -> Result<Effort, ContenderError> {
        let mut effort = Effort { bytes_written: Some(script.text.len() as u64), ..Effort::default() };
        let mut note = |run: exec::Run| {
            effort.cpu_children += run.user + run.system;
            effort.rss_children_bytes = effort.rss_children_bytes.max(run.rss_max_bytes);
        };
        for read in &script.reads {
            note(exec::read(self.tool(read.tool)?, read)?);
        }
        note(exec::apply(self.tool(script.tool)?, script)?);
        Ok(effort)
    }

    fn in_pieces(&mut self) -> Result<(), ContenderError> {
        let names: Vec<ServiceName> = self.rules.services().cloned().collect();
        let mut rules = Ruleset::new(self.rules.family());
        let script = self.baseline.cold(&rules);
        self.run(&script)?;
        for piece in names.chunks(PIECE) {
            for port in piece.iter().flat_map(|name| self.rules.service(name)) {
                rules.insert((**port).clone());
            }
            let script = self.baseline.change(&rules, &piece.iter().cloned().collect());
            self.run(&script)?;
        }
        Ok(())
    }
}

impl Contender for Peer {
    fn generate_all(&mut self, cluster: &Cluster) {
        self.rules = Ruleset::of(cluster.desired(), Family::V4);
        self.script = Some(self.baseline.cold(&self.rules));
    }

    fn generate(&mut self, cluster: &Cluster, touched: &Touched) {
        let changed: BTreeSet<ServiceName> = self.rules.update(cluster.desired(), touched);
        self.script = Some(self.baseline.change(&self.rules, &changed));
    }

    fn write(&mut self) -> Result<Effort, ContenderError> {
        let script = self.script.take().expect("invariant: made before");
        self.run(&script)
    }

    fn tidy(&mut self) -> Result<(), ContenderError> {
        match self.baseline.sweep() {
            Some(script) => self.run(&script).map(drop),
            None => Ok(()),
        }
    }

    fn set_up(&mut self, cluster: &Cluster) -> Result<(), ContenderError> {
        self.generate_all(cluster);
        if self.layout == Layout::Nftables { self.in_pieces() } else { self.write().map(drop) }
    }
}
