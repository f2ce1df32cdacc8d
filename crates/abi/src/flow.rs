//! The flow tables of the device entrance: keys and value of `flows_v4`, `flows_v6` (hash: established flows) and
//! `flows_v4_half`, `flows_v6_half` (LRU hash: half-open, one-way and closing ones).
//!
//! An entry is found by a packet as it is seen at a hook, and holds all of what it is rewritten to there. A *translation* is a pair of
//! entries, one per direction, and each names the other: the partner's key is what this one rewrites to, turned round, at the other
//! hook, and the partner rewrites to this one's key, turned round. A flow that is masqueraded has two translations, one after the
//! other: the destination at ingress, the source at egress. The layout is frozen, with spare bytes: programs of the next version go on
//! with the flows they find.
use crate::NetPort;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`FlowKeyV4::hook`]: packets that come in by a device.
pub const FLOW_INGRESS: u8 = 0;
/// [`FlowKeyV4::hook`]: packets that go out by a device.
pub const FLOW_EGRESS: u8 = 1;

/// [`FlowValue::state`]: TCP, SYN seen, or SCTP, INIT seen; the handshake is not over.
pub const FLOW_HALF_OPEN: u8 = 1;
/// [`FlowValue::state`]: UDP, nothing came back yet, or only right after the first datagram: a question and its answer.
pub const FLOW_ONE_WAY: u8 = 2;
/// [`FlowValue::state`]: TCP and SCTP after the handshake, UDP that both sides keep up; never evicted, unless the table is full.
pub const FLOW_ESTABLISHED: u8 = 3;
/// [`FlowValue::state`]: TCP, FIN seen both ways; SCTP, SHUTDOWN both ways.
pub const FLOW_CLOSING: u8 = 4;
/// [`FlowValue::state`]: TCP, RST seen; SCTP, ABORT.
pub const FLOW_RESET: u8 = 5;

/// [`FlowValue::flags`] of both entries: TCP, FIN seen from the client; SCTP, SHUTDOWN or its acknowledgement.
pub const FLOW_FIN_CLIENT: u8 = 1;
/// [`FlowValue::flags`] of both entries: the same from the backend.
pub const FLOW_FIN_BACKEND: u8 = 2;
/// [`FlowValue::flags`] of a backend-side entry: TCP, the SYN-ACK was seen and [`FlowValue::handshake_ack`] is valid; SCTP, the INIT
/// ACK was seen.
pub const FLOW_SYN_ACK: u8 = 4;
/// [`FlowValue::flags`] of both entries: the handshake was completed. Anybody can forge a RST or a FIN whose sequence number nobody
/// checks here, or an ABORT whose tag nobody does: such a flow keeps the idle time of an established one, and goes on if its ends go on.
pub const FLOW_OPENED: u8 = 8;

/// [`FlowValue::role`]: packets of this entry come from the client. The other entry of the pair is the backend side.
pub const FLOW_CLIENT_SIDE: u8 = 1;
/// [`FlowValue::role`]: a source is to be chosen at egress; the entry rewrites to its own key until then, and has no partner.
pub const FLOW_PENDING: u8 = 2;
/// [`FlowValue::role`] of both entries: the destination's translation of a masqueraded flow; the source's is a pair of its own.
pub const FLOW_MASQUERADED: u8 = 4;
/// [`FlowValue::role`] of both entries: decided at egress. Its packets leave by the route to the backend, and replies are given back to
/// the device of the decision.
pub const FLOW_DIVERTED: u8 = 8;
/// [`FlowValue::role`]: another translator of this node carries the flow, with memory of its own (nf_conntrack, under the proxy that
/// was here before). Its packets pass untouched. Such an entry stands alone, without a partner. One of the client side names the
/// backend, and counts as absent once that serves no more; any other reserves the port which that translator gave the flow.
pub const FLOW_FOREIGN: u8 = 16;

/// Key of `flows_v4` and `flows_v4_half`; of `fragments_v4` too (see there).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowKeyV4 {
    /// Source address of the packet, network order.
    pub src: [u8; 4],
    /// Destination address of the packet, network order.
    pub dst: [u8; 4],
    /// Source port of the packet, network order.
    pub src_port: NetPort,
    /// Destination port of the packet, network order.
    pub dst_port: NetPort,
    /// IP protocol number.
    pub protocol: u8,
    /// [`FLOW_INGRESS`] or [`FLOW_EGRESS`].
    pub hook: u8,
    /// Zero for flows.
    pub zero: [u8; 2],
}
const _: () = assert!(size_of::<FlowKeyV4>() == 16);

/// Key of `flows_v6` and `flows_v6_half`; of `fragments_v6` too (see there).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(8))]
pub struct FlowKeyV6 {
    /// Source address of the packet, network order.
    pub src: [u8; 16],
    /// Destination address of the packet, network order.
    pub dst: [u8; 16],
    /// Source port of the packet, network order.
    pub src_port: NetPort,
    /// Destination port of the packet, network order.
    pub dst_port: NetPort,
    /// IP protocol number.
    pub protocol: u8,
    /// [`FLOW_INGRESS`] or [`FLOW_EGRESS`].
    pub hook: u8,
    /// Zero for flows.
    pub zero: [u8; 2],
}
const _: () = assert!(size_of::<FlowKeyV6>() == 40);

