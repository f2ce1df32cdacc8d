//! What the kernel says about links and addresses, read from route netlink datagrams.
//!
//! Only the attributes we act on are read. The full parsers refuse a message whole when one attribute of an exotic device is
//! not as they expect it, and that device would then not be served.
use crate::address::{Assignment, Standing, Use, assignment};
use crate::link::{Layer, Link, LinkIndex, LinkKind, NetnsId, Upper};
use rtnetlink::packet_core::{NLM_F_DUMP_INTR, NetlinkBuffer, NlasIterator};

/// include/uapi/linux/netlink.h, rtnetlink.h
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
/// include/uapi/linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
/// include/uapi/linux/if_arp.h
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
/// The devices of these types keep no header in front of the IP header, or hand it to nobody: PPP, IP tunnels over IPv4 and
/// IPv6 (ipip, ip6tnl, vti, sit, GRE), modems that speak IP, and NONE, which WireGuard and `tun` have.
const ARPHRD_OF_IP: [u16; 8] = [512, 519, 768, 769, 776, 778, 823, 0xfffe];
/// include/uapi/linux/if.h; also set on failover and netvsc ports, not on team ports.
const IFF_SLAVE: u32 = 1 << 11;
const AF_UNSPEC: u8 = 0;
const IFINFOMSG_LEN: usize = 16;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// Something is, or is no more.
    News(News),
    /// The listing that was asked for is complete; not all of one moment, if interrupted.
    Listed { interrupted: bool },
    /// The listing failed.
    Failed(i32),
}

/// Something is, or is no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// A link as it is now.
    Link(Link),
    /// A link is no more in this namespace.
    LinkGone(LinkIndex),
    /// A device has an address, to which the kernel delivers.
    Address(Assignment, Use),
    /// A device has an address no more, or does not receive by it.
    AddressGone(Assignment),
}

/// The messages of a datagram. What is about something else, or makes no sense, is left out.
pub(crate) fn notices(mut datagram: &[u8]) -> Vec<Notice> {
    let mut notices = Vec::new();
    while let Ok(message) = NetlinkBuffer::new_checked(datagram) {
        notices.extend(notice(message.message_type(), message.flags(), message.payload()));
        let length = (message.length() as usize).next_multiple_of(4);
        datagram = datagram.get(length..).unwrap_or_default();
    }
    notices
}

/// What a message says.
pub(crate) fn notice(kind: u16, flags: u16, payload: &[u8]) -> Option<Notice> {
    match kind {
        NLMSG_DONE | NLMSG_ERROR => match errno(payload) {
            0 => Some(Notice::Listed { interrupted: flags & NLM_F_DUMP_INTR != 0 }),
            errno => Some(Notice::Failed(errno)),
        },
        RTM_NEWLINK => link(payload).map(News::Link).map(Notice::News),
        RTM_DELLINK => header(payload).map(|header| Notice::News(News::LinkGone(header.index))),
        RTM_NEWADDR => assignment(payload).map(|(assignment, standing)| {
            Notice::News(match standing {
                Standing::Proven(used) => News::Address(assignment, used),
                Standing::Unproven => News::AddressGone(assignment),
            })
        }),
        RTM_DELADDR => assignment(payload).map(|(assignment, _)| Notice::News(News::AddressGone(assignment))),
        _ => None,
    }
}

/// Zero on success; a listing's end may carry no number at all.
pub(crate) fn errno(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |bytes| -i32::from_ne_bytes(*bytes))
}

struct Header {
    layer: Layer,
    index: LinkIndex,
    flags: u32,
}

/// Messages of another family than AF_UNSPEC do not speak of the link's own existence: an AF_BRIDGE RTM_DELLINK only says
/// that it left its bridge.
fn header(payload: &[u8]) -> Option<Header> {
    let header: &[u8; IFINFOMSG_LEN] = payload.first_chunk()?;
    let &[family, _, layer_low, layer_high, i0, i1, i2, i3, f0, f1, f2, f3, ..] = header;
    (family == AF_UNSPEC).then_some(())?;
    let layer = match u16::from_ne_bytes([layer_low, layer_high]) {
        ARPHRD_ETHER => Layer::Ethernet,
        ARPHRD_LOOPBACK => Layer::Loopback,
        ip if ARPHRD_OF_IP.contains(&ip) => Layer::Ip,
        other => Layer::Other(other),
    };
    let index = LinkIndex::new(u32::from_ne_bytes([i0, i1, i2, i3]));
    Some(Header { layer, index, flags: u32::from_ne_bytes([f0, f1, f2, f3]) })
}

