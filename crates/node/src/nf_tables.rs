//! Changes of nftables: the few messages that are needed, one transaction at a time.
pub(crate) mod uapi;

use crate::dump::acknowledged;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use uapi::{NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES};

const NLA_F_NESTED: u16 = 1 << 15;
const NLMSG_HEADER_LEN: usize = 16;
const FLAGS_AT: usize = 6;
/// What a socket takes in one message by default is 208 KiB (`net.core.wmem_default`).
const BATCH_MAX: usize = 64 << 10;

/// A message of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    /// `NFT_MSG_*`.
    pub(crate) kind: u16,
    /// `NLM_F_CREATE` and so on.
    pub(crate) flags: u16,
    /// `NFPROTO_*`.
    pub(crate) family: u8,
    /// Its attributes.
    pub(crate) attributes: Vec<u8>,
}

/// An attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("invariant: an attribute of ours is some bytes long");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An attribute that is a string.
pub(crate) fn named(kind: u16, name: &str) -> Vec<u8> {
    attribute(kind, &[name.as_bytes(), &[0]].concat())
}

/// An attribute that consists of others.
pub(crate) fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &attributes.concat())
}

/// The type under which a message of nftables travels.
pub(crate) fn message_type(kind: u16) -> u16 {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

/// Performs all of them or none.
///
/// # Errors
/// The kernel's first objection; `EMSGSIZE` for too many at once.
pub(crate) fn commit(messages: &[Message]) -> io::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let socket = Socket::new(NETLINK_NETFILTER)?;
    socket.send_to(&transaction(messages), &SocketAddr::new(0, 0), 0)?;
    // The first error is the answer, and so is the acknowledgement of the last message.
    acknowledged(&socket)
}

/// Performs them one after the other, in as few transactions as fit.
///
/// # Errors
/// The kernel's first objection; what came before it is done.
pub(crate) fn commit_in_parts(messages: &[Message]) -> io::Result<()> {
    let mut rest = messages;
    while !rest.is_empty() {
        let mut room = BATCH_MAX;
        let fitting = rest.iter().take_while(|message| {
            let length = NLMSG_HEADER_LEN + 4 + message.attributes.len();
            let fits = length <= room;
            room = room.saturating_sub(length);
            fits
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        commit(now)?;
        rest = later;
    }
    Ok(())
}

fn transaction(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let subsystem = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    push(&mut bytes, NFNL_MSG_BATCH_BEGIN, 0, &[0, 0, subsystem[0], subsystem[1]], &[]);
    let mut last = bytes.len();
    for Message { kind, flags, family, attributes } in messages {
        last = bytes.len();
        push(&mut bytes, message_type(*kind), *flags, &[*family, 0, 0, 0], attributes);
    }
    // Success is said once, for the last one.
    let flags = bytes.get(last + FLAGS_AT..last + FLAGS_AT + 2).and_then(|flags| flags.try_into().ok());
    let flags = flags.map_or(0, u16::from_ne_bytes) | NLM_F_ACK;
    bytes.splice(last + FLAGS_AT..last + FLAGS_AT + 2, flags.to_ne_bytes());
    push(&mut bytes, NFNL_MSG_BATCH_END, 0, &[0, 0, subsystem[0], subsystem[1]], &[]);
    bytes
}

fn push(bytes: &mut Vec<u8>, kind: u16, flags: u16, header: &[u8; 4], attributes: &[u8]) {
    let length = u32::try_from(NLMSG_HEADER_LEN + header.len() + attributes.len());
    bytes.extend(length.expect("invariant: a message of ours is some bytes long").to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    // Sequence and port: one transaction a socket.
    bytes.extend([0; 8]);
    bytes.extend(header);
    bytes.extend(attributes);
}
