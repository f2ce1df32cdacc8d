//! The peers' rule layouts, to compare with: iptables and nftables as kube-proxy writes them, and nftables as one map.
//!
//! A baseline turns a [`Ruleset`] into the text that a tool brings into the kernel. It makes text and nothing else, and
//! remembers what it wrote, so that it can write what changed; [`exec`] runs the tools, [`Layout`] names all baselines.
//!
//! | baseline | what it is |
//! |---|---|
//! | [`Iptables`] | kube-proxy's iptables mode, with partial or full restores |
//! | [`Nftables`] | kube-proxy's nftables mode |
//! | [`SingleMap`] | the least that nftables can do: two lookups for a new flow, a fixed number of elements for a change |
//!
//! What kube-proxy does was read in its source, in the state between release 1.34 and 1.35 (kubernetes/kubernetes,
//! `pkg/proxy/iptables/proxier.go` and `pkg/proxy/nftables/proxier.go`), and for 1.36 in the pull requests that changed how
//! nftables mode reads (kubernetes/kubernetes#137501). Each module cites the functions it follows.

mod desired;
pub mod exec;
mod hash;
mod iptables;
mod layout;
mod nft;
mod nftables;
mod node;
mod ruleset;
mod script;
mod single_map;
mod tool;
mod traffic;

pub use iptables::{Iptables, Restore};
pub use layout::Layout;
pub use nftables::Nftables;
pub use node::NodeConfig;
pub use ruleset::{Ruleset, ServedPort};
pub use script::{Counts, Read, Script};
pub use single_map::SingleMap;
pub use tool::{Found, Missing, Tool, Variant};

use sheave_core::ServiceName;
use std::collections::BTreeSet;

/// A layout of rules and the sync that keeps it up to date, for one family on one node.
pub trait Baseline {
    /// The first sync, on a node where nothing is yet. Forgets what was written before.
    fn cold(&mut self, rules: &Ruleset) -> Script;

    /// The sync after a change: `rules` is what holds now, `changed` names the Services that differ from what was synced last
    /// (see [`Ruleset::update`] and [`Ruleset::changed_since`]). Services that are not named are taken to be as they were.
    fn change(&mut self, rules: &Ruleset, changed: &BTreeSet<ServiceName>) -> Script;

    /// What a proxy defers to a sync some time after the change: chains without use, which cost memory and no time. `None`
    /// when there are none.
    fn sweep(&mut self) -> Option<Script>;

    /// Takes away all that was written.
    fn remove(&mut self) -> Script;
}