/// Value of all flow tables: what a packet of this direction is rewritten to, and how the flow stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FlowValue {
    /// Time of the last packet of this direction, ns of `CLOCK_MONOTONIC`; up to [`FLOW_SEEN_GRAIN_NS`] behind.
    pub seen_ns: u64,
    /// [`crate::BackendId`] of the flow, host order.
    pub backend: u32,
    /// [`crate::ServiceId`] of the flow, host order.
    pub service: u32,
    /// The new source, network order; IPv4 in the first four bytes, the others zero.
    pub src: [u8; 16],
    /// The new destination, in the same form.
    pub dst: [u8; 16],
    /// The new source port, network order.
    pub src_port: NetPort,
    /// The new destination port, network order.
    pub dst_port: NetPort,
    /// Acknowledgement number that ends the handshake, host order; see [`FLOW_SYN_ACK`]. Backend side only.
    pub handshake_ack: u32,
    /// Device at which the flow's first packet was seen.
    pub ifindex: u32,
    /// [`FLOW_HALF_OPEN`] to [`FLOW_RESET`]; the same in both entries.
    pub state: u8,
    /// [`FLOW_FIN_CLIENT`], [`FLOW_FIN_BACKEND`], [`FLOW_SYN_ACK`], [`FLOW_OPENED`].
    pub flags: u8,
    /// [`FLOW_CLIENT_SIDE`], [`FLOW_PENDING`], [`FLOW_MASQUERADED`], [`FLOW_DIVERTED`], [`FLOW_FOREIGN`]: never changes.
    pub role: u8,
    /// Spare, zero.
    pub zero: u8,
    /// Time of the flow's first packet, ns of `CLOCK_MONOTONIC`.
    pub begun_ns: u64,
    /// Spare, zero.
    pub spare: [u8; 8],
}
const _: () = assert!(size_of::<FlowValue>() == 80);

/// `seen_ns` is written at most this often: a store per packet would bounce its cache line between processors.
pub const FLOW_SEEN_GRAIN_NS: u64 = 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;
/// TCP and SCTP, no handshake yet: nf_conntrack's SYN_SENT (`net/netfilter/nf_conntrack_proto_tcp.c`, `tcp_timeouts`).
pub const FLOW_HALF_OPEN_IDLE_NS: u64 = 120 * SECOND_NS;
/// TCP and SCTP, established: kube-proxy's `conntrack.tcpEstablishedTimeout`, 24 h by default.
pub const FLOW_ESTABLISHED_IDLE_NS: u64 = 86_400 * SECOND_NS;
/// TCP and SCTP, FIN seen one way: kube-proxy's `conntrack.tcpCloseWaitTimeout`, 1 h by default (kubernetes#32551).
pub const FLOW_HALF_CLOSED_IDLE_NS: u64 = 3_600 * SECOND_NS;
/// TCP and SCTP, FIN seen both ways: nf_conntrack's TIME_WAIT. After it the port may be had by another flow.
pub const FLOW_CLOSING_IDLE_NS: u64 = 120 * SECOND_NS;
/// TCP and SCTP, RST seen before the handshake's end: nf_conntrack's CLOSE.
pub const FLOW_RESET_IDLE_NS: u64 = 10 * SECOND_NS;
/// UDP, not a stream: nf_conntrack's UDP_CT_UNREPLIED (`net/netfilter/nf_conntrack_proto_udp.c`, `udp_timeouts`).
pub const FLOW_ONE_WAY_IDLE_NS: u64 = 30 * SECOND_NS;
/// UDP, a stream: nf_conntrack's UDP_CT_REPLIED.
pub const FLOW_UDP_IDLE_NS: u64 = 120 * SECOND_NS;
/// UDP that is answered later than this after its first packet is a stream: nf_conntrack's `stream_ts`. DNS is none.
pub const FLOW_STREAM_NS: u64 = 2 * SECOND_NS;
/// TCP and SCTP, established: a backend that serves no longer and was silent for this long has gone; a SYN then begins the next flow.
/// As long as a client keeps a port in TIME_WAIT at most.
pub const FLOW_SILENT_NS: u64 = 120 * SECOND_NS;

impl FlowValue {
    /// How long the flow may be idle in both directions before its entries count as absent.
    #[must_use]
    pub const fn idle_max_ns(&self, protocol: u8) -> u64 {
        match self.state {
            FLOW_ONE_WAY => FLOW_ONE_WAY_IDLE_NS,
            FLOW_HALF_OPEN => FLOW_HALF_OPEN_IDLE_NS,
            FLOW_ESTABLISHED if protocol == crate::IPPROTO_UDP => FLOW_UDP_IDLE_NS,
            FLOW_ESTABLISHED if self.flags & (FLOW_FIN_CLIENT | FLOW_FIN_BACKEND) != 0 => FLOW_HALF_CLOSED_IDLE_NS,
            FLOW_ESTABLISHED => FLOW_ESTABLISHED_IDLE_NS,
            FLOW_CLOSING | FLOW_RESET if self.flags & FLOW_OPENED != 0 => FLOW_ESTABLISHED_IDLE_NS,
            FLOW_CLOSING => FLOW_CLOSING_IDLE_NS,
            _ => FLOW_RESET_IDLE_NS,
        }
    }

    /// How long before `now_ns` this direction's last packet came; negative when another processor's clock was ahead.
    #[must_use]
    pub const fn idle_ns(&self, now_ns: u64) -> i64 {
        now_ns.wrapping_sub(self.seen_ns).cast_signed()
    }

    /// True when this direction alone has been idle for too long at `now_ns`; the flow may still live by the other one.
    #[must_use]
    pub const fn is_idle(&self, protocol: u8, now_ns: u64) -> bool {
        self.idle_ns(now_ns) > self.idle_max_ns(protocol).cast_signed()
    }
}
