//! Flows decided at egress, too late for the stack to route them to their backend: the packet is sent there by another way, and
//! its answers are given to the device that would have brought them, had the frontend been a host behind it.
use crate::family::{Family, Tuple};
use crate::masquerade::address;
use crate::new_flow::enter_as;
use crate::outcome::Outcome;
use crate::rewrite::translate;
use crate::segment::Segment;
use crate::select::Chosen;
use crate::sys::lookup::route;
use crate::sys::{Failed, Packet, maps};
use sheave_abi::{Counter, FLOW_DIVERTED, FLOW_HALF_OPEN, FLOW_ONE_WAY, FlowValue};

/// Begins a flow at egress: source and destination at once.
#[inline(never)]
pub fn begin<F: Family>(packet: Packet, segment: &mut Segment<F>, chosen: &Chosen<F::Addr>, now_ns: u64) -> Outcome {
    segment.to = Tuple { dst: chosen.addr, dst_port: chosen.port, ..segment.tuple() };
    let Some(device) = route(packet, segment) else { return Outcome::drop(Counter::DropNoRoute) };
    if chosen.masquerade {
        let Some(src) = address::<F>(device.get()) else { return Outcome::drop(Counter::DropNoSourceAddress) };
        segment.to.src = src;
    }
    let Some(flow) = maps::new_entry() else { return Outcome::drop(Counter::DropFlowTableFull) };
    *flow = FlowValue {
        seen_ns: now_ns,
        begun_ns: now_ns,
        backend: chosen.id,
        service: chosen.service,
        ifindex: packet.ifindex(),
        state: if segment.is_tcp() { FLOW_HALF_OPEN } else { FLOW_ONE_WAY },
        role: FLOW_DIVERTED,
        ..FlowValue::default()
    };
    let counter = match enter_as(packet, segment, flow, Counter::FlowNew) {
        Ok(counter) => counter,
        Err(outcome) => return outcome,
    };
    if let Err(outcome) = translate(packet, segment) {
        return outcome;
    }
    Outcome::redirect(counter, packet.send_to_neighbour(device.get()))
}

/// Sends a translated packet by the route to its backend.
#[inline(always)]
pub fn send<F: Family>(packet: Packet, segment: &Segment<F>, counter: Counter) -> Outcome {
    match route(packet, segment) {
        Some(device) => Outcome::redirect(counter, packet.send_to_neighbour(device.get())),
        None => Outcome::drop(Counter::DropNoRoute),
    }
}

/// Lets a packet come in by another device, addressed to it; returns the program's verdict. Where one of them has no link-layer
/// address and the other has, the packet stays here.
#[inline(never)]
pub fn give_to(packet: Packet, ifindex: u32) -> Result<i32, Failed> {
    let device = maps::device(ifindex).ok_or(Failed)?;
    if packet.has_ethernet() {
        let mac = device.mac();
        if mac == [0; 6] {
            return Err(Failed);
        }
        packet.store(0, &mac)?;
    } else if device.mac() != [0; 6] {
        return Err(Failed);
    }
    Ok(packet.come_in_by(ifindex))
}
