//! The flows that netfilter translates, as connection tracking has them (ctnetlink).
use crate::attribute::{attributes, inner};
use crate::dump::each;
use crate::nf_tables::uapi::NFGENMSG_LEN;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use sheave_core::{ForeignFlow, Protocol};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

/// include/uapi/linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_NEW: u16 = 0x0100;
const IPCTNL_MSG_CT_GET: u16 = 0x0101;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;
const CTA_STATUS_MASK: u16 = 26;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// include/uapi/linux/netfilter/nf_conntrack_common.h: its destination is translated.
const IPS_DST_NAT: u32 = 1 << 5;
/// It has lasted: UDP that is more than a question and its answer, TCP after its handshake.
const IPS_ASSURED: u32 = 1 << 2;
/// include/uapi/linux/netfilter/nf_conntrack_tcp.h: SYN_SENT, SYN_RECV, and SYN_SENT2 of a simultaneous open.
const HANDSHAKE: [u8; 3] = [1, 2, 9];

/// Hands out the flows of this network namespace whose destination is translated, one after the other, until told to stop. Only
/// those of the default zone, where kube-proxy's are. Some may be missed or come twice while the table changes.
///
/// # Errors
/// The kernel does not say: without `CAP_NET_ADMIN`, or without connection tracking and its netlink module
/// (`nf_conntrack_netlink`).
pub fn translated_flows(mut take: impl FnMut(ForeignFlow) -> ControlFlow<()>) -> io::Result<()> {
    each(NETLINK_NETFILTER, IPCTNL_MSG_CT_GET, &request(), |kind, payload| match flow(kind, payload) {
        Some(flow) => take(flow),
        None => ControlFlow::Continue(()),
    })
}

/// Whether any flow's destination is translated.
///
/// # Errors
/// As [`translated_flows`].
pub(crate) fn any_translated_flow() -> io::Result<bool> {
    let mut any = false;
    translated_flows(|_| {
        any = true;
        ControlFlow::Break(())
    })?;
    Ok(any)
}

/// Asks for those with the status; kernels before 5.16 do not look at it, and send all.
fn request() -> Vec<u8> {
    let mut request = vec![0; NFGENMSG_LEN];
    for attribute in [CTA_STATUS, CTA_STATUS_MASK] {
        request.extend(8_u16.to_ne_bytes());
        request.extend(attribute.to_ne_bytes());
        request.extend(IPS_DST_NAT.to_be_bytes());
    }
    request
}

/// What a message of the listing says; `None` for what is of no use here.
fn flow(kind: u16, payload: &[u8]) -> Option<ForeignFlow> {
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let (mut original, mut reply, mut status, mut opening, mut remaining_s) = (None, None, 0, false, 0);
    for (attribute, value) in attributes(payload.get(NFGENMSG_LEN..)?).filter(|_| kind == IPCTNL_MSG_CT_NEW) {
        match attribute {
            CTA_TUPLE_ORIG => original = Some(tuple(value)?),
            CTA_TUPLE_REPLY => reply = Some(tuple(value)?),
            CTA_STATUS => status = number(value)?,
            CTA_TIMEOUT => remaining_s = number(value)?,
            CTA_PROTOINFO => opening = is_opening(value),
            CTA_ZONE if value != [0, 0] => return None,
            _ => {}
        }
    }
    let (Tuple { protocol, src: client, dst: dialled }, reply) = (original?, reply?);
    let (backend, source, remaining) = (reply.src, reply.dst, Duration::from_secs(remaining_s.into()));
    let assured = status & IPS_ASSURED != 0;
    let flow = ForeignFlow { protocol, client, dialled, backend, source, opening, assured, remaining };
    (status & IPS_DST_NAT != 0 && reply.protocol == protocol).then_some(flow)
}

struct Tuple {
    protocol: Protocol,
    src: SocketAddr,
    dst: SocketAddr,
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut src, mut dst) = (None, None);
    for (attribute, value) in attributes(inner(bytes, CTA_TUPLE_IP)?) {
        match attribute {
            CTA_IP_V4_SRC | CTA_IP_V6_SRC => src = Some(addr(value)?),
            CTA_IP_V4_DST | CTA_IP_V6_DST => dst = Some(addr(value)?),
            _ => {}
        }
    }
    let ends = inner(bytes, CTA_TUPLE_PROTO)?;
    let port = |kind| inner(ends, kind)?.try_into().ok().map(u16::from_be_bytes);
    let (src, dst) =
        (SocketAddr::new(src?, port(CTA_PROTO_SRC_PORT)?), SocketAddr::new(dst?, port(CTA_PROTO_DST_PORT)?));
    let zone = inner(bytes, CTA_TUPLE_ZONE).unwrap_or_default();
    Some(Tuple { protocol: protocol(inner(ends, CTA_PROTO_NUM)?)?, src, dst })
        .filter(|_| zone.iter().all(|byte| *byte == 0))
}

