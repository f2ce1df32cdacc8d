//! A flow begins: reserve the way back, remember, translate.
use crate::bridge;
use crate::family::{Family, Tuple};
use crate::flow;
use crate::flow_state::first_state;
use crate::masquerade;
use crate::outcome::Outcome;
use crate::ports::reserve;
use crate::rewrite::translate;
use crate::segment::Segment;
use crate::select::Chosen;
use crate::sys::maps::new_entry;
use crate::sys::{Packet, flow_counts};
use sheave_abi::{Counter, FLOW_CLIENT_SIDE, FLOW_MASQUERADED, FlowValue};

/// How the making of a pair ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entered {
    /// It is new.
    New,
    /// Another processor had a packet of this flow at the same time: its decision holds.
    Other,
    NoPort,
    Full,
}

/// Begins a flow at ingress: its destination becomes the backend. A masqueraded one gets its source at egress.
#[inline(never)]
pub fn begin<F: Family>(packet: Packet, segment: &mut Segment<F>, chosen: &Chosen<F::Addr>, now_ns: u64) -> Outcome {
    let Some(flow) = new_entry() else { return Outcome::drop(Counter::DropFlowTableFull) };
    let role = if chosen.masquerade { FLOW_MASQUERADED } else { 0 };
    *flow = FlowValue {
        seen_ns: now_ns,
        begun_ns: now_ns,
        backend: chosen.id,
        service: chosen.service,
        ifindex: packet.ifindex(),
        state: first_state(segment.protocol),
        role,
        ..FlowValue::default()
    };
    segment.to = Tuple { dst: chosen.addr, dst_port: chosen.port, ..segment.tuple() };
    let counter = match enter_as(packet, segment, flow, Counter::FlowNew) {
        Ok(counter) => counter,
        Err(outcome) => return outcome,
    };
    // Of another's flow: its maker may not have got that far.
    let is_kept = match (counter, chosen.masquerade) {
        (Counter::FlowNew, true) => masquerade::leave_pending(segment, flow),
        (Counter::FlowNew, false) => {
            masquerade::forget(segment);
            bridge::note_translated(packet, segment);
            true
        }
        _ => masquerade::keep_pending_of_other(segment),
    };
    if !is_kept {
        return Outcome::drop(Counter::DropFlowTableFull);
    }
    match translate(packet, segment) {
        Ok(()) => Outcome::next(counter),
        Err(outcome) => outcome,
    }
}

/// As [`enter`]; returns what the packet counts as, `new` if the pair is, or how it ends. A pair that is no flow's first is none to its
/// Service: a masqueraded flow has two.
#[inline(always)]
pub fn enter_as<F: Family>(
    packet: Packet,
    segment: &mut Segment<F>,
    flow: &mut FlowValue,
    new: Counter,
) -> Result<Counter, Outcome> {
    match enter(packet, segment, flow) {
        Entered::New => {
            if new == Counter::FlowNew {
                flow_counts::begun::<F>(flow.service, flow.backend);
            }
            Ok(new)
        }
        Entered::Other => Ok(Counter::FlowForward),
        Entered::NoPort => Err(Outcome::drop(Counter::DropNoSourcePort)),
        Entered::Full => Err(Outcome::drop(Counter::DropFlowTableFull)),
    }
}

/// Enters a pair into the tables, the way back first: that reserves it. Of what the packet is to be rewritten to the source port,
/// or all of it, becomes what holds. `flow` is the entry to be, without addresses.
#[inline(never)]
fn enter<F: Family>(packet: Packet, segment: &mut Segment<F>, flow: &mut FlowValue) -> Entered {
    flow.role &= !FLOW_CLIENT_SIDE;
    flow::aim::<F>(flow, &segment.tuple().reversed());
    if !reserve(packet, segment, flow) {
        return Entered::NoPort;
    }
    flow::aim::<F>(flow, &segment.to);
    flow.role |= FLOW_CLIENT_SIDE;
    let is_pending = masquerade::is_source_only(segment, flow.role);
    let held = if is_pending { flow::find::<F>(&segment.key).filter(|held| !held.is_pending()) } else { None };
    let placed = match is_pending {
        true => held.is_none() && flow::replace::<F>(&segment.key, flow).is_ok(),
        false => flow::insert_new::<F>(&segment.key, flow).is_ok(),
    };
    if placed {
        return Entered::New;
    }
    let other = flow::find::<F>(&segment.key).filter(|other| !other.is_pending());
    let Some(other) = other else { return Entered::Full };
    if !other.leads_to::<F>(&segment.to) {
        flow::remove::<F>(&segment.partner_key);
        segment.to = other.to::<F>(segment.protocol);
    }
    Entered::Other
}
