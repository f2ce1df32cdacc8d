//! Bridges and their ports. What comes in by a port is decided there, what is for the bridge itself, too: bridge netfilter stands between the
//! two (`br_nf_pre_routing`), and connection tracking has to know a flow by the backend's address in both directions. What goes out is
//! decided at the bridge. The other one of the two leaves such packets alone: what both translate is taken for another flow's.
//!
//! A reply from pod to pod of one bridge is handed up to the stack. Bridged past it, connection tracking would see one direction only
//! and call the next packet invalid; a policy that looks at that would drop it.
use crate::family::Family;
use crate::flow;
use crate::fragment;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::sys::maps::{self, Device};
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, DEVICE_BRIDGE, DEVICE_BRIDGE_PORT, FLOW_EGRESS};

/// True for a packet that the port or the bridge has decided which it has just passed.
#[inline(never)]
pub fn has_decided(packet: Packet, hook: u8) -> bool {
    let Some(device) = maps::device(packet.ifindex()) else { return false };
    let flags = device.flags();
    if hook == FLOW_EGRESS {
        // What is bridged came in by another port; what is routed, by the bridge or past it.
        return flags & DEVICE_BRIDGE_PORT != 0 && !is_port(packet.ingress_ifindex());
    }
    if flags & DEVICE_BRIDGE_PORT != 0 {
        packet.note_decided();
    }
    flags & DEVICE_BRIDGE != 0 && packet.is_noted_decided()
}

/// True for a device that is a port of a bridge.
#[inline(always)]
pub fn is_port(ifindex: u32) -> bool {
    port(ifindex).is_some()
}

#[inline(always)]
fn port(ifindex: u32) -> Option<Device> {
    maps::device(ifindex).filter(|device| device.flags() & DEVICE_BRIDGE_PORT != 0)
}

/// True for a frame that the node's own stack gets: addressed to this device or, at a port, to its bridge.
#[inline(always)]
pub fn is_to_host(packet: Packet) -> bool {
    packet.is_to_host() || is_to_bridge(packet)
}

#[inline(never)]
fn is_to_bridge(packet: Packet) -> bool {
    port(packet.ifindex()).is_some_and(|port| packet.load::<[u8; 6]>(0) == Some(port.bridge_mac()))
}

/// True when the client of a flow that began at device `begun` is behind a port, and this is not it: its packets have been decided there
/// before they come here, by the bridge. Another program at the port may have cleared the note of that.
#[inline(always)]
pub fn is_past_port(packet: Packet, begun: u32) -> bool {
    begun != packet.ifindex() && is_port(begun)
}

/// Hands a reply of a translated flow from a bridge's port to the bridge itself; it is translated where the stack sends it out. The
/// fragments of a datagram go one way all of them.
#[inline(never)]
pub fn hand_up<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let Some(port) = port(packet.ifindex()).filter(|_| packet.has_ethernet()) else { return Outcome::NONE };
    if !flow::has_backend_side::<F>(&F::flow_key(&segment.tuple(), FLOW_EGRESS)) {
        return Outcome::NONE;
    }
    if segment.is_first_fragment {
        fragment::remember(segment);
    }
    match packet.store(0, &port.bridge_mac()).and_then(|()| packet.claim_for_host()) {
        Ok(()) => Outcome::next(Counter::FlowHandedUp),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
