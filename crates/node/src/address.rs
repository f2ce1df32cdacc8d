//! An address on a device, read from a route netlink message.
use crate::link::LinkIndex;
use rtnetlink::packet_core::NlasIterator;
use std::net::IpAddr;

/// include/linux/socket.h
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// include/uapi/linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// Of IPv4: another address of the subnet came before it. Of IPv6: temporary, for privacy. The node sends from neither
/// unless it is asked to.
const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
/// include/uapi/linux/rtnetlink.h: from here on addresses are not known beyond the link.
const RT_SCOPE_LINK: u8 = 253;
const IFADDRMSG_LEN: usize = 8;

/// A device's address. A device may have one address several times, with other prefixes or peers, and each goes by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Assignment {
    pub(crate) index: LinkIndex,
    pub(crate) addr: IpAddr,
    peer: IpAddr,
    pub(crate) prefix_len: u8,
}

/// Whether the kernel delivers to an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It does.
    Proven(Use),
    /// It does not, as nobody knows yet that no other host has it, or another one was found (RFC 4862, 5.4).
    Unproven,
}

/// What the node does with an address that it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Use {
    /// It sends from it by itself, to anywhere.
    Source,
    /// It answers at it, but does not begin anything from it: a secondary or temporary address, one that is deprecated (RFC
    /// 4862, 5.5.4), one that is used while it is being proven (RFC 4429), or one that only the link knows.
    Destination,
}

/// The payload of `RTM_NEWADDR` and `RTM_DELADDR`; `None` if it makes no sense or is of a family without Services.
pub(crate) fn assignment(payload: &[u8]) -> Option<(Assignment, Standing)> {
    let header: &[u8; IFADDRMSG_LEN] = payload.first_chunk()?;
    let &[family, prefix_len, flags, scope, i0, i1, i2, i3] = header;
    let (mut local, mut address, mut flags) = (None, None, u32::from(flags));
    for attribute in NlasIterator::new(payload.get(IFADDRMSG_LEN..)?).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            IFA_LOCAL => local = ip(family, value),
            IFA_ADDRESS => address = ip(family, value),
            // The header has room for the first eight.
            IFA_FLAGS => flags = value.try_into().map_or(flags, u32::from_ne_bytes),
            _ => {}
        }
    }
    // On a point-to-point device IFA_ADDRESS is the other end; elsewhere either may stand alone.
    let addr = local.or(address)?;
    let index = LinkIndex::new(u32::from_ne_bytes([i0, i1, i2, i3]));
    Some((Assignment { index, addr, peer: address.unwrap_or(addr), prefix_len }, standing(flags, scope)))
}

