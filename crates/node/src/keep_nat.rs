//! A nat chain without rules, for flows that a proxy has left behind.
//!
//! The kernel translates packets of a flow whose translation was decided long ago only while some nat chain of the family is there:
//! the first one registers what does it, the last one takes it away (`nf_nat_register_fn`, net/netfilter/nf_nat_core.c). So before the
//! chains of a proxy go there has to be another one. It decides nothing.
use crate::attribute::inner;
use crate::conntrack::any_translated_flow;
use crate::dump::each;
use crate::nf_tables::{Message, attribute, commit, named, nested};
use crate::notice::text;
use crate::survey::{Chain, NFPROTO_IPV4, NFPROTO_IPV6, chains};
use rtnetlink::packet_core::NLM_F_CREATE;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use sheave_core::Family;
use std::io;
use std::ops::ControlFlow;

/// The table's name, in each family.
pub const TABLE: &str = "sheave-keep-nat";
const CHAIN: &str = "keep";
/// include/uapi/linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 0x0a01;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFGENMSG_LEN: usize = 4;
/// Any hook will do: whichever chain is the first brings all of them. This one, as `srcnat`.
const NF_INET_POST_ROUTING: u32 = 4;
const NF_IP_PRI_NAT_SRC: u32 = 100;

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
    let (family, flags) = (number(family), NLM_F_CREATE);
    commit(&[
        Message { kind: NFT_MSG_NEWTABLE, flags, family, attributes: named(NFTA_TABLE_NAME, TABLE) },
        Message { kind: NFT_MSG_NEWCHAIN, flags, family, attributes: chain.concat() },
    ])
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
    each(NETLINK_NETFILTER, NFT_MSG_GETTABLE, &[0; NFGENMSG_LEN], |_, payload| {
        let name = payload.get(NFGENMSG_LEN..).and_then(|bytes| inner(bytes, NFTA_TABLE_NAME)).map(text);
        tables.extend(payload.first().copied().zip(name));
        ControlFlow::Continue(())
    })?;
    Ok(tables)
}
