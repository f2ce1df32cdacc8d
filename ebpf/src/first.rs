//! The first packet of a flow: what is to become of it.
use crate::family::Family;
use crate::flow;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::select::Chosen;
use crate::sys::Packet;
use crate::sys::flow_counts::{self, Refused};
use crate::sys::kernel::{forgotten, now_ns};
use crate::treatment::{Verdict, decide};
use crate::{bridge, divert, masquerade, new_flow, reject};
use sheave_abi::{ADDR_OWN, Counter, FLOW_EGRESS, FLOW_INGRESS};

/// Stands for "a ServiceCIDR" in the ranges.
const SERVICE_CIDRS: u32 = 0;

/// Decides a packet that has no flow and comes in.
#[inline(never)]
pub fn at_ingress<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    if !segment.begins_flow() {
        return Outcome::next(Counter::PassNotFirst);
    }
    let mut chosen = Chosen::none();
    let verdict = decide::<F>(&segment.key, packet.ifindex(), &mut chosen);
    match told(segment, verdict) {
        // What is bridged to a pod beside its sender as well: its answers pass a port.
        Verdict::Nothing if (segment.is_at_port || bridge::is_to_host(packet)) && is_taken_by_other(segment) => {
            Outcome::TAKEN
        }
        Verdict::Own | Verdict::Nothing => Outcome::next(Counter::PassNoFrontend),
        _ if !bridge::is_to_host(packet) => Outcome::next(Counter::PassNotHost),
        Verdict::Forward => new_flow::begin(packet, segment, &chosen, now_ns()),
        Verdict::Reject => reject_by(packet, segment, chosen.service),
        refused => dropped(refused, chosen.service),
    }
}

/// Decides a packet that has no flow and goes out still addressed to a frontend: what the node itself sends, and what comes from
/// pods whose device is not served yet.
#[inline(never)]
pub fn at_egress<F: Family>(packet: Packet, segment: &mut Segment<F>) -> Outcome {
    if !segment.begins_flow() {
        return Outcome::next(Counter::PassNoFrontend);
    }
    let mut chosen = Chosen::none();
    let verdict = decide::<F>(&segment.key, packet.ingress_ifindex(), &mut chosen);
    match told(segment, verdict) {
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
        Verdict::Forward => divert::begin(packet, segment, &chosen, now_ns()),
        Verdict::Reject => reject_by(packet, segment, chosen.service),
        refused => dropped(refused, chosen.service),
    }
}

/// The verdict, by way of the map that the segment stands in: of what is read from there the verifier knows nothing, and follows each
/// branch. Linux 6.1 has been seen to take `Forward`, which it met first, for all that comes out of a decision. It never looked at the
/// branch for refusals of IPv6 at egress, removed it as dead, and what was to be refused left for `::`.
#[inline(always)]
fn told<F: Family>(segment: &mut Segment<F>, verdict: Verdict) -> Verdict {
    Verdict::numbered(forgotten(&mut segment.verdict, verdict as u8))
}

/// True inside a ServiceCIDR. Asked at egress only: at ingress it would come before another proxy's translation (W1, A3).
#[inline(always)]
pub fn is_unallocated<F: Family>(dst: &F::Addr) -> bool {
    F::is_in_range(SERVICE_CIDRS, dst)
}

/// True for a packet to a backend's own address whose answers would be taken for those of another flow of the same client's: of one to
/// a VIP, or of one that has given way itself.
#[inline(never)]
fn is_taken_by_other<F: Family>(segment: &mut Segment<F>) -> bool {
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_EGRESS);
    flow::has_backend_side::<F>(&segment.partner_key)
}

/// True for a packet of the node's own whose answers would be taken for those of another flow's: of one that was masqueraded before, or
/// that has given way itself. The node's sockets choose their ports without asking (what netfilter calls a null binding,
/// `nf_nat_alloc_null_binding`), and so does netfilter's own masquerading.
#[inline(never)]
fn is_taken<F: Family>(packet: Packet, segment: &mut Segment<F>) -> bool {
    if !packet.is_from_socket() && F::node_addr(&segment.tuple().src) & ADDR_OWN == 0 {
        return false;
    }
    segment.partner_key = F::flow_key(&segment.tuple().reversed(), FLOW_INGRESS);
    let Some(held) = flow::find::<F>(&segment.partner_key) else { return false };
    // What was diverted on its way here does not get here. A foreign entry is the reservation of a port that netfilter has given: to
    // this very flow.
    !held.is_client_side() && !held.is_foreign()
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

/// The same, in the name of a Service.
#[inline(always)]
fn reject_by<F: Family>(packet: Packet, segment: &Segment<F>, service: u32) -> Outcome {
    let outcome = refuse(packet, segment);
    if outcome != Outcome::next(Counter::PassSource) {
        flow_counts::refused(service, Refused::NoEndpoint);
    }
    outcome
}

#[inline(always)]
fn dropped(verdict: Verdict, service: u32) -> Outcome {
    Outcome::drop(match verdict {
        Verdict::NoLocalEndpoint => {
            flow_counts::refused(service, Refused::NoLocalEndpoint);
            Counter::DropNoLocalEndpoint
        }
        Verdict::SourceRange => {
            flow_counts::refused(service, Refused::SourceRange);
            Counter::DropSourceRange
        }
        _ => Counter::DropSetRaced,
    })
}
