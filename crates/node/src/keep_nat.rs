//! A nat chain that decides nothing, for flows that a proxy has left behind.
//!
//! The kernel goes on translating a flow only while two things are on in its network namespace, and rules are what turns them on: some
//! nat chain of the family (`nf_nat_register_fn`, net/netfilter/nf_nat_core.c), and something that looks at connection tracking
//! (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c). With the last rules of a proxy they would go off, and with them the flows
//! it began. So before that there is a chain of ours, with one rule that asks for the state of a connection and does nothing with it.
use crate::attribute::inner;
use crate::conntrack::any_translated_flow;
use crate::dump::each;
use crate::nf_tables::uapi::{
    NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC, NFGENMSG_LEN, NFPROTO_IPV4, NFPROTO_IPV6, NFT_CT_STATE, NFT_MSG_DELRULE,
    NFT_MSG_DELTABLE, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE, NFT_REG_1,
    NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE, NFTA_CT_DREG, NFTA_CT_KEY, NFTA_EXPR_DATA,
    NFTA_EXPR_NAME, NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_LIST_ELEM, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_TABLE, NFTA_TABLE_NAME,
};
use crate::nf_tables::{Message, attribute, commit, message_type, named, nested};
use crate::notice::text;
use crate::survey::{Chain, chains};
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use sheave_core::Family;
use std::io;
use std::ops::ControlFlow;

/// The table's name, in each family.
pub const TABLE: &str = "sheave-keep-nat";
const CHAIN: &str = "keep";

pub(crate) fn number(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

/// Puts the chain there for a family. It may be there already.
///
/// # Errors
/// The kernel has no nftables with nat of the family, or the process no `CAP_NET_ADMIN`.
pub fn keep(family: Family) -> io::Result<()> {
    // Any hook will do: whichever chain is the first brings all of them. This one, as `srcnat`.
    let hook = [
        attribute(NFTA_HOOK_HOOKNUM, &NF_INET_POST_ROUTING.to_be_bytes()),
        attribute(NFTA_HOOK_PRIORITY, &NF_IP_PRI_NAT_SRC.to_be_bytes()),
    ];
    let chain = [
        named(NFTA_CHAIN_TABLE, TABLE),
        named(NFTA_CHAIN_NAME, CHAIN),
        nested(NFTA_CHAIN_HOOK, &hook),
        named(NFTA_CHAIN_TYPE, "nat"),
    ];
    let rules = [named(NFTA_RULE_TABLE, TABLE), named(NFTA_RULE_CHAIN, CHAIN)].concat();
    let rule = [rules.clone(), nested(NFTA_RULE_EXPRESSIONS, &[looks_at_state()])].concat();
    let number = number(family);
    let message = |kind, flags, attributes| Message { kind, flags, family: number, attributes };
    commit(&[
        message(NFT_MSG_NEWTABLE, NLM_F_CREATE, named(NFTA_TABLE_NAME, TABLE)),
        message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain.concat()),
        // Its rules, of which there is one after that.
        message(NFT_MSG_DELRULE, 0, rules),
        message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rule),
    ])
}

/// The expression `ct state`, without anything that looks at its result.
fn looks_at_state() -> Vec<u8> {
    let load = [attribute(NFTA_CT_DREG, &NFT_REG_1.to_be_bytes()), attribute(NFTA_CT_KEY, &NFT_CT_STATE.to_be_bytes())];
    nested(NFTA_LIST_ELEM, &[named(NFTA_EXPR_NAME, "ct"), nested(NFTA_EXPR_DATA, &load)])
}

/// Whether it is there for any family.
///
/// # Errors
/// The kernel does not say.
pub fn is_kept() -> io::Result<bool> {
    kept().map(|families| !families.is_empty())
}

/// How it stands with the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// There was none.
    Absent,
    /// Flows need it.
    Needed,
    /// It has gone.
    Released,
}

/// Takes it away, unless a flow's destination is translated and no other nat chain of nftables does that.
///
/// # Errors
/// The kernel does not say, or objects.
pub fn release() -> io::Result<Kept> {
    let families = kept()?;
    if families.is_empty() {
        return Ok(Kept::Absent);
    }
    if !others_translate(&families)? && any_translated_flow()? {
        return Ok(Kept::Needed);
    }
    let delete =
        |family| Message { kind: NFT_MSG_DELTABLE, flags: 0, family, attributes: named(NFTA_TABLE_NAME, TABLE) };
    commit(&families.into_iter().map(delete).collect::<Vec<_>>())?;
    Ok(Kept::Released)
}

/// Whether there is a nat chain of others in each of these families.
fn others_translate(families: &[u8]) -> io::Result<bool> {
    let others: Vec<Chain> = chains()?.into_iter().filter(|chain| chain.is_nat && chain.table != TABLE).collect();
    let name = |family| if family == NFPROTO_IPV4 { "ip" } else { "ip6" };
    Ok(families.iter().all(|family| others.iter().any(|chain| chain.family == name(*family))))
}

fn kept() -> io::Result<Vec<u8>> {
    Ok(tables()?.into_iter().filter(|(_, name)| name == TABLE).map(|(family, _)| family).collect())
}

/// The tables of nftables: family and name.
pub(crate) fn tables() -> io::Result<Vec<(u8, String)>> {
    let mut tables = Vec::new();
    each(NETLINK_NETFILTER, message_type(NFT_MSG_GETTABLE), &[0; NFGENMSG_LEN], |_, payload| {
        let name = payload.get(NFGENMSG_LEN..).and_then(|bytes| inner(bytes, NFTA_TABLE_NAME)).map(text);
        tables.extend(payload.first().copied().zip(name));
        ControlFlow::Continue(())
    })?;
    Ok(tables)
}
