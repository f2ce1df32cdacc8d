//! Rules that lead from chains of netfilter's hooks to kube-proxy's.
use super::{OwnedChain, is_kube_proxys};
use crate::attribute::{attributes, inner};
use crate::dump::each;
use crate::keep_nat::number;
use crate::nf_tables::uapi::{
    NFGENMSG_LEN, NFT_MSG_DELRULE, NFT_MSG_GETRULE, NFTA_DATA_VERDICT, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    NFTA_IMMEDIATE_DATA, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE, NFTA_RULE_TABLE, NFTA_VERDICT_CHAIN,
};
use crate::nf_tables::{Message, attribute, message_type, named};
use crate::notice::text;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use sheave_core::Family;
use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

/// The chains at which kube-proxy hooks in, and in which nobody keeps thousands of rules.
pub(super) const BUILT_IN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// A rule that leads to a chain of kube-proxy's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Jump {
    family: Family,
    table: String,
    chain: &'static str,
    handle: [u8; 8],
}

impl Jump {
    /// The message that removes it.
    pub(super) fn delete(&self) -> Message {
        let Self { family, table, chain, handle } = self;
        let attributes =
            [named(NFTA_RULE_TABLE, table), named(NFTA_RULE_CHAIN, chain), attribute(NFTA_RULE_HANDLE, handle)];
        Message { kind: NFT_MSG_DELRULE, flags: 0, family: number(*family), attributes: attributes.concat() }
    }
}

/// What leads to these chains, in their tables.
pub(super) fn jumps(chains: &[OwnedChain]) -> io::Result<Vec<Jump>> {
    let tables: BTreeSet<(Family, &str)> = chains.iter().map(|chain| (chain.family, chain.table.as_str())).collect();
    let mut jumps = Vec::new();
    for (family, table) in tables {
        for chain in BUILT_IN {
            for handle in handles(family, table, chain)? {
                jumps.push(Jump { family, table: table.to_owned(), chain, handle });
            }
        }
    }
    Ok(jumps)
}

fn handles(family: Family, table: &str, chain: &str) -> io::Result<Vec<[u8; 8]>> {
    let header = vec![number(family), 0, 0, 0];
    let body = [header, named(NFTA_RULE_TABLE, table), named(NFTA_RULE_CHAIN, chain)].concat();
    let mut handles = Vec::new();
    each(NETLINK_NETFILTER, message_type(NFT_MSG_GETRULE), &body, |_, payload| {
        handles.extend(handle(payload));
        ControlFlow::Continue(())
    })?;
    Ok(handles)
}

/// The handle of a rule, if it leads to a chain of kube-proxy's.
fn handle(payload: &[u8]) -> Option<[u8; 8]> {
    let rule = payload.get(NFGENMSG_LEN..)?;
    let leads = attributes(inner(rule, NFTA_RULE_EXPRESSIONS)?).filter_map(|(_, expression)| verdict_chain(expression));
    leads.map(text).any(|chain| is_kube_proxys(&chain)).then_some(())?;
    inner(rule, NFTA_RULE_HANDLE)?.try_into().ok()
}

/// Where an expression leads that is a verdict.
fn verdict_chain(expression: &[u8]) -> Option<&[u8]> {
    let is_verdict = inner(expression, NFTA_EXPR_NAME).is_some_and(|name| text(name) == "immediate");
    let data = inner(expression, NFTA_EXPR_DATA).filter(|_| is_verdict)?;
    inner(inner(inner(data, NFTA_IMMEDIATE_DATA)?, NFTA_DATA_VERDICT)?, NFTA_VERDICT_CHAIN)
}
