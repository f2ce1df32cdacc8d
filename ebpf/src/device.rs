//! The device entrance: what happens to a packet at ingress and at egress of a device.
use crate::family::{Family, V4, V6};
use crate::flow::{self, Found, Target};
use crate::flow_state;
use crate::ip::{IPV4, IPV6};
use crate::segment::{FIN, RST, SYN, Segment};
use crate::sys::kernel::now_ns;
use crate::sys::{FlowEntry, Packet, kernel, maps};
use crate::{new_flow, rewrite, select};
use sheave_abi::{Counter, FLOW_CLOSING, FLOW_FORWARD, FLOW_HALF_OPEN, FLOW_REPLY, FLOW_RESET, FLOW_SYN_ACK};

/// Goes on with the next program, or with the stack: `TC_ACT_UNSPEC` for clsact, `TCX_NEXT` for tcx.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;

/// A packet comes in: client to VIP, or nothing of ours.
#[inline(always)]
pub fn ingress(packet: Packet) -> i32 {
    let outcome = match packet.ether_type() {
        _ if packet.is_tagged() => Counter::PassProtocol,
        IPV4 => ingress_of::<V4>(packet),
        IPV6 => ingress_of::<V6>(packet),
        _ => Counter::PassProtocol,
    };
    conclude(packet, outcome)
}

/// A packet goes out: backend to client, or nothing of ours.
#[inline(always)]
pub fn egress(packet: Packet) -> i32 {
    let outcome = match packet.ether_type() {
        _ if packet.is_tagged() => Counter::PassProtocol,
        IPV4 => egress_of::<V4>(packet),
        IPV6 => egress_of::<V6>(packet),
        _ => Counter::PassProtocol,
    };
    conclude(packet, outcome)
}

/// Counts the outcome, once, and says what it means to the kernel.
#[inline(always)]
fn conclude(packet: Packet, outcome: Counter) -> i32 {
    kernel::count(outcome);
    match outcome {
        Counter::RejectReset | Counter::RejectUnreachable => packet.send_back(),
        Counter::DropFlowTableFull | Counter::DropSetRaced | Counter::DropRewriteFailed => DROP,
        _ => NEXT,
    }
}

#[inline(never)]
fn ingress_of<F: Family>(packet: Packet) -> Counter {
    let segment = &mut Segment::<F>::empty();
    if let Err(pass) = segment.fill(packet, FLOW_FORWARD) {
        return pass;
    }
    let now_ns = now_ns();
    match known_forward(packet, segment, now_ns) {
        Some(outcome) => outcome,
        None => new_flow::first(packet, segment, now_ns),
    }
}

/// Translates a packet of a known flow; `None` when there is none, or it counts as absent and has to be decided anew.
#[inline(always)]
fn known_forward<F: Family>(packet: Packet, segment: &Segment<F>, now_ns: u64) -> Option<Counter> {
    let found = flow::find::<F>(&segment.key)?;
    let target = found.target::<F>();
    let is_idle = found.entry.is_idle(segment.protocol, now_ns);
    let is_settled = found.is_established_table
        && segment.flags & (SYN | FIN | RST) == 0
        && !is_idle
        && (segment.is_tcp() || serves::<F>(found.entry, &target));
    // Before any step: it may move the entry, and the copy has to know.
    found.entry.touch(now_ns);
    if !is_settled && !advance_forward(segment, &found, is_idle, now_ns) {
        flow::remove::<F>(&segment.key);
        return None;
    }
    Some(match rewrite::forward(packet, segment, &target) {
        Ok(()) => Counter::FlowForward,
        Err(_) => Counter::DropRewriteFailed,
    })
}

/// Takes a flow that is not settled a step further, and puts back the reply entry the LRU table may have lost. False when the
/// flow must not be followed any more; then its reply entry is gone.
#[inline(never)]
fn advance_forward<F: Family>(segment: &Segment<F>, found: &Found, is_idle: bool, now_ns: u64) -> bool {
    let tuple = segment.tuple();
    let reply_key = flow::reply_key::<F>(&tuple, &found.target::<F>());
    let reply_target = flow::reply_target(&tuple);
    let Some(reply) = flow::find::<F>(&reply_key) else {
        let goes_on = !is_idle && !is_over(segment, found, None, now_ns);
        return goes_on && put_back::<F>(&reply_key, &reply_target, found);
    };
    if reply.target::<F>() != reply_target {
        // Another flow of this client got the key after the LRU table had lost ours.
        return false;
    }
    let is_idle = is_idle && reply.entry.is_idle(segment.protocol, now_ns);
    if is_idle || is_over(segment, found, Some(&reply), now_ns) {
        flow::remove::<F>(&reply_key);
        return false;
    }
    let step = flow_state::forward_step(segment, found.standing(), reply.standing(), reply.entry.handshake_ack());
    if step != found.standing() || found.is_misplaced() {
        flow::take::<F>(&segment.key, &reply_key, step);
    }
    true
}

