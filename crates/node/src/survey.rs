//! The network of the node at one moment: for a preflight, which follows nothing.
use crate::addresses::{NodeAddresses, addresses_of};
use crate::attribute::{attributes, inner};
use crate::devices::{Surroundings, uplinks};
use crate::dump::{Message, dump};
use crate::link::{Link, LinkIndex};
use crate::nf_tables::message_type;
use crate::nf_tables::uapi::{
    NF_DROP, NF_INET_FORWARD, NFGENMSG_LEN, NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, NFT_MSG_GETCHAIN,
    NFT_MSG_NEWCHAIN, NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_POLICY, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE,
    NFTA_CHAIN_USE, NFTA_HOOK_HOOKNUM,
};
use crate::notice::{News, Notice, notice, text};
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use sheave_core::rules::LocalPods;
use std::collections::BTreeMap;
use std::io;

/// include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
const TCMSG_LEN: usize = 20;
const TC_H_INGRESS: u32 = 0xffff_fff2;
const TC_H_EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;

/// What there is in a network namespace.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Devices.
    pub links: BTreeMap<LinkIndex, Link>,
    /// Their addresses.
    pub addresses: NodeAddresses,
}

/// A filter of a device's clsact qdisc.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Its priority.
    pub priority: u16,
    /// Its handle.
    pub handle: u32,
    /// Its kind, with the name if it is a program's.
    pub what: String,
}

/// A chain of nftables, those of iptables-nft included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Family, as nft(8) names it.
    pub family: &'static str,
    /// Table.
    pub table: String,
    /// Name.
    pub name: String,
    /// Whether what is forwarded and no rule accepts is dropped here.
    pub drops_forwarded: bool,
    /// How many rules lead to it or stand in it.
    pub uses: u32,
    /// Whether it is one where translations are decided, at one of netfilter's hooks.
    pub is_nat: bool,
}

/// Looks at the devices and addresses of the calling thread's network namespace.
///
/// # Errors
/// The kernel does not say.
pub fn survey() -> io::Result<Survey> {
    let told = |kind, body: &[u8]| -> io::Result<Vec<News>> {
        let messages = dump(NETLINK_ROUTE, kind, body)?;
        let notices = messages.into_iter().filter_map(|message| notice(message.kind, 0, &message.payload));
        Ok(notices.filter_map(|notice| if let Notice::News(news) = notice { Some(news) } else { None }).collect())
    };
    let news: Vec<News> = told(RTM_GETLINK, &[0; 16])?.into_iter().chain(told(RTM_GETADDR, &[0; 8])?).collect();
    let links = news.iter().filter_map(|news| if let News::Link(link) = news { Some(link.clone()) } else { None });
    let links = links.map(|link| (link.index, link)).collect();
    Ok(Survey { links, addresses: addresses_of(news) })
}

impl Survey {
    /// The devices that lead out of the node.
    pub fn uplinks(&self) -> impl Iterator<Item = &Link> {
        let Self { links, addresses } = self;
        uplinks(Surroundings { links, addresses, primary: &[], local_pods: &LocalPods::Cidr { v4: None, v6: None } })
    }
}

/// The filters of a device's clsact qdisc, of both directions; none where it has no such qdisc.
///
/// # Errors
/// The kernel does not say.
pub fn filters(device: LinkIndex) -> io::Result<Vec<Filter>> {
    let mut filters = Vec::new();
    for parent in [TC_H_INGRESS, TC_H_EGRESS] {
        let mut body = [0; TCMSG_LEN];
        body[4..8].copy_from_slice(&device.get().to_ne_bytes());
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        let messages = dump(NETLINK_ROUTE, RTM_GETTFILTER, &body)?;
        filters.extend(messages.iter().filter_map(filter));
    }
    Ok(filters)
}

/// The chains of nftables. Those of iptables-legacy are not among them.
///
/// # Errors
/// The kernel does not say: without `CAP_NET_ADMIN`, or without nftables.
pub fn chains() -> io::Result<Vec<Chain>> {
    Ok(dump(NETLINK_NETFILTER, message_type(NFT_MSG_GETCHAIN), &[0; NFGENMSG_LEN])?.iter().filter_map(chain).collect())
}

fn filter(message: &Message) -> Option<Filter> {
    let header: &[u8; TCMSG_LEN] = message.payload.first_chunk()?;
    let word = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let handle = word(8).filter(|handle| *handle != 0 && message.kind == RTM_NEWTFILTER)?;
    let priority = u16::try_from(word(16)? >> 16).ok()?;
    let (mut kind, mut name) = (String::new(), None);
    for (attribute, value) in attributes(message.payload.get(TCMSG_LEN..)?) {
        match attribute {
            TCA_KIND => kind = text(value),
            TCA_OPTIONS => name = inner(value, TCA_BPF_NAME).map(text),
            _ => {}
        }
    }
    Some(Filter { priority, handle, what: name.map_or(kind.clone(), |name| format!("{kind} {name}")) })
}

fn chain(message: &Message) -> Option<Chain> {
    let family = match *message.payload.first()? {
        _ if message.kind != message_type(NFT_MSG_NEWCHAIN) => return None,
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        NFPROTO_IPV6 => "ip6",
        _ => return None,
    };
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let (mut table, mut name, mut hook, mut policy) = (String::new(), String::new(), None, None);
    let (mut uses, mut is_nat) = (0, false);
    for (attribute, value) in attributes(message.payload.get(NFGENMSG_LEN..)?) {
        match attribute {
            NFTA_CHAIN_TABLE => table = text(value),
            NFTA_CHAIN_NAME => name = text(value),
            NFTA_CHAIN_HOOK => hook = inner(value, NFTA_HOOK_HOOKNUM).and_then(number),
            NFTA_CHAIN_POLICY => policy = number(value),
            NFTA_CHAIN_TYPE => is_nat = text(value) == "nat",
            NFTA_CHAIN_USE => uses = number(value).unwrap_or_default(),
            _ => {}
        }
    }
    let drops_forwarded = (hook, policy) == (Some(NF_INET_FORWARD), Some(NF_DROP));
    Some(Chain { family, table, name, drops_forwarded, uses, is_nat })
}
