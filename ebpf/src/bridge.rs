//! Bridges, and pods on one bridge. Packets between the stack and a port pass the bridge as well, and are decided there: what both
//! translate is translated twice. The ports decide what is bridged past the stack. A reply from one pod to another is handed up: the
//! stack would see one direction only, connection tracking would call the next packet invalid, and a policy that looks at it would drop it.
use crate::family::Family;
use crate::flow;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::sys::maps::{self, Device};
use crate::sys::{Failed, Packet};
use sheave_abi::{Counter, DEVICE_BRIDGE_PORT, FLOW_EGRESS};

/// True at a port for what its bridge takes up, and for what the bridge itself has sent.
#[inline(never)]
pub fn decides(packet: Packet, hook: u8) -> bool {
    let Some(port) = port_at(packet.ifindex()) else { return false };
    if hook == FLOW_EGRESS {
        // What is bridged came in by another port; what is routed, by the bridge or past it.
        return port_at(packet.ingress_ifindex()).is_none();
    }
    packet.is_to_host() || packet.load::<[u8; 6]>(0) == Some(port.bridge_mac())
}

#[inline(always)]
fn port_at(ifindex: u32) -> Option<Device> {
    maps::device(ifindex).filter(|device| device.flags() & DEVICE_BRIDGE_PORT != 0)
}

/// Hands a reply of a translated flow from a bridge's port to the bridge itself; it is translated where the stack sends it out.
#[inline(never)]
pub fn hand_up<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let Some(port) = port_at(packet.ifindex()).filter(|_| packet.has_ethernet()) else { return Outcome::NONE };
    if !flow::has_backend_side::<F>(&F::flow_key(&segment.tuple(), FLOW_EGRESS)) {
        return Outcome::NONE;
    }
    match packet.store(0, &port.bridge_mac()).and_then(|()| packet.claim_for_host()) {
        Ok(()) => Outcome::next(Counter::FlowHandedUp),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
