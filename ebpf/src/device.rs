//! The device entrance: what happens to a packet at ingress and at egress of a device.
use crate::family::{Family, Tuple, V4, V6};
use crate::flow::{self, Found, Target};
use crate::flow_state::{self, Step};
use crate::ip::{IPV4, IPV6};
use crate::segment::{FIN, RST, Segment};
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
    let is_settled = found.is_established_table
        && segment.flags & (FIN | RST) == 0
        && !found.entry.is_idle(segment.protocol, now_ns);
    let goes_on = if is_settled {
        segment.is_tcp() || serves::<F>(found.entry, &target)
    } else {
        advance_forward(segment, &found, &target, now_ns)
    };
    if !goes_on {
        flow::remove::<F>(&segment.key);
        return None;
    }
    found.entry.touch(now_ns);
    Some(match rewrite::forward(packet, segment, &target) {
        Ok(()) => Counter::FlowForward,
        Err(_) => Counter::DropRewriteFailed,
    })
}

/// Takes a flow that is not settled a step further, and puts back the reply entry the LRU table may have lost. False when the
/// flow must not be followed any more; then its reply entry is gone.
#[inline(never)]
fn advance_forward<F: Family>(segment: &Segment<F>, found: &Found, target: &Target<F::Addr>, now_ns: u64) -> bool {
    let tuple = segment.tuple();
    let reply_key = flow::reply_key::<F>(&tuple, target);
    let Some(reply) = flow::find::<F>(&reply_key) else {
        let goes_on = !found.entry.is_idle(segment.protocol, now_ns) && !is_over(segment, found, target, false);
        return goes_on && put_back::<F>(&reply_key, &tuple, found);
    };
    if reply.target::<F>() != flow::reply_target(&tuple) {
        // Another flow of this client got the key after the LRU table had lost ours.
        return false;
    }
    let reply_standing = reply.standing();
    let is_answered = reply_standing.flags & FLOW_SYN_ACK != 0;
    let is_idle = found.entry.is_idle(segment.protocol, now_ns) && reply.entry.is_idle(segment.protocol, now_ns);
    if is_idle || is_over(segment, found, target, is_answered) {
        flow::remove::<F>(&reply_key);
        return false;
    }
    let step = flow_state::forward_step(segment, found.standing(), reply_standing, reply.entry.handshake_ack());
    if step != found.standing() {
        reply.take::<F>(&reply_key, Step { flags: step.flags | reply_standing.flags, ..step });
        found.take::<F>(&segment.key, step);
    }
    true
}

/// True when a packet must not follow its flow any more: its backend serves no longer and the flow can still be moved (any
/// UDP flow, L2; a TCP flow nobody has answered), or the flow has ended and this SYN begins the next one.
#[inline(always)]
fn is_over<F: Family>(segment: &Segment<F>, found: &Found, target: &Target<F::Addr>, is_answered: bool) -> bool {
    if !segment.is_tcp() {
        return !serves::<F>(found.entry, target);
    }
    if !segment.begins_flow() {
        return false;
    }
    match found.entry.state() {
        FLOW_CLOSING | FLOW_RESET => true,
        FLOW_HALF_OPEN if !is_answered => !serves::<F>(found.entry, target),
        _ => false,
    }
}

/// True while the flow's backend serves.
#[inline(never)]
fn serves<F: Family>(entry: FlowEntry, target: &Target<F::Addr>) -> bool {
    select::still_serves::<F>(entry.backend(), entry.service(), target.addr, target.port)
}

/// Makes the reply entry anew from the forward one; false when it cannot be had.
#[inline(always)]
fn put_back<F: Family>(reply_key: &F::FlowKey, forward: &Tuple<F::Addr>, found: &Found) -> bool {
    let Some(lost) = maps::new_entry() else { return false };
    found.entry.copy_to(lost);
    flow::aim::<F>(lost, &flow::reply_target(forward));
    flow::insert_new::<F>(reply_key, lost).is_ok()
}

#[inline(never)]
fn egress_of<F: Family>(packet: Packet) -> Counter {
    let segment = &mut Segment::<F>::empty();
    if let Err(pass) = segment.fill(packet, FLOW_REPLY) {
        return pass;
    }
    let Some(found) = flow::find::<F>(&segment.key) else { return Counter::PassNoFrontend };
    let target = found.target::<F>();
    let now_ns = now_ns();
    if !advance_reply(segment, &found, &target, now_ns) {
        return Counter::PassNoFrontend;
    }
    found.entry.touch(now_ns);
    match rewrite::reply(packet, segment, &target) {
        Ok(()) => Counter::FlowReply,
        Err(_) => Counter::DropRewriteFailed,
    }
}

/// Takes the flow a step further; false when it was idle for too long, and counts as absent.
#[inline(always)]
fn advance_reply<F: Family>(segment: &Segment<F>, found: &Found, target: &Target<F::Addr>, now_ns: u64) -> bool {
    if flow_state::is_syn_ack(segment, found.standing()) {
        found.entry.set_handshake_ack(segment.seq.wrapping_add(1));
        found.entry.set_flags(found.entry.flags() | FLOW_SYN_ACK);
    }
    let standing = found.standing();
    let step = flow_state::reply_step(segment, standing);
    let is_idle = found.entry.is_idle(segment.protocol, now_ns);
    if step == standing && !is_idle {
        return true;
    }
    let forward_key = flow::forward_key::<F>(&segment.tuple(), target);
    let Some(forward) = flow::find::<F>(&forward_key) else { return !is_idle };
    if is_idle && forward.entry.is_idle(segment.protocol, now_ns) {
        return false;
    }
    if step != standing {
        forward.take::<F>(&forward_key, Step { flags: step.flags & !FLOW_SYN_ACK, ..step });
        found.take::<F>(&segment.key, step);
    }
    true
}