fn link(payload: &[u8]) -> Option<Link> {
    let Header { layer, index, flags } = header(payload)?;
    let (mut name, mut kind, mut port_kind) = (None, LinkKind::Driver, String::new());
    let (mut mac, mut master, mut xdp_program, mut peer_netns) = (None, None, None, None);
    for attribute in NlasIterator::new(payload.get(IFINFOMSG_LEN..)?).map_while(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            IFLA_IFNAME => name = Some(text(value)),
            IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok(),
            IFLA_MASTER => master = value.try_into().ok().map(u32::from_ne_bytes).map(LinkIndex::new),
            IFLA_LINK_NETNSID => peer_netns = value.try_into().ok().map(i32::from_ne_bytes).and_then(NetnsId::new),
            IFLA_XDP => {
                let mut inner = NlasIterator::new(value).map_while(Result::ok);
                let program = inner.find(|inner| inner.kind() == IFLA_XDP_PROG_ID);
                xdp_program = program.and_then(|id| id.value().try_into().ok()).map(u32::from_ne_bytes);
            }
            IFLA_LINKINFO => {
                for info in NlasIterator::new(value).map_while(Result::ok) {
                    match info.kind() {
                        IFLA_INFO_KIND => kind = text(info.value()).as_str().into(),
                        IFLA_INFO_SLAVE_KIND => port_kind = text(info.value()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let aggregated = flags & IFF_SLAVE != 0 || matches!(port_kind.as_str(), "bond" | "team");
    let upper = match master {
        None => Upper::None,
        Some(master) if aggregated => Upper::Aggregate(master),
        Some(master) => Upper::Other(master),
    };
    let mac = mac.filter(|_| layer == Layer::Ethernet);
    Some(Link { index, name: name?, kind, upper, layer, mac, xdp_program, peer_netns })
}

/// A zero-terminated string; a device name may be any bytes.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::{
        InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    };
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
    use rtnetlink::packet_core::{DoneMessage, NetlinkMessage, NetlinkPayload};

    fn datagram(payloads: Vec<NetlinkPayload<RouteNetlinkMessage>>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            let mut message = NetlinkMessage::new(Default::default(), payload);
            message.finalize();
            let start = bytes.len();
            bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
            message.serialize(&mut bytes[start..]);
        }
        bytes
    }

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = attributes;
        message
    }

    fn gone_link(index: u32) -> Notice {
        Notice::News(News::LinkGone(LinkIndex::new(index)))
    }

    fn name() -> LinkAttribute {
        LinkAttribute::IfName("dev".to_owned())
    }

    fn info(infos: Vec<LinkInfo>) -> LinkAttribute {
        LinkAttribute::LinkInfo(infos)
    }

    #[test]
    fn a_link_is_read_from_the_attributes_that_matter() {
        let plain = Link {
            index: LinkIndex::new(7),
            name: "dev".to_owned(),
            kind: LinkKind::Driver,
            upper: Upper::None,
            layer: Layer::Ethernet,
            mac: None,
            xdp_program: None,
            peer_netns: None,
        };
        let master = LinkIndex::new(3);
        let port = |kind| vec![name(), LinkAttribute::Controller(3), info(vec![LinkInfo::PortKind(kind)])];
        for (case, attributes, want) in [
            ("a NIC", vec![name(), LinkAttribute::Address(vec![2; 6])], Link { mac: Some([2; 6]), ..plain.clone() }),
            (
                "a veth",
                vec![name(), info(vec![LinkInfo::Kind(InfoKind::Veth)])],
                Link { kind: LinkKind::Veth, ..plain.clone() },
            ),
            (
                "a pod's veth",
                vec![name(), info(vec![LinkInfo::Kind(InfoKind::Veth)]), LinkAttribute::LinkNetNsId(4)],
                Link { kind: LinkKind::Veth, peer_netns: NetnsId::new(4), ..plain.clone() },
            ),
            ("an end that is in no namespace", vec![name(), LinkAttribute::LinkNetNsId(-1)], plain.clone()),
            ("a bridge port", port(InfoPortKind::Bridge), Link { upper: Upper::Other(master), ..plain.clone() }),
            ("a bond port", port(InfoPortKind::Bond), Link { upper: Upper::Aggregate(master), ..plain.clone() }),
            ("a team port", port(InfoPortKind::Team), Link { upper: Upper::Aggregate(master), ..plain.clone() }),
            ("an address of 20 bytes", vec![name(), LinkAttribute::Address(vec![2; 20])], plain.clone()),
        ] {
            let new = NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message(attributes)));
            assert_eq!(notices(&datagram(vec![new])), [Notice::News(News::Link(want))], "case: {case}");
        }
    }

    #[test]
    fn a_failover_port_is_known_by_its_flag() {
        let mut port = message(vec![name(), LinkAttribute::Controller(3)]);
        port.header.flags = LinkFlags::Controller;
        let new =
            |message| notices(&datagram(vec![NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message))]));
        let upper = |notices: &[Notice]| match notices {
            [Notice::News(News::Link(link))] => link.upper,
            other => panic!("{other:?}"),
        };
        assert_eq!(upper(&new(port.clone())), Upper::Other(LinkIndex::new(3)), "IFF_MASTER is not IFF_SLAVE");
        port.header.flags = LinkFlags::from_bits_retain(IFF_SLAVE);
        assert_eq!(upper(&new(port)), Upper::Aggregate(LinkIndex::new(3)));
    }

    #[test]
    fn leaving_a_bridge_is_not_leaving_the_machine() {
        let mut left = message(vec![name()]);
        left.header.interface_family = AddressFamily::Bridge;
        let gone = |message| NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message));
        assert_eq!(notices(&datagram(vec![gone(left)])), []);
        assert_eq!(notices(&datagram(vec![gone(message(vec![name()]))])), [gone_link(7)]);
    }

    #[test]
    fn several_messages_in_a_datagram_are_read_in_order_and_a_broken_tail_is_left_out() {
        let link = |index| {
            let mut message = message(vec![name()]);
            message.header.index = index;
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message))
        };
        let done = NetlinkPayload::Done(DoneMessage::default());
        let bytes = datagram(vec![link(1), link(2), done]);
        let want = [gone_link(1), gone_link(2), Notice::Listed { interrupted: false }];
        assert_eq!(notices(&bytes), want);
        for cut in 0..bytes.len() {
            assert!(want.starts_with(&notices(&bytes[..cut])), "cut at {cut}");
        }
        assert_eq!(notices(&[0; 64]), [], "a length of zero ends the datagram");
    }
}