fn standing(flags: u32, scope: u8) -> Standing {
    let has = |flag| flags & flag != 0;
    let optimistic = has(IFA_F_OPTIMISTIC);
    if has(IFA_F_DADFAILED) || (has(IFA_F_TENTATIVE) && !optimistic) {
        return Standing::Unproven;
    }
    match optimistic || has(IFA_F_SECONDARY | IFA_F_DEPRECATED) || scope >= RT_SCOPE_LINK {
        true => Standing::Proven(Use::Destination),
        false => Standing::Proven(Use::Source),
    }
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use netlink_packet_route::AddressFamily;
    use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
    use rtnetlink::packet_core::Emitable;

    /// An address of /24 or /64 on a device.
    pub(crate) fn assigned(index: u32, addr: &str) -> Assignment {
        let addr: IpAddr = addr.parse().unwrap();
        Assignment { index: LinkIndex::new(index), addr, peer: addr, prefix_len: if addr.is_ipv4() { 24 } else { 64 } }
    }

    /// The same address, without a subnet.
    pub(crate) fn alone(assignment: Assignment) -> Assignment {
        Assignment { prefix_len: 32, ..assignment }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn message(family: AddressFamily, attributes: Vec<AddressAttribute>) -> Vec<u8> {
        let mut message = AddressMessage::default();
        message.header.family = family;
        message.header.index = 7;
        message.header.prefix_len = if family == AddressFamily::Inet { 24 } else { 64 };
        message.attributes = attributes;
        emitted(&message)
    }

    fn emitted(message: &AddressMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn an_address_is_the_local_one_whatever_else_stands_there() {
        use AddressAttribute::{Address, Label, Local};
        use AddressFamily::{Inet, Inet6};
        let (v4, v6) = (ip("10.0.0.1"), ip("fd00::1"));
        let ends = Assignment { peer: ip("10.0.0.2"), ..assigned(7, "10.0.0.1") };
        for (case, family, attributes, want) in [
            ("IPv4", Inet, vec![Address(v4), Local(v4), Label("eth0:1".into())], Some(assigned(7, "10.0.0.1"))),
            ("IPv6", Inet6, vec![Address(v6)], Some(assigned(7, "fd00::1"))),
            ("point to point", Inet, vec![Address(ip("10.0.0.2")), Local(v4)], Some(ends)),
            ("its other order", Inet, vec![Local(v4), Address(ip("10.0.0.2"))], Some(ends)),
            ("no IFA_ADDRESS", Inet, vec![Local(v4)], Some(assigned(7, "10.0.0.1"))),
            ("no address", Inet, vec![Label("eth0".into())], None),
            ("another length than the family's", Inet, vec![Address(v6)], None),
            ("another family", AddressFamily::Phonet, vec![Local(v4)], None),
        ] {
            let read = assignment(&message(family, attributes));
            assert_eq!(read, want.map(|want| (want, Standing::Proven(Use::Source))), "case: {case}");
        }
    }

    #[test]
    fn an_address_counts_from_when_the_kernel_delivers_to_it() {
        let (source, destination) = (Standing::Proven(Use::Source), Standing::Proven(Use::Destination));
        let (none, tentative) = (AddressFlags::empty(), AddressFlags::Tentative);
        for (case, header, flags, want) in [
            ("permanent", AddressFlags::Permanent, None, source),
            ("deprecated", AddressFlags::Deprecated, None, destination),
            ("temporary, or secondary", AddressFlags::Secondary, None, destination),
            ("tentative", tentative, None, Standing::Unproven),
            ("tentative, in the attribute only", none, Some(tentative), Standing::Unproven),
            ("the attribute has the last word", tentative, Some(none), source),
            ("optimistic", tentative | AddressFlags::Optimistic, None, destination),
            ("another host's", tentative | AddressFlags::Dadfailed, None, Standing::Unproven),
            (
                "optimistic, and another host's",
                AddressFlags::Dadfailed | AddressFlags::Optimistic,
                None,
                Standing::Unproven,
            ),
        ] {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::from_bits_retain(u8::try_from(header.bits()).unwrap());
            message.attributes = vec![AddressAttribute::Address(ip("fd00::1"))];
            message.attributes.extend(flags.map(AddressAttribute::Flags));
            let read = assignment(&emitted(&message)).unwrap();
            assert_eq!(read.1, want, "case: {case}");
        }
    }

    #[test]
    fn an_address_that_only_the_link_knows_is_not_sent_from() {
        use netlink_packet_route::address::AddressScope;
        for (scope, want) in [
            (AddressScope::Universe, Use::Source),
            (AddressScope::Site, Use::Source),
            (AddressScope::Link, Use::Destination),
            (AddressScope::Host, Use::Destination),
        ] {
            let mut message = AddressMessage::default();
            message.header.family = AddressFamily::Inet;
            message.header.scope = scope;
            message.attributes = vec![AddressAttribute::Local(ip("10.0.0.1"))];
            assert_eq!(assignment(&emitted(&message)).unwrap().1, Standing::Proven(want), "{scope:?}");
        }
    }

    #[test]
    fn a_message_cut_short_is_no_address_and_no_panic() {
        let whole = message(AddressFamily::Inet6, vec![AddressAttribute::Address(ip("fd00::1"))]);
        for cut in 0..whole.len() {
            assert_eq!(assignment(&whole[..cut]), None, "cut at {cut}");
        }
        let attribute = IFADDRMSG_LEN;
        for length in [0, 1, 3, 19, 21, u8::MAX] {
            let mut odd = whole.clone();
            odd[attribute] = length;
            assert_eq!(assignment(&odd), None, "an attribute that says it has {length} bytes");
        }
    }
}