/// True when a packet must not follow its flow any more: its backend serves no longer and the flow can still be moved (any
/// UDP flow, L2; a TCP flow nobody has answered, or not for long), or the flow has ended and this SYN begins the next one.
#[inline(always)]
fn is_over<F: Family>(segment: &Segment<F>, found: &Found, reply: Option<&Found>, now_ns: u64) -> bool {
    if !segment.is_tcp() {
        return !serves::<F>(found.entry, &found.target::<F>());
    }
    if !segment.begins_flow() {
        return false;
    }
    let can_be_moved = match found.entry.state() {
        FLOW_CLOSING | FLOW_RESET => return true,
        FLOW_HALF_OPEN => reply.is_none_or(|reply| reply.entry.flags() & FLOW_SYN_ACK == 0),
        // Only then: a forged SYN must not end a flow that its ends keep up (L1).
        _ => reply.is_none_or(|reply| reply.entry.is_silent(now_ns)),
    };
    can_be_moved && !serves::<F>(found.entry, &found.target::<F>())
}

/// True while the flow's backend serves.
#[inline(never)]
fn serves<F: Family>(entry: FlowEntry, target: &Target<F::Addr>) -> bool {
    select::still_serves::<F>(entry.backend(), entry.service(), target.addr, target.port)
}

/// Makes a lost entry anew from its partner; false when another flow has the key now. Without memory for it this packet goes
/// on all the same.
#[inline(always)]
fn put_back<F: Family>(key: &F::FlowKey, target: &Target<F::Addr>, partner: &Found) -> bool {
    let Some(lost) = maps::new_entry() else { return true };
    partner.entry.copy_to(lost);
    lost.flags &= !FLOW_SYN_ACK;
    flow::aim::<F>(lost, target);
    flow::insert_new::<F>(key, lost).is_ok() || flow::find::<F>(key).is_none_or(|other| other.target::<F>() == *target)
}

#[inline(never)]
fn egress_of<F: Family>(packet: Packet) -> Counter {
    let segment = &mut Segment::<F>::empty();
    if let Err(pass) = segment.fill(packet, FLOW_REPLY) {
        return pass;
    }
    let Some(found) = flow::find::<F>(&segment.key) else { return Counter::PassNoFrontend };
    if flow_state::is_foreign(segment, found.standing()) {
        return Counter::PassNoFrontend;
    }
    let target = found.target::<F>();
    let now_ns = now_ns();
    let is_idle = found.entry.is_idle(segment.protocol, now_ns);
    let is_settled = found.is_established_table && segment.flags & (FIN | RST) == 0 && !is_idle;
    // Before any step: it may move the entry, and the copy has to know.
    found.entry.touch(now_ns);
    if !is_settled && !advance_reply(segment, &found, is_idle, now_ns) {
        flow::remove::<F>(&segment.key);
        return Counter::PassNoFrontend;
    }
    match rewrite::reply(packet, segment, &target) {
        Ok(()) => Counter::FlowReply,
        Err(_) => Counter::DropRewriteFailed,
    }
}

/// Takes a flow that is not settled a step further, and puts back the forward entry the LRU table may have lost. False when the
/// reply entry leads nowhere: idle for too long, or its client talks to another backend now.
#[inline(never)]
fn advance_reply<F: Family>(segment: &Segment<F>, found: &Found, is_idle: bool, now_ns: u64) -> bool {
    let tuple = segment.tuple();
    let forward_key = flow::forward_key::<F>(&tuple, &found.target::<F>());
    let forward_target = flow::forward_target(&tuple);
    let lives = match flow::find::<F>(&forward_key) {
        Some(forward) => {
            forward.target::<F>() == forward_target && !(is_idle && forward.entry.is_idle(segment.protocol, now_ns))
        }
        None => !is_idle && put_back::<F>(&forward_key, &forward_target, found),
    };
    if !lives {
        return false;
    }
    if let Some(ack) = flow_state::handshake_ack(segment, found.standing()) {
        found.entry.set_handshake_ack(ack);
        found.entry.set_flags(found.entry.flags() | FLOW_SYN_ACK);
    }
    let step = flow_state::reply_step(segment, found.standing(), now_ns.saturating_sub(found.entry.begun_ns()));
    if step != found.standing() || found.is_misplaced() {
        flow::take::<F>(&forward_key, &segment.key, step);
    }
    true
}
