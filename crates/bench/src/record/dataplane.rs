//! The dataplanes that are compared.
use serde::{Deserialize, Serialize};
use std::fmt;

/// A dataplane under test, or the floor beneath all of them. The order is the order of every table and legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dataplane {
    /// sheave's eBPF programs, as an agent loads them: a TCP client's connect() is translated in its socket.
    SheaveEbpf,
    /// The same without those of sockets: a client's packets are translated at the devices of its node.
    SheaveEbpfDevice,
    /// sheave's IPVS backend.
    SheaveIpvs,
    /// kube-proxy's iptables layout through iptables-legacy-restore, everything written at every sync.
    IptablesLegacy,
    /// The same with kube-proxy's partial syncs.
    IptablesLegacyPartial,
    /// kube-proxy's iptables layout through iptables-nft-restore, everything written at every sync.
    IptablesNft,
    /// The same with kube-proxy's partial syncs.
    IptablesNftPartial,
    /// kube-proxy's nftables layout.
    Nftables,
    /// One single nftables map: the least that nftables can do.
    NftSingleMap,
    /// No Service at all: the client dials the backend. The floor of `connect`, not a peer.
    Direct,
}

impl Dataplane {
    /// Every dataplane, in order.
    pub const ALL: [Self; 10] = [
        Self::SheaveEbpf,
        Self::SheaveEbpfDevice,
        Self::SheaveIpvs,
        Self::IptablesLegacy,
        Self::IptablesLegacyPartial,
        Self::IptablesNft,
        Self::IptablesNftPartial,
        Self::Nftables,
        Self::NftSingleMap,
        Self::Direct,
    ];

    /// The name in files, labels and legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::SheaveEbpf => "sheave-ebpf",
            Self::SheaveEbpfDevice => "sheave-ebpf-device",
            Self::SheaveIpvs => "sheave-ipvs",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesLegacyPartial => "iptables-legacy-partial",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesNftPartial => "iptables-nft-partial",
            Self::Nftables => "nftables",
            Self::NftSingleMap => "nft-single-map",
            Self::Direct => "direct",
        }
    }

    /// What it is, in a few words for a reader who meets the name for the first time.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::SheaveEbpf => "sheave's eBPF programs, which translate a connect() in its socket",
            Self::SheaveEbpfDevice => {
                "sheave's eBPF programs without those of sockets: packets are translated at devices"
            }
            Self::SheaveIpvs => "sheave's IPVS backend",
            Self::IptablesLegacy => {
                "kube-proxy's iptables rules through iptables-legacy-restore, all of them at every sync"
            }
            Self::IptablesLegacyPartial => "kube-proxy's iptables rules through iptables-legacy-restore, partial syncs",
            Self::IptablesNft => "kube-proxy's iptables rules through iptables-nft-restore, all of them at every sync",
            Self::IptablesNftPartial => "kube-proxy's iptables rules through iptables-nft-restore, partial syncs",
            Self::Nftables => "kube-proxy's nftables maps, verdict maps and chains",
            Self::NftSingleMap => "one single nftables map: the least that nftables can do, which no proxy does",
            Self::Direct => "no Service: the client dials the backend",
        }
    }

    /// Whether it is one of sheave's own.
    pub fn is_sheave(self) -> bool {
        matches!(self, Self::SheaveEbpf | Self::SheaveEbpfDevice | Self::SheaveIpvs)
    }

    /// Whether it is something that one could use instead of sheave.
    pub fn is_peer(self) -> bool {
        !self.is_sheave() && self != Self::Direct
    }
}

impl fmt::Display for Dataplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
