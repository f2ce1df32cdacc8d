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

/// Leaves a pending entry for a packet whose destination was translated, over one of an earlier flow. `flow` is the entry just made.
#[inline(always)]
pub fn leave_pending<F: Family>(segment: &mut Segment<F>, flow: &mut FlowValue) {
    flow.role = FLOW_CLIENT_SIDE | FLOW_PENDING;
    flow::aim::<F>(flow, &segment.to);
    segment.partner_key = F::flow_key(&segment.to, FLOW_EGRESS);
    // Without memory for it the LRU table would have evicted something: this does not fail.
    let _ = flow::replace::<F>(&segment.partner_key, flow);
}

/// Puts back the entry of a masqueraded flow for egress, if the LRU table has lost it: its packets would leave as the client sent them.
#[inline(never)]
pub fn keep_pending<F: Family>(segment: &mut Segment<F>, found: Found) {
    segment.partner_key = F::flow_key(&segment.to, FLOW_EGRESS);
    if flow::find::<F>(&segment.partner_key).is_some() {
        return;
    }
    let Some(pending) = maps::new_entry() else { return };
    found.entry.copy_to(pending);
    pending.role = FLOW_CLIENT_SIDE | FLOW_PENDING;
    flow::aim::<F>(pending, &segment.to);
    let _ = flow::insert_new::<F>(&segment.partner_key, pending);
}

/// The same for the flow at `segment.key`, which another processor has just begun.
#[inline(never)]
pub fn keep_pending_of_other<F: Family>(segment: &mut Segment<F>) {
    if let Some(found) = flow::find::<F>(&segment.key)
        && found.entry.role() & FLOW_MASQUERADED != 0
    {
        keep_pending(segment, found);
    }
}

/// Chooses address and port for the flow of a pending entry, and sends the packet on under them.
#[inline(never)]
pub fn choose<F: Family>(packet: Packet, segment: &mut Segment<F>, now_ns: u64) -> Outcome {
    let Some(src) = address::<F>(packet.ifindex()) else { return Outcome::drop(Counter::DropNoSourceAddress) };
    let Some(pending) = flow::find::<F>(&segment.key) else { return Outcome::next(Counter::PassNoFrontend) };
    begin(packet, segment, pending, src, now_ns)
}

/// Chooses another port for a flow that dials a backend by its own address, and sends the packet on under it: its own is that of the
/// flow whose backend side is at the partner's key. The two have their backend in common. At egress it is a flow of the node's own, or of
/// one whom netfilter has masqueraded, and gives way to a masqueraded one; at ingress to one of the same client's to a VIP.
#[inline(never)]
pub fn give_way<F: Family>(packet: Packet, segment: &mut Segment<F>, now_ns: u64) -> Outcome {
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return Outcome::next(Counter::PassNoFrontend) };
    let src = segment.tuple().src;
    begin(packet, segment, held, src, now_ns)
}

/// Begins a pair that changes the source alone, for a flow to the backend that `like` names.
#[inline(always)]
fn begin<F: Family>(packet: Packet, segment: &mut Segment<F>, like: Found, src: F::Addr, now_ns: u64) -> Outcome {
    let Some(flow) = maps::new_entry() else { return Outcome::drop(Counter::DropFlowTableFull) };
    like.entry.copy_to(flow);
    flow.role = 0;
    flow.flags = 0;
    flow.state = first_state(segment.protocol);
    flow.seen_ns = now_ns;
    flow.begun_ns = now_ns;
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
