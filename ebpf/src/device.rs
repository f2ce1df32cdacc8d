//! The device entrance: what happens to a packet at ingress and at egress of a device.
use crate::family::{Family, V4, V6};
use crate::ip::{IPV4, IPV6};
use crate::known::follow;
use crate::outcome::Outcome;
use crate::segment::{Kind, Segment};
use crate::sys::Packet;
use crate::sys::packet::Note;
use crate::{bridge, first, fragment, icmp, masquerade};
use sheave_abi::{ADDR_OWN, Counter, FLOW_EGRESS, FLOW_INGRESS};

/// A packet comes in.
#[inline(always)]
pub fn ingress(packet: Packet) -> i32 {
    at(packet, FLOW_INGRESS)
}

/// A packet goes out.
#[inline(always)]
pub fn egress(packet: Packet) -> i32 {
    at(packet, FLOW_EGRESS)
}

#[inline(always)]
fn at(packet: Packet, hook: u8) -> i32 {
    let outcome = match packet.ether_type() {
        _ if packet.is_tagged() => Outcome::next(Counter::PassProtocol),
        IPV4 => pass_through::<V4>(packet, hook),
        IPV6 => pass_through::<V6>(packet, hook),
        _ => Outcome::next(Counter::PassProtocol),
    };
    outcome.conclude()
}

#[inline(never)]
fn pass_through<F: Family>(packet: Packet, hook: u8) -> Outcome {
    let Some(segment) = Segment::<F>::room() else { return Outcome::next(Counter::PassProtocol) };
    match read_note(packet, segment, hook) {
        Outcome::NONE => {}
        outcome => return outcome,
    }
    if bridge::is_decided_elsewhere(packet, segment, hook) {
        return Outcome::next(Counter::PassBridgePort);
    }
    if let Err(pass) = segment.fill(packet, hook) {
        return Outcome::next(pass);
    }
    if segment.kind == Kind::Icmp {
        return icmp::handle(packet, segment);
    }
    // The key has its ports from here on, if the first fragment was seen.
    if segment.kind == Kind::LaterFragment && !fragment::complete(segment) {
        return Outcome::next(Counter::PassFragment);
    }
    if segment.is_first_fragment {
        fragment::forget(segment);
    }
    if segment.was_translated && is_final(segment) {
        return Outcome::next(Counter::PassNoFrontend);
    }
    match follow(packet, segment) {
        Outcome::PENDING => return masquerade::choose(packet, segment),
        Outcome::NONE => {}
        outcome => return outcome,
    }
    if hook == FLOW_INGRESS {
        match bridge::hand_up(packet, segment) {
            Outcome::NONE => {}
            outcome => return outcome,
        }
    }
    if segment.kind == Kind::LaterFragment {
        return Outcome::next(Counter::PassFragment);
    }
    let outcome = match hook {
        FLOW_EGRESS => first::at_egress(packet, segment),
        _ => first::at_ingress(packet, segment),
    };
    match outcome {
        Outcome::TAKEN => masquerade::give_way(packet, segment),
        Outcome::PENDING => masquerade::choose(packet, segment),
        outcome => outcome,
    }
}

/// Reads and takes off what the hook before has noted, and notes what of it is of use further on.
#[inline(never)]
fn read_note<F: Family>(packet: Packet, segment: &mut Segment<F>, hook: u8) -> Outcome {
    let note = packet.noted();
    segment.was_translated = note == Note::Translated && hook == FLOW_EGRESS;
    match (note, hook) {
        (Note::Nothing, _) => Outcome::NONE,
        (Note::TranslatedAtPort, FLOW_INGRESS) => {
            packet.note(Note::Translated);
            Outcome::next(Counter::PassBridgePort)
        }
        (Note::Decided, FLOW_INGRESS) => {
            packet.note(Note::Nothing);
            Outcome::next(Counter::PassBridgePort)
        }
        (Note::Sent, FLOW_EGRESS) => {
            packet.note(Note::Nothing);
            Outcome::next(Counter::PassNoFrontend)
        }
        // At ingress it was left, by a device without programs: of another node that is a namespace of this machine, or at the end of a
        // tunnel, whose packets were translated.
        _ => {
            packet.note(Note::Nothing);
            Outcome::NONE
        }
    }
}

/// True for a packet that was translated where it came in, unless netfilter has given it the node's address since: then it may have got the
/// port of a masqueraded flow.
#[inline(never)]
fn is_final<F: Family>(segment: &Segment<F>) -> bool {
    segment.kind == Kind::Flow && F::node_addr(&segment.tuple().src) & ADDR_OWN == 0
}