fn addr(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn protocol(number: &[u8]) -> Option<Protocol> {
    match number {
        [6] => Some(Protocol::Tcp),
        [17] => Some(Protocol::Udp),
        [132] => Some(Protocol::Sctp),
        _ => None,
    }
}

fn is_opening(info: &[u8]) -> bool {
    let state = inner(info, CTA_PROTOINFO_TCP).and_then(|tcp| inner(tcp, CTA_PROTOINFO_TCP_STATE));
    state.is_some_and(|state| HANDSHAKE.iter().any(|handshake| state == [*handshake]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn octets(addr: IpAddr) -> Vec<u8> {
        match addr {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        }
    }

    fn ends(kind: u16, protocol: u8, src: &str, dst: &str) -> Vec<u8> {
        let [src, dst]: [SocketAddr; 2] = [src, dst].map(|text| text.parse().unwrap());
        let base = if src.is_ipv4() { CTA_IP_V4_SRC } else { CTA_IP_V6_SRC };
        let ip = [attribute(base, &octets(src.ip())), attribute(base + 1, &octets(dst.ip()))].concat();
        let proto = [
            attribute(CTA_PROTO_NUM, &[protocol]),
            attribute(CTA_PROTO_SRC_PORT, &src.port().to_be_bytes()),
            attribute(CTA_PROTO_DST_PORT, &dst.port().to_be_bytes()),
        ];
        attribute(kind, &[attribute(CTA_TUPLE_IP, &ip), attribute(CTA_TUPLE_PROTO, &proto.concat())].concat())
    }

    /// A message of the listing.
    fn message(protocol: u8, ways: [[&str; 2]; 2], status: u32, more: &[u8]) -> Vec<u8> {
        let [original, reply] = ways;
        [
            vec![2, 0, 0, 0],
            ends(CTA_TUPLE_ORIG, protocol, original[0], original[1]),
            ends(CTA_TUPLE_REPLY, protocol, reply[0], reply[1]),
            attribute(CTA_TIMEOUT, &29_u32.to_be_bytes()),
            attribute(CTA_STATUS, &status.to_be_bytes()),
            more.to_vec(),
        ]
        .concat()
    }

    fn tcp_state(state: u8) -> Vec<u8> {
        attribute(CTA_PROTOINFO, &attribute(CTA_PROTOINFO_TCP, &attribute(CTA_PROTOINFO_TCP_STATE, &[state])))
    }

    const V4: [[&str; 2]; 2] = [["10.1.0.1:4000", "10.96.0.10:53"], ["10.1.0.2:5353", "10.1.0.1:4000"]];
    const MASQUERADED: [[&str; 2]; 2] = [["192.0.2.1:4000", "172.30.0.1:30053"], ["10.1.0.2:5353", "172.30.0.1:6000"]];
    const V6: [[&str; 2]; 2] = [["[fd18::1]:4000", "[fd96::a]:53"], ["[fd18::2]:5353", "[fd18::1]:4000"]];

    #[test]
    fn a_translated_flow_is_read_with_both_its_ends() {
        for (name, protocol, ways, status, more, want) in [
            ("UDP", 17, V4, 0x18a, vec![], (Protocol::Udp, false, false)),
            ("a UDP stream", 17, V4, 0x18e, vec![], (Protocol::Udp, false, true)),
            ("masqueraded", 17, MASQUERADED, 0x19a, vec![], (Protocol::Udp, false, false)),
            ("IPv6", 17, V6, 0x18a, vec![], (Protocol::Udp, false, false)),
            ("TCP in its handshake", 6, V4, 0x18a, tcp_state(2), (Protocol::Tcp, true, false)),
            ("TCP after it", 6, V4, 0x18e, tcp_state(3), (Protocol::Tcp, false, true)),
            ("SCTP", 132, V4, 0x18e, vec![], (Protocol::Sctp, false, true)),
        ] {
            let read = flow(IPCTNL_MSG_CT_NEW, &message(protocol, ways, IPS_DST_NAT | status, &more)).unwrap();
            let [[client, dialled], [backend, source]] = ways.map(|way| way.map(|end| end.parse().unwrap()));
            let ((protocol, opening, assured), remaining) = (want, Duration::from_secs(29));
            let want = ForeignFlow { protocol, client, dialled, backend, source, opening, assured, remaining };
            assert_eq!(read, want, "case: {name}");
        }
    }

    #[test]
    fn what_is_not_translated_or_makes_no_sense_is_left_out() {
        let whole = message(17, V4, IPS_DST_NAT, &[]);
        for (name, kind, bytes) in [
            ("its source alone is translated", IPCTNL_MSG_CT_NEW, message(17, V4, 1 << 4, &[])),
            ("another zone", IPCTNL_MSG_CT_NEW, message(17, V4, IPS_DST_NAT, &attribute(CTA_ZONE, &[0, 7]))),
            ("ICMP", IPCTNL_MSG_CT_NEW, message(1, V4, IPS_DST_NAT, &[])),
            ("another message", 0x0102, whole.clone()),
            ("empty", IPCTNL_MSG_CT_NEW, vec![]),
        ] {
            assert_eq!(flow(kind, &bytes), None, "case: {name}");
        }
        for cut in 0..whole.len() {
            assert_eq!(flow(IPCTNL_MSG_CT_NEW, &whole[..cut]), None, "cut off at {cut}");
        }
    }
}
