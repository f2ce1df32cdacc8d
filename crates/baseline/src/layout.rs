//! All baselines by name, for those who run every one of them.
use crate::Baseline;
use crate::iptables::{Iptables, Restore};
use crate::nftables::Nftables;
use crate::node::NodeConfig;
use crate::single_map::SingleMap;
use crate::tool::{Tool, Variant};
use sheave_core::Family;
use std::fmt;

/// Which baseline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Layout {
    /// [`Iptables`].
    Iptables(Variant, Restore),
    /// [`Nftables`].
    Nftables,
    /// [`SingleMap`].
    SingleMap,
}

impl Layout {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Iptables(Variant::Legacy, Restore::Partial),
        Self::Iptables(Variant::Legacy, Restore::Full),
        Self::Iptables(Variant::Nft, Restore::Partial),
        Self::Iptables(Variant::Nft, Restore::Full),
        Self::Nftables,
        Self::SingleMap,
    ];

    /// The program that brings it into the kernel.
    #[must_use]
    pub fn tool(self, family: Family) -> Tool {
        match self {
            Self::Iptables(variant, _) => Tool::Restore(variant, family),
            Self::Nftables | Self::SingleMap => Tool::Nft,
        }
    }

    /// A fresh baseline for this node.
    #[must_use]
    pub fn baseline(self, node: NodeConfig) -> Box<dyn Baseline + Send> {
        match self {
            Self::Iptables(variant, restore) => Box::new(Iptables::new(variant, restore, node)),
            Self::Nftables => Box::new(Nftables::new(node)),
            Self::SingleMap => Box::new(SingleMap::new(node)),
        }
    }
}

impl fmt::Display for Layout {
    /// A name of small letters and hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables(Variant::Legacy, Restore::Partial) => "iptables-legacy-partial",
            Self::Iptables(Variant::Legacy, Restore::Full) => "iptables-legacy-full",
            Self::Iptables(Variant::Nft, Restore::Partial) => "iptables-nft-partial",
            Self::Iptables(Variant::Nft, Restore::Full) => "iptables-nft-full",
            Self::Nftables => "nftables",
            Self::SingleMap => "nft-single-map",
        })
    }
}
