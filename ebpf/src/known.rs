//! Packets of known flows, at either hook and in either direction.
use crate::family::Family;
use crate::flow::{self, Found};
use crate::flow_state;
use crate::outcome::Outcome;
use crate::rewrite::translate;
use crate::segment::{FIN, Kind, RST, SYN, Segment};
use crate::sys::kernel::now_ns;
use crate::sys::lookup::{Route, route_by};
use crate::sys::{Packet, maps};
use crate::{bridge, divert, foreign, masquerade, reject, select};
use sheave_abi::{
    Counter, DEVICE_UPLINK, FLOW_CLIENT_SIDE, FLOW_CLOSING, FLOW_DIVERTED, FLOW_EGRESS, FLOW_ESTABLISHED,
    FLOW_HALF_OPEN, FLOW_INGRESS, FLOW_MASQUERADED, FLOW_RESET, FLOW_SYN_ACK,
};

/// What a packet makes of its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Advance {
    /// The flow goes on.
    On,
    /// It must not be followed any more; then its partner is gone.
    Over,
    /// The table of established flows has no room for it.
    Full,
}

/// Translates a packet of a known flow; [`Outcome::NONE`] when there is none, or it counts as absent and has to be decided anew;
/// [`Outcome::PENDING`] when it has no source yet.
#[inline(never)]
pub fn follow<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let Some(found) = flow::find::<F>(&segment.key) else { return Outcome::NONE };
    if found.is_pending() {
        return Outcome::PENDING;
    }
    // Asked for here, where packets without a flow do not get to: most packets of most nodes.
    let now_ns = now_ns();
    if found.is_foreign() {
        return foreign::pass(segment, found, now_ns);
    }
    let role = found.entry.role();
    let is_client_side = role & FLOW_CLIENT_SIDE != 0;
    segment.to = found.to::<F>(segment.protocol);
    if !is_client_side && flow_state::is_of_another(segment, found.standing()) {
        // What follows is that connection's as well.
        segment.find_partner_key();
        flow::remove::<F>(&segment.partner_key);
        flow::remove::<F>(&segment.key);
        return Outcome::NONE;
    }
    let device = found.entry.ifindex();
    match step(segment, found, now_ns) {
        Advance::On => {}
        Advance::Over if is_client_side && masquerade::has_node_source(segment, role) => {
            return masquerade::choose_anew(segment, found);
        }
        Advance::Over => {
            flow::remove::<F>(&segment.key);
            return Outcome::NONE;
        }
        Advance::Full => return Outcome::drop(Counter::DropFlowTableFull),
    }
    if !is_client_side {
        return send_back(packet, segment, role, device);
    }
    if device != packet.ifindex() && !masquerade::is_source_only(segment, role) {
        segment.find_partner_key();
        flow::come_by::<F>(&segment.key, &segment.partner_key, packet.ifindex());
    }
    if role & FLOW_DIVERTED != 0 {
        return divert::forward(packet, segment);
    }
    if role & FLOW_MASQUERADED != 0 && !masquerade::keep_pending(segment, found) {
        return Outcome::drop(Counter::DropFlowTableFull);
    }
    if role & FLOW_MASQUERADED == 0 && segment.hook() == FLOW_INGRESS {
        bridge::note_translated(packet, segment);
    }
    match translate(packet, segment) {
        Ok(()) => Outcome::next(Counter::FlowForward),
        Err(outcome) => outcome,
    }
}

/// Notes the packet and what it makes of its flow. Most packets of an established flow end this at the first question.
#[inline(always)]
fn step<F: Family>(segment: &mut Segment<F>, found: Found, now_ns: u64) -> Advance {
    let is_client_side = found.is_client_side();
    // Whether a masqueraded flow goes on was decided where its destination was translated: a packet that gets here has to leave by
    // the node's address.
    let is_source_only = is_client_side && masquerade::is_source_only(segment, found.entry.role());
    let is_idle = !is_source_only && found.entry.is_idle(segment.protocol, now_ns);
    let ends = if is_client_side { SYN | FIN | RST } else { FIN | RST };
    let is_settled = found.is_established_table
        && found.entry.state() == FLOW_ESTABLISHED
        && segment.flags & ends == 0
        && !is_idle
        && (!is_client_side || !segment.is_udp() || serves(segment, found));
    // Before any step: it may move the entry, and the copy has to know.
    found.entry.touch(now_ns);
    if is_settled {
        return Advance::On;
    }
    if is_client_side {
        advance_client(segment, found, is_idle, now_ns)
    } else {
        advance_backend(segment, found, is_idle, now_ns)
    }
}

/// Takes a flow that is not settled a step further by a packet from the client, and puts back the backend side the LRU table may
/// have lost.
#[inline(never)]
fn advance_client<F: Family>(segment: &mut Segment<F>, found: Found, is_idle: bool, now_ns: u64) -> Advance {
    segment.find_partner_key();
    let Some(partner) = flow::find::<F>(&segment.partner_key) else {
        let goes_on = !is_idle && !is_over(segment, found, None, now_ns);
        return on_if(goes_on && put_back(segment, found));
    };
    if !partner.leads_to::<F>(&segment.tuple().reversed()) {
        // Another flow of this client got the key after the LRU table had lost ours.
        return Advance::Over;
    }
    let is_idle = is_idle && partner.entry.is_idle(segment.protocol, now_ns);
    if is_idle || is_over(segment, found, Some(partner), now_ns) {
        flow::remove::<F>(&segment.partner_key);
        return Advance::Over;
    }
    let step = flow_state::client_step(segment, found.standing(), partner.standing(), partner.entry.handshake_ack());
    if (step != found.standing() || found.is_misplaced()) && !flow::take::<F>(&segment.key, &segment.partner_key, step)
    {
        return Advance::Full;
    }
    Advance::On
}

