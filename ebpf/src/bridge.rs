//! Pods on one bridge. A reply from one to the other is bridged past the stack, which would see one direction only: connection
//! tracking would call the next packet invalid, and a policy that looks at it would drop it.
use crate::family::Family;
use crate::flow;
use crate::outcome::Outcome;
use crate::segment::Segment;
use crate::sys::{Failed, Packet, maps};
use sheave_abi::{Counter, DEVICE_BRIDGE_PORT, FLOW_EGRESS};

/// Hands a reply of a translated flow from a bridge's port to the bridge itself; it is translated where the stack sends it out.
#[inline(never)]
pub fn hand_up<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    let Some(device) = maps::device(packet.ifindex()) else { return Outcome::NONE };
    if device.flags() & DEVICE_BRIDGE_PORT == 0 || !packet.has_ethernet() {
        return Outcome::NONE;
    }
    if !flow::has_backend_side::<F>(&F::flow_key(&segment.tuple(), FLOW_EGRESS)) {
        return Outcome::NONE;
    }
    match packet.store(0, &device.bridge_mac()).and_then(|()| packet.claim_for_host()) {
        Ok(()) => Outcome::next(Counter::FlowHandedUp),
        Err(Failed) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
