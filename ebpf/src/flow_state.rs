//! How a flow's state follows from its packets. Time-outs stand with the layout (`sheave_abi::FlowValue::idle_max_ns`).
//!
//! ```text
//! TCP   HALF_OPEN ──ACK of the SYN-ACK──▶ ESTABLISHED ──FIN both ways──▶ CLOSING        UDP   ONE_WAY ──reply──▶ ESTABLISHED
//!           └──────────RST─────────────▶ RESET ◀──RST──┘
//! ```
//! ESTABLISHED lives in the plain table, the others in the LRU table.
use crate::family::Family;
use crate::segment::{ACK, FIN, RST, SYN, Segment};
use sheave_abi::{
    FLOW_CLOSING, FLOW_ESTABLISHED, FLOW_FIN_BACKEND, FLOW_FIN_CLIENT, FLOW_HALF_OPEN, FLOW_RESET, FLOW_SYN_ACK,
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

/// The step a packet from the client takes. `reply` is how the reply entry stands, `handshake_ack` what it holds.
#[inline(always)]
pub fn forward_step<F: Family>(segment: &Segment<F>, now: Step, reply: Step, handshake_ack: u32) -> Step {
    if !segment.is_tcp() {
        return now;
    }
    let next = tcp_step(segment, now, FLOW_FIN_CLIENT);
    let acknowledges = segment.flags & (SYN | ACK) == ACK
        && reply.flags & FLOW_SYN_ACK != 0
        && segment.ack.wrapping_sub(handshake_ack) < ACK_AHEAD_MAX;
    if next.state == FLOW_HALF_OPEN && acknowledges { Step { state: FLOW_ESTABLISHED, ..next } } else { next }
}

/// The step a packet from the backend takes.
#[inline(always)]
pub fn reply_step<F: Family>(segment: &Segment<F>, now: Step) -> Step {
    if !segment.is_tcp() {
        return Step { state: FLOW_ESTABLISHED, ..now };
    }
    tcp_step(segment, now, FLOW_FIN_BACKEND)
}

/// True for the SYN-ACK of a flow that is half open: its sequence number says which acknowledgement ends the handshake.
#[inline(always)]
pub fn is_syn_ack<F: Family>(segment: &Segment<F>, now: Step) -> bool {
    now.state == FLOW_HALF_OPEN && segment.flags & (SYN | ACK | RST) == SYN | ACK
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
