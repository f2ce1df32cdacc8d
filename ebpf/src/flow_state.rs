//! How a flow's state follows from its packets. Time-outs stand with the layout (`sheave_abi::FlowValue::idle_max_ns`).
//!
//! ```text
//! TCP   HALF_OPEN ──ACK of the SYN-ACK──▶ ESTABLISHED ──FIN both ways──▶ CLOSING
//!           └──────────RST─────────────▶ RESET ◀──RST──┘
//! SCTP  the same: INIT for SYN, the backend's COOKIE ACK for the handshake's end, SHUTDOWN and its ACK for FIN, ABORT for RST
//! UDP   ONE_WAY ──reply, 2 s after the first packet──▶ ESTABLISHED
//! ```
//! ESTABLISHED lives in the plain table, the others in the LRU table. CLOSING and RESET mean that a SYN may begin the next
//! flow, not that this one is over: nobody has checked the sequence number of what led there.
use crate::family::Family;
use crate::sctp;
use crate::segment::{ACK, FIN, RST, SYN, Segment};
use sheave_abi::{
    FLOW_CLOSING, FLOW_ESTABLISHED, FLOW_FIN_BACKEND, FLOW_FIN_CLIENT, FLOW_HALF_OPEN, FLOW_ONE_WAY, FLOW_OPENED,
    FLOW_RESET, FLOW_STREAM_NS, FLOW_SYN_ACK, IPPROTO_UDP,
};

const FINS: u8 = FLOW_FIN_CLIENT | FLOW_FIN_BACKEND;
/// How far past the SYN-ACK the first acknowledgement may be: data sent before it was seen, with TCP Fast Open (RFC 7413).
const ACK_AHEAD_MAX: u32 = 1 << 16;

/// How a flow stands; what a packet makes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub state: u8,
    pub flags: u8,
}

/// How a flow stands after its first packet.
#[inline(always)]
pub fn first_state(protocol: u8) -> u8 {
    if protocol == IPPROTO_UDP { FLOW_ONE_WAY } else { FLOW_HALF_OPEN }
}

/// The step a packet from the client takes. `backend` is how the backend side stands, `handshake_ack` what it holds.
#[inline(always)]
pub fn client_step<F: Family>(segment: &Segment<F>, now: Step, backend: Step, handshake_ack: u32) -> Step {
    if segment.is_udp() {
        return now;
    }
    let next = tcp_step(segment, now, FLOW_FIN_CLIENT);
    let acknowledges = segment.flags & (SYN | ACK) == ACK
        && backend.flags & FLOW_SYN_ACK != 0
        && segment.ack.wrapping_sub(handshake_ack) < ACK_AHEAD_MAX;
    if next.state == FLOW_HALF_OPEN && acknowledges {
        return Step { state: FLOW_ESTABLISHED, flags: next.flags | FLOW_OPENED };
    }
    next
}

/// The step a packet from the backend takes, `age_ns` after the flow's first one.
#[inline(always)]
pub fn backend_step<F: Family>(segment: &Segment<F>, now: Step, age_ns: u64) -> Step {
    if segment.is_udp() {
        return if age_ns > FLOW_STREAM_NS { Step { state: FLOW_ESTABLISHED, ..now } } else { now };
    }
    let next = tcp_step(segment, now, FLOW_FIN_BACKEND);
    // A backend says so only to who has sent back its cookie (RFC 9260 §5.1): an address that could be forged in an INIT is not any more.
    if next.state == FLOW_HALF_OPEN && segment.flags & sctp::OPENS != 0 {
        return Step { state: FLOW_ESTABLISHED, flags: next.flags | FLOW_OPENED };
    }
    next
}

/// Which acknowledgement ends the handshake of a half-open flow, if this packet from the backend says so: a SYN-ACK, or the
/// segment after it when the entry that had seen the SYN-ACK was lost. SCTP has no such number: what its INIT ACK yields is not asked for.
#[inline(always)]
pub fn handshake_ack<F: Family>(segment: &Segment<F>, now: Step) -> Option<u32> {
    if now.state != FLOW_HALF_OPEN {
        return None;
    }
    match segment.flags & (SYN | ACK | RST) {
        flags if flags == SYN | ACK => Some(segment.seq.wrapping_add(1)),
        ACK if now.flags & FLOW_SYN_ACK == 0 => Some(segment.seq),
        _ => None,
    }
}

/// True for a SYN-ACK on a flow that has ended: the client has dialled this backend by its own address since.
#[inline(always)]
pub fn is_of_another<F: Family>(segment: &Segment<F>, now: Step) -> bool {
    matches!(now.state, FLOW_CLOSING | FLOW_RESET) && segment.flags & (SYN | ACK) == SYN | ACK
}

#[inline(always)]
fn tcp_step<F: Family>(segment: &Segment<F>, now: Step, fin: u8) -> Step {
    if segment.flags & RST != 0 {
        return Step { state: FLOW_RESET, ..now };
    }
    if segment.flags & FIN == 0 || now.state == FLOW_RESET {
        return now;
    }
    let flags = now.flags | fin;
    Step { state: if flags & FINS == FINS { FLOW_CLOSING } else { now.state }, flags }
}
