//! The source of a masqueraded flow becomes the node's own at egress, where its device is known (R1 to R4).
//!
//! Where the destination is translated, a *pending* entry is left for the packet as it will be seen at egress. The first egress that sees
//! it chooses address and port, and makes a pair of its own out of it. The stack in between, with its policies, sees the client.
use crate::family::{Family, Tuple};
use crate::flow::{self, Found};
use crate::flow_state::first_state;
use crate::new_flow::enter_as;
use crate::outcome::Outcome;
use crate::rewrite::translate;
use crate::segment::Segment;
use crate::sys::kernel::now_ns;
use crate::sys::{Packet, maps};
use sheave_abi::{
    Counter, DEVICE_FALLBACK, FLOW_CLIENT_SIDE, FLOW_DIVERTED, FLOW_EGRESS, FLOW_MASQUERADED, FLOW_PENDING, FlowValue,
};
use zerocopy::FromZeros;

/// True when a pair of this role, of whose client side the packet is, changes the source alone: that of a masqueraded flow at egress.
#[inline(always)]
pub fn is_source_only<F: Family>(segment: &Segment<F>, role: u8) -> bool {
    segment.hook() == FLOW_EGRESS && role & FLOW_DIVERTED == 0
}

/// What the node sends from by a device; `None` when it has no address of the family.
#[inline(always)]
pub fn address<F: Family>(ifindex: u32) -> Option<F::Addr> {
    let of = |ifindex| {
        let addr = F::device_addr(maps::device(ifindex)?);
        if addr == F::Addr::new_zeroed() { None } else { Some(addr) }
    };
    of(ifindex).or_else(|| of(DEVICE_FALLBACK))
}

/// True for a flow whose source such a pair makes the node's, and does not just give another port.
#[inline(always)]
pub fn has_node_source<F: Family>(segment: &Segment<F>, role: u8) -> bool {
    is_source_only(segment, role) && segment.to.src != segment.tuple().src
}

/// Makes of an entry a pending one, for a packet that egress sees as this.
#[inline(always)]
fn make_pending<F: Family>(flow: &mut FlowValue, seen: &Tuple<F::Addr>) {
    flow.role = FLOW_CLIENT_SIDE | FLOW_PENDING;
    flow::aim::<F>(flow, seen);
}

/// Leaves a pending entry for a packet whose destination was translated, over one of an earlier flow; false without memory for it.
/// `flow` is the entry just made.
#[inline(always)]
pub fn leave_pending<F: Family>(segment: &mut Segment<F>, flow: &mut FlowValue) -> bool {
    make_pending::<F>(flow, &segment.to);
    segment.partner_key = F::flow_key(&segment.to, FLOW_EGRESS);
    flow::replace::<F>(&segment.partner_key, flow).is_ok()
}

/// Removes what a masqueraded flow of the same client to the same backend has left for egress, if the LRU table lost the rest of it:
/// the flow that begins now keeps its source.
#[inline(never)]
pub fn forget<F: Family>(segment: &mut Segment<F>) {
    segment.partner_key = F::flow_key(&segment.to, FLOW_EGRESS);
    if flow::find::<F>(&segment.partner_key).is_some_and(|left| left.is_client_side()) {
        flow::remove::<F>(&segment.partner_key);
    }
}

/// Puts back the entry of a masqueraded flow for egress, if the LRU table has lost it: its packets would leave as the client sent
/// them. False without memory for it.
#[inline(never)]
pub fn keep_pending<F: Family>(segment: &mut Segment<F>, found: Found) -> bool {
    segment.partner_key = F::flow_key(&segment.to, FLOW_EGRESS);
    if flow::find::<F>(&segment.partner_key).is_some() {
        return true;
    }
    let Some(pending) = maps::new_entry() else { return false };
    found.entry.copy_to(pending);
    make_pending::<F>(pending, &segment.to);
    flow::insert_new::<F>(&segment.partner_key, pending).is_ok() || flow::find::<F>(&segment.partner_key).is_some()
}

/// The same for the flow at `segment.key`, which another processor has just begun.
#[inline(never)]
pub fn keep_pending_of_other<F: Family>(segment: &mut Segment<F>) -> bool {
    match flow::find::<F>(&segment.key) {
        Some(found) if found.entry.role() & FLOW_MASQUERADED != 0 => keep_pending(segment, found),
        _ => true,
    }
}

/// The same at egress, for a packet whose entry was lost on the way from ingress. The backend side of its destination's translation
/// tells it; what is bridged to that backend has been nowhere else.
#[inline(never)]
pub fn put_back<F: Family>(packet: Packet, segment: &mut Segment<F>) -> bool {
    if packet.ingress_ifindex() == 0 {
        return false;
    }
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_EGRESS);
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return false };
    if held.is_client_side() || held.entry.role() & FLOW_MASQUERADED == 0 || segment.is_at_port {
        return false;
    }
    put_pending(segment, held)
}

/// Puts a pending entry over the one that a packet at egress has met or should have, of the flow that `like` is of; false without memory
/// for it.
#[inline(always)]
fn put_pending<F: Family>(segment: &Segment<F>, like: Found) -> bool {
    let Some(pending) = maps::new_entry() else { return false };
    like.entry.copy_to(pending);
    make_pending::<F>(pending, &segment.tuple());
    flow::replace::<F>(&segment.key, pending).is_ok()
}

/// The source of a flow cannot be kept: its answers would be another's, or it begins again. Another one is to be chosen, as the packet
/// must not leave as the client sent it (R1).
#[inline(never)]
pub fn choose_anew<F: Family>(segment: &Segment<F>, found: Found) -> Outcome {
    if put_pending(segment, found) { Outcome::PENDING } else { Outcome::drop(Counter::DropFlowTableFull) }
}

/// Chooses address and port for the flow of a pending entry, and sends the packet on under them.
#[inline(never)]
pub fn choose<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let Some(src) = address::<F>(packet.ifindex()) else { return Outcome::drop(Counter::DropNoSourceAddress) };
    // Lost since it was found.
    let Some(pending) = flow::find::<F>(&segment.key) else { return Outcome::drop(Counter::DropFlowTableFull) };
    begin(packet, segment, pending, src)
}

/// Chooses another port for a flow that dials a backend by its own address, and sends the packet on under it: its own is that of the
/// flow whose backend side is at the partner's key. The two have their backend in common. At egress it is a flow of the node's own, or of
/// one whom netfilter has masqueraded, and gives way to a masqueraded one; at ingress to one of the same client's to a VIP.
#[inline(never)]
pub fn give_way<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return Outcome::next(Counter::PassNoFrontend) };
    let src = segment.tuple().src;
    begin(packet, segment, held, src)
}

/// Begins a pair that changes the source alone, for a flow to the backend that `like` names.
#[inline(always)]
fn begin<F: Family>(packet: Packet, segment: &mut Segment<F>, like: Found, src: F::Addr) -> Outcome {
    let Some(flow) = maps::new_entry() else { return Outcome::drop(Counter::DropFlowTableFull) };
    like.entry.copy_to(flow);
    flow.role = 0;
    flow.flags = 0;
    flow.state = first_state(segment.protocol);
    flow.seen_ns = now_ns();
    flow.begun_ns = flow.seen_ns;
    flow.ifindex = packet.ifindex();
    segment.to = Tuple { src, ..segment.tuple() };
    let counter = match enter_as(packet, segment, flow, Counter::FlowMasquerade) {
        Ok(counter) => counter,
        Err(outcome) => return outcome,
    };
    match translate(packet, segment) {
        Ok(()) => Outcome::next(counter),
        Err(outcome) => outcome,
    }
}
