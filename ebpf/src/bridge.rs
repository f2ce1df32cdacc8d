//! Bridges, and pods on one bridge. Packets between the stack and a port pass the bridge as well: what both translate is translated twice.
//! What comes in by a port is decided there, before bridge netfilter sees it (`br_nf_pre_routing`): connection tracking would know a flow by
//! its VIP, and the answers not at all. What goes out is decided at the bridge, where the stack has done with it. A reply from one pod to
//! another would be bridged past the stack and is handed up: connection tracking has to see both directions, or it calls the next packet
//! invalid, and a policy that looks at it drops it.
use crate::family::Family;
use crate::flow;
use crate::fragment;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::sys::maps::{self, Device};
use crate::sys::packet::Note;
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, DEVICE_BRIDGE_PORT, FLOW_EGRESS};

/// True at a port for what the bridge itself has sent. What a port decides it notes on the packet, for the bridge.
#[inline(never)]
pub fn is_decided_elsewhere<F: Family>(packet: Packet, segment: &mut Segment<F>, hook: u8) -> bool {
    let port = port_at(packet.ifindex());
    segment.is_at_port = port.is_some();
    let Some(port) = port else { return false };
    if hook == FLOW_EGRESS {
        // What is bridged came in by another port; what is routed, by the bridge or past it.
        return !is_port(packet.ingress_ifindex());
    }
    if packet.is_to_host() || packet.load::<[u8; 6]>(0) == Some(port.bridge_mac()) {
        packet.note(Note::Decided);
    }
    false
}

/// Notes that a packet was translated where it came in: for its egress, and at a port for the bridge before.
#[inline(always)]
pub fn note_translated<F: Family>(packet: Packet, segment: &Segment<F>) {
    packet.note(if segment.is_at_port { Note::TranslatedAtPort } else { Note::Translated });
}

/// True for a frame that the node's own stack gets: addressed to this device or, at a port, to its bridge.
#[inline(always)]
pub fn is_to_host(packet: Packet) -> bool {
    packet.is_to_host() || packet.noted() == Note::Decided
}

/// True for a device that is a port of a bridge.
#[inline(always)]
pub fn is_port(ifindex: u32) -> bool {
    port_at(ifindex).is_some()
}

#[inline(always)]
fn port_at(ifindex: u32) -> Option<Device> {
    maps::device(ifindex).filter(|device| device.flags() & DEVICE_BRIDGE_PORT != 0)
}

/// Hands a reply of a translated flow from a bridge's port to the bridge itself; it is translated where the stack sends it out. The
/// fragments of a datagram go one way all of them.
#[inline(never)]
pub fn hand_up<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    if !segment.is_at_port || !packet.has_ethernet() {
        return Outcome::NONE;
    }
    let Some(port) = port_at(packet.ifindex()) else { return Outcome::NONE };
    if !flow::has_backend_side::<F>(&F::flow_key(&segment.tuple(), FLOW_EGRESS)) {
        return Outcome::NONE;
    }
    if segment.is_first_fragment {
        fragment::remember(segment);
    }
    packet.note(Note::Decided);
    match packet.store(0, &port.bridge_mac()).and_then(|()| packet.claim_for_host()) {
        Ok(()) => Outcome::next(Counter::FlowHandedUp),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
