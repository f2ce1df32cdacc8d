//! Pods on one bridge. What one of them sends to a VIP is translated at its port, before bridge netfilter sees it (`br_nf_pre_routing`):
//! connection tracking would know the flow by the VIP, and its answers not at all. A reply from one to the other is bridged past the
//! stack, which would see one direction only: connection tracking would call the next packet invalid. A policy that looks at either would
//! drop it.
use crate::family::Family;
use crate::flow;
use crate::fragment;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::sys::{Failed, Packet, maps};
use sheave_abi::{Counter, DEVICE_BRIDGE_PORT, FLOW_EGRESS};

/// True for a frame that the node's own stack gets: addressed to this device or, at a port, to its bridge.
#[inline(always)]
pub fn is_to_host(packet: Packet) -> bool {
    packet.is_to_host() || is_to_bridge(packet)
}

#[inline(never)]
fn is_to_bridge(packet: Packet) -> bool {
    let Some(device) = maps::device(packet.ifindex()) else { return false };
    device.flags() & DEVICE_BRIDGE_PORT != 0
        && packet.load::<[u8; 6]>(0).is_some_and(|addressed| addressed == device.bridge_mac())
}

/// True when the client of a flow that began at device `begun` is behind a port, and this is not it: its packets have been decided there
/// before they come here, by the bridge.
#[inline(always)]
pub fn is_past_port(packet: Packet, begun: u32) -> bool {
    begun != packet.ifindex() && maps::device(begun).is_some_and(|device| device.flags() & DEVICE_BRIDGE_PORT != 0)
}

/// Hands a reply of a translated flow from a bridge's port to the bridge itself; it is translated where the stack sends it out. The
/// fragments of a datagram go one way all of them.
#[inline(never)]
pub fn hand_up<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let Some(device) = maps::device(packet.ifindex()) else { return Outcome::NONE };
    if device.flags() & DEVICE_BRIDGE_PORT == 0 || !packet.has_ethernet() {
        return Outcome::NONE;
    }
    if !flow::has_backend_side::<F>(&F::flow_key(&segment.tuple(), FLOW_EGRESS)) {
        return Outcome::NONE;
    }
    if segment.is_first_fragment {
        fragment::remember(segment);
    }
    match packet.store(0, &device.bridge_mac()).and_then(|()| packet.claim_for_host()) {
        Ok(()) => Outcome::next(Counter::FlowHandedUp),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