/// Takes a flow that is not settled a step further by a packet from the backend, and puts back the client side the LRU table may
/// have lost. It is over when this entry leads nowhere: idle for too long, or its client talks to another backend now.
#[inline(never)]
fn advance_backend<F: Family>(segment: &mut Segment<F>, found: Found, is_idle: bool, now_ns: u64) -> Advance {
    segment.find_partner_key();
    let lives = match flow::find::<F>(&segment.partner_key) {
        Some(partner) => {
            partner.leads_to::<F>(&segment.tuple().reversed())
                && !(is_idle && partner.entry.is_idle(segment.protocol, now_ns))
        }
        None => !is_idle && put_back(segment, found),
    };
    if !lives {
        return Advance::Over;
    }
    if let Some(ack) = flow_state::handshake_ack(segment, found.standing()) {
        found.entry.set_handshake_ack(ack);
        found.entry.set_flags(found.entry.flags() | FLOW_SYN_ACK);
    }
    let step = flow_state::backend_step(segment, found.standing(), now_ns.saturating_sub(found.entry.begun_ns()));
    if (step != found.standing() || found.is_misplaced()) && !flow::take::<F>(&segment.key, &segment.partner_key, step)
    {
        return Advance::Full;
    }
    Advance::On
}

/// True when a packet must not follow its flow any more: its backend serves no longer and the flow can still be moved (any
/// UDP flow, L2; another one that nobody has answered, or not for long), or the flow has ended and this SYN begins the next one.
#[inline(always)]
fn is_over<F: Family>(segment: &Segment<F>, found: Found, partner: Option<Found>, now_ns: u64) -> bool {
    if segment.is_udp() {
        return !serves(segment, found);
    }
    if segment.kind != Kind::Flow || !segment.begins_flow() {
        return false;
    }
    let can_be_moved = match found.entry.state() {
        FLOW_CLOSING | FLOW_RESET => return true,
        FLOW_HALF_OPEN => partner.is_none_or(|partner| partner.entry.flags() & FLOW_SYN_ACK == 0),
        // Only then: a forged SYN must not end a flow that its ends keep up (L1).
        _ => partner.is_none_or(|partner| partner.entry.is_silent(now_ns)),
    };
    can_be_moved && !serves(segment, found)
}

/// True while the flow's backend serves.
#[inline(always)]
fn serves<F: Family>(segment: &Segment<F>, found: Found) -> bool {
    let to = &segment.to;
    select::still_serves::<F>(found.entry.backend(), found.entry.service(), to.dst, to.dst_port)
}

#[inline(always)]
fn on_if(goes_on: bool) -> Advance {
    if goes_on { Advance::On } else { Advance::Over }
}

/// Makes a lost entry anew from its partner; false when another flow has the key now. Without memory for it this packet goes
/// on all the same.
#[inline(always)]
fn put_back<F: Family>(segment: &Segment<F>, found: Found) -> bool {
    let Some(lost) = maps::new_entry() else { return true };
    found.entry.copy_to(lost);
    lost.flags &= !FLOW_SYN_ACK;
    lost.role ^= FLOW_CLIENT_SIDE;
    flow::aim::<F>(lost, &segment.tuple().reversed());
    flow::insert_new::<F>(&segment.partner_key, lost).is_ok()
        || flow::find::<F>(&segment.partner_key).is_none_or(|other| other.leads_to::<F>(&segment.tuple().reversed()))
}

/// Translates a reply. It leaves by the uplink that its flow came in by, if there is a way from there, and goes back to the device that
/// decided it.
#[inline(always)]
fn send_back<F: Family>(packet: Packet, segment: &Segment<F>, role: u8, device: u32) -> Outcome {
    let (here, hook) = (packet.ifindex(), segment.hook());
    if device != here
        && hook == FLOW_EGRESS
        && is_uplink(here)
        && let Some(uplink) = uplink(device).filter(|uplink| *uplink != here)
    {
        match route_by(packet, segment, uplink) {
            Route::By(_) => return divert::send_by(packet, segment, uplink, Counter::FlowReply),
            Route::TooLong(mtu) => return reject::too_long(packet, segment, mtu),
            // That uplink is down, or leads elsewhere: the client's packets take two ways, and the stack knows the one back.
            Route::Nowhere => {}
        }
    }
    if let Err(outcome) = translate(packet, segment) {
        return outcome;
    }
    // Where it came in by, a reverse path filter would not expect the VIP.
    if device != here && hook == FLOW_INGRESS && role & FLOW_DIVERTED != 0 {
        return divert::give_to::<F>(packet, device);
    }
    Outcome::next(Counter::FlowReply)
}

/// The uplink by which packets came that were first seen at a device: itself, or the bridge it is a port of.
#[inline(always)]
fn uplink(ifindex: u32) -> Option<u32> {
    let device = maps::device(ifindex)?;
    if device.flags() & DEVICE_UPLINK != 0 {
        return Some(ifindex);
    }
    Some(device.bridge()).filter(|bridge| *bridge != 0 && is_uplink(*bridge))
}

#[inline(always)]
fn is_uplink(ifindex: u32) -> bool {
    maps::device(ifindex).is_some_and(|device| device.flags() & DEVICE_UPLINK != 0)
}
