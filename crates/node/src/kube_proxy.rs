//! What kube-proxy has left on the node in nftables, and its removal without breaking a flow.
//!
//! Two layouts are nftables' own: the tables `kube-proxy` of its nftables mode, and the chains `KUBE-*` of its iptables mode where
//! iptables is the variant over nf_tables. The older variant's tables are in another part of the kernel: [`legacy`].
pub mod legacy;
mod rules;
pub mod sets;

use crate::keep_nat::{keep, number, tables};
use crate::nf_tables::uapi::{
    NFPROTO_IPV4, NFPROTO_IPV6, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELTABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE,
    NFTA_RULE_CHAIN, NFTA_RULE_TABLE, NFTA_TABLE_NAME,
};
use crate::nf_tables::{Message, commit, commit_in_parts, named};
use crate::survey::{Chain, chains};
use rules::{Jump, jumps};
use sheave_core::Family;
use std::io;

/// kube-proxy's table (`pkg/proxy/nftables/proxier.go`, `kubeProxyTable`).
const TABLE: &str = "kube-proxy";

/// The chains of kube-proxy's iptables and IPVS modes, of releases 1.20 and later (`pkg/proxy/iptables/proxier.go`,
/// `pkg/proxy/ipvs/proxier.go`). What kubelet keeps, and kube-proxy's own clean-up leaves, is not among them:
/// `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`, `KUBE-FIREWALL`, `KUBE-MARK-DROP` (`pkg/kubelet/kubelet_network_linux.go`). Nor are the
/// chains of others whose names begin alike, as those of kube-router.
const CHAINS: [&str; 14] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-POSTROUTING",
    "KUBE-MARK-MASQ",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-IPVS-OUTPUT",
];
/// The same, for chains of one Service port or one endpoint.
const CHAIN_PREFIXES: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-"];

/// Whether a chain of iptables is kube-proxy's.
#[must_use]
pub fn is_kube_proxys(chain: &str) -> bool {
    CHAINS.contains(&chain) || CHAIN_PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// A chain of kube-proxy's iptables mode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedChain {
    /// Its family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// How many rules stand in it or lead to it.
    uses: u32,
}

/// What of kube-proxy's is in nftables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leftovers {
    /// Families that have a table of its nftables mode.
    pub tables: Vec<Family>,
    /// Chains of its iptables mode.
    pub chains: Vec<OwnedChain>,
    jumps: Vec<Jump>,
}

impl Leftovers {
    /// Looks for them in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel does not say: without `CAP_NET_ADMIN`, or without nftables.
    pub fn find() -> io::Result<Self> {
        let tables = tables()?.into_iter().filter(|(_, name)| name == TABLE);
        let tables = tables.filter_map(|(number, _)| family(number)).collect();
        let chains = owned_chains()?;
        let jumps = jumps(&chains)?;
        Ok(Self { tables, chains, jumps })
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.chains.is_empty()
    }

    /// How many rules lead to its chains.
    #[must_use]
    pub fn jumps(&self) -> usize {
        self.jumps.len()
    }

    /// Removes them: first what leads there, all at once, then the chains. Returns those to which rules of others lead. Flows that
    /// were translated go on: a nat chain without rules is put in before ([`crate::keep_nat`]).
    ///
    /// # Errors
    /// The kernel's objection. What was unhooked stays so, and the next call goes on from there.
    pub fn remove(&self) -> io::Result<Vec<OwnedChain>> {
        for family in [Family::V4, Family::V6] {
            if self.tables.contains(&family) || self.chains.iter().any(|chain| chain.family == family) {
                keep(family)?;
            }
        }
        let tables = self.tables.iter().map(|family| Message {
            kind: NFT_MSG_DELTABLE,
            flags: 0,
            family: number(*family),
            attributes: named(NFTA_TABLE_NAME, TABLE),
        });
        let unhooked: Vec<_> = self.jumps.iter().map(Jump::delete).chain(tables).collect();
        commit(&unhooked)?;
        commit_in_parts(&self.chains.iter().map(flush).collect::<Vec<_>>())?;
        let (free, used): (Vec<_>, Vec<_>) = owned_chains()?.into_iter().partition(|chain| chain.uses == 0);
        commit_in_parts(&free.iter().map(delete).collect::<Vec<_>>())?;
        Ok(used)
    }
}

fn owned_chains() -> io::Result<Vec<OwnedChain>> {
    let owned = chains()?.into_iter().filter(|chain| is_kube_proxys(&chain.name) && chain.table != TABLE);
    Ok(owned
        .filter_map(|Chain { family, table, name, uses, .. }| {
            let family = match family {
                "ip" => Family::V4,
                "ip6" => Family::V6,
                _ => return None,
            };
            Some(OwnedChain { family, table, name, uses })
        })
        .collect())
}

fn family(number: u8) -> Option<Family> {
    match number {
        NFPROTO_IPV4 => Some(Family::V4),
        NFPROTO_IPV6 => Some(Family::V6),
        _ => None,
    }
}

fn flush(OwnedChain { family, table, name, .. }: &OwnedChain) -> Message {
    let attributes = [named(NFTA_RULE_TABLE, table), named(NFTA_RULE_CHAIN, name)].concat();
    Message { kind: NFT_MSG_DELRULE, flags: 0, family: number(*family), attributes }
}

fn delete(OwnedChain { family, table, name, .. }: &OwnedChain) -> Message {
    let attributes = [named(NFTA_CHAIN_TABLE, table), named(NFTA_CHAIN_NAME, name)].concat();
    Message { kind: NFT_MSG_DELCHAIN, flags: 0, family: number(*family), attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H10
    #[test]
    fn chains_of_kubelet_and_of_others_are_not_kube_proxys() {
        for (chain, want) in [
            ("KUBE-SERVICES", true),
            ("KUBE-SVC-ABCDEFGHIJKLMNOP", true),
            ("KUBE-SEP-ABCDEFGHIJKLMNOP", true),
            ("KUBE-PROXY-CANARY", true),
            ("KUBE-KUBELET-CANARY", false),
            ("KUBE-IPTABLES-HINT", false),
            ("KUBE-FIREWALL", false),
            ("KUBE-MARK-DROP", false),
            ("KUBE-ROUTER-FORWARD", false),
            ("KUBE-POD-FW-ABCDEFGHIJKLMNOP", false),
            ("KUBE-NWPLCY-ABCDEFGHIJKLMNOP", false),
            ("kube-services", false),
            ("CNI-HOSTPORT-DNAT", false),
        ] {
            assert_eq!(is_kube_proxys(chain), want, "case: {chain}");
        }
    }
}
