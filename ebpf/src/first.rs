//! The first packet of a flow: what is to become of it.
use crate::family::Family;
use crate::flow;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::select::Chosen;
use crate::sys::{Packet, maps};
use crate::treatment::{Verdict, decide};
use crate::{bridge, divert, masquerade, new_flow, reject};
use sheave_abi::{ADDR_OWN, Counter, DEVICE_BRIDGE_PORT, FLOW_DIVERTED, FLOW_EGRESS, FLOW_INGRESS};

/// Stands for "a ServiceCIDR" in the ranges.
const SERVICE_CIDRS: u32 = 0;

/// Decides a packet that has no flow and comes in.
#[inline(never)]
pub fn at_ingress<F: Family>(packet: Packet, segment: &mut Segment<F>, now_ns: u64) -> Outcome {
    if !segment.begins_flow() {
        return Outcome::next(Counter::PassNotFirst);
    }
    let mut chosen = Chosen::none();
    match decide::<F>(&segment.key, packet.ifindex(), &mut chosen) {
        Verdict::Nothing if bridge::is_to_host(packet) && is_taken_by_vip(packet, segment) => Outcome::TAKEN,
        Verdict::Own | Verdict::Nothing => Outcome::next(Counter::PassNoFrontend),
        _ if !bridge::is_to_host(packet) => Outcome::next(Counter::PassNotHost),
        Verdict::Forward => new_flow::begin(packet, segment, &chosen, now_ns),
        Verdict::Reject => refuse(packet, segment),
        refused => dropped(refused),
    }
}

/// Decides a packet that has no flow and goes out still addressed to a frontend: what the node itself sends, and what comes from
/// pods whose device is not served yet.
#[inline(never)]
pub fn at_egress<F: Family>(packet: Packet, segment: &mut Segment<F>, now_ns: u64) -> Outcome {
    if !segment.begins_flow() {
        return Outcome::next(Counter::PassNoFrontend);
    }
    let mut chosen = Chosen::none();
    match decide::<F>(&segment.key, packet.ingress_ifindex(), &mut chosen) {
        Verdict::Own => Outcome::next(Counter::PassNoFrontend),
        // Endpoints may have addresses inside of a ServiceCIDR.
        Verdict::Nothing if is_unallocated::<F>(&segment.tuple().dst) => match is_translated(segment) {
            true => Outcome::next(Counter::PassNoFrontend),
            false => Outcome::drop(Counter::DropUnallocated),
        },
        Verdict::Nothing if is_taken(packet, segment) => Outcome::TAKEN,
        Verdict::Nothing if masquerade::put_back(packet, segment) => Outcome::PENDING,
        Verdict::Nothing => Outcome::next(Counter::PassNoFrontend),
        _ if is_translated(segment) => Outcome::next(Counter::PassNoFrontend),
        Verdict::Forward => divert::begin(packet, segment, &chosen, now_ns),
        Verdict::Reject => refuse(packet, segment),
        refused => dropped(refused),
    }
}

/// True inside a ServiceCIDR. Asked at egress only: at ingress it would come before another proxy's translation (W1, A3).
#[inline(always)]
pub fn is_unallocated<F: Family>(dst: &F::Addr) -> bool {
    F::is_in_range(SERVICE_CIDRS, dst)
}

/// True for a packet to a backend's own address whose answers would be taken for those of the same client's flow to a VIP. One that has
/// given way already leads to that address; one of that flow itself, translated at a port, is a packet to that address as well.
#[inline(never)]
fn is_taken_by_vip<F: Family>(packet: Packet, segment: &mut Segment<F>) -> bool {
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_EGRESS);
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return false };
    let (dialled, from) = (segment.tuple(), held.to::<F>(segment.protocol));
    !held.is_client_side()
        && (from.src != dialled.dst || from.src_port != dialled.dst_port)
        && !bridge::is_past_port(packet, held.entry.ifindex())
}

/// True for a packet of the node's own whose answers would be taken for those of a flow that was masqueraded before: the node's
/// sockets choose their ports without asking (what netfilter calls a null binding, `nf_nat_alloc_null_binding`), and so does netfilter's
/// own masquerading.
#[inline(never)]
fn is_taken<F: Family>(packet: Packet, segment: &mut Segment<F>) -> bool {
    if !packet.is_from_socket() && !is_masqueraded_by_others::<F>(packet, &segment.tuple().src) {
        return false;
    }
    // What was diverted on its way here, or leads back to the node, has given way already.
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_INGRESS);
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return false };
    // A foreign entry is the reservation of a port that netfilter has given: to this very flow.
    !held.is_client_side()
        && !held.is_foreign()
        && held.entry.role() & FLOW_DIVERTED == 0
        && F::node_addr(&held.to::<F>(segment.protocol).dst) & ADDR_OWN == 0
}

/// True for a forwarded packet that has a source of the node's, given to it before it got here. A bridge's port is behind the bridge, where
/// ours are given: to give them another one there does no harm, since answers pass both, but is of no use.
#[inline(always)]
fn is_masqueraded_by_others<F: Family>(packet: Packet, src: &F::Addr) -> bool {
    F::node_addr(src) & ADDR_OWN != 0
        && maps::device(packet.ifindex()).is_none_or(|device| device.flags() & DEVICE_BRIDGE_PORT == 0)
}

/// True for a packet that was translated already, to a backend whose address happens to be a frontend.
#[inline(never)]
fn is_translated<F: Family>(segment: &mut Segment<F>) -> bool {
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_EGRESS);
    if flow::has_backend_side::<F>(&segment.partner_key) {
        return true;
    }
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_INGRESS);
    flow::has_backend_side::<F>(&segment.partner_key)
}

/// Answers, unless the source is no single host.
#[inline(always)]
pub fn refuse<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    if F::is_one_host(&segment.tuple().src) {
        reject::reject(packet, segment)
    } else {
        Outcome::next(Counter::PassSource)
    }
}

#[inline(always)]
fn dropped(verdict: Verdict) -> Outcome {
    Outcome::drop(match verdict {
        Verdict::NoLocalEndpoint => Counter::DropNoLocalEndpoint,
        Verdict::SourceRange => Counter::DropSourceRange,
        _ => Counter::DropSetRaced,
    })
}
