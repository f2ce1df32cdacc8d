//! Flows decided at egress, too late for the stack to route them to their backend: the packet is sent there by another way, and
//! its answers are given to the device that would have brought them, had the frontend been a host behind it.
use crate::family::{Family, Tuple};
use crate::flow_state::first_state;
use crate::ip::EthernetHeader;
use crate::masquerade::address;
use crate::new_flow::enter_as;
use crate::outcome::Outcome;
use crate::reject;
use crate::rewrite::translate;
use crate::segment::Segment;
use crate::select::Chosen;
use crate::sys::lookup::{Route, route, send_to_neighbour};
use crate::sys::{Packet, maps};
use sheave_abi::{Counter, DEVICE_NO_ETHERNET, FLOW_DIVERTED, FlowValue};

/// Begins a flow at egress: source and destination at once.
#[inline(never)]
pub fn begin<F: Family>(packet: Packet, segment: &mut Segment<F>, chosen: &Chosen<F::Addr>, now_ns: u64) -> Outcome {
    segment.to = Tuple { dst: chosen.addr, dst_port: chosen.port, ..segment.tuple() };
    let device = match route(packet, segment) {
        Route::By(device) => device.get(),
        Route::TooLong(mtu) => return reject::too_long(packet, segment, mtu),
        Route::Nowhere => return Outcome::drop(Counter::DropNoRoute),
    };
    if chosen.masquerade {
        let Some(src) = address::<F>(device) else { return Outcome::drop(Counter::DropNoSourceAddress) };
        segment.to.src = src;
    }
    let Some(flow) = maps::new_entry() else { return Outcome::drop(Counter::DropFlowTableFull) };
    *flow = FlowValue {
        seen_ns: now_ns,
        begun_ns: now_ns,
        backend: chosen.id,
        service: chosen.service,
        ifindex: packet.ifindex(),
        state: first_state(segment.protocol),
        role: FLOW_DIVERTED,
        ..FlowValue::default()
    };
    let counter = match enter_as(packet, segment, flow, Counter::FlowNew) {
        Ok(counter) => counter,
        Err(outcome) => return outcome,
    };
    send_by(packet, segment, device, counter)
}

/// Translates a packet of such a flow, and sends it by the route to its backend.
#[inline(always)]
pub fn forward<F: Family>(packet: Packet, segment: &Segment<F>) -> Outcome {
    match route(packet, segment) {
        Route::By(device) => send_by(packet, segment, device.get(), Counter::FlowForward),
        Route::TooLong(mtu) => reject::too_long(packet, segment, mtu),
        Route::Nowhere => Outcome::drop(Counter::DropNoRoute),
    }
}

/// Translates a packet, and sends it out by the device that was asked for last, to whom its routes name.
#[inline(never)]
pub fn send_by<F: Family>(packet: Packet, segment: &Segment<F>, device: u32, counter: Counter) -> Outcome {
    if let Err(outcome) = translate(packet, segment) {
        return outcome;
    }
    if !packet.has_ethernet() && packet.begin_with_ethernet().is_err() {
        return Outcome::drop(Counter::DropRewriteFailed);
    }
    Outcome::redirect(counter, send_to_neighbour(packet, device))
}

/// Lets a translated reply come in by another device, addressed to it. It stays here where nothing is known of that device.
#[inline(never)]
pub fn give_to<F: Family>(packet: Packet, ifindex: u32) -> Outcome {
    let stays = Outcome::next(Counter::FlowReply);
    let Some(device) = maps::device(ifindex) else { return stays };
    let mac = device.mac();
    let is_ethernet = device.flags() & DEVICE_NO_ETHERNET == 0;
    if is_ethernet && mac == [0; 6] {
        return stays;
    }
    // Where packets have no Ethernet header the kernel takes it off (`__bpf_redirect_no_mac`).
    let addressed = match (is_ethernet, packet.has_ethernet()) {
        (false, _) => Ok(()),
        (true, true) => packet.store(0, &mac),
        (true, false) => packet.begin_with_ethernet().and_then(|()| {
            packet.store(0, &EthernetHeader { dst: mac, src: mac, ether_type: F::ETHER_TYPE.to_be_bytes() })
        }),
    };
    match addressed {
        Ok(()) => Outcome::redirect(Counter::FlowReply, packet.come_in_by(ifindex)),
        Err(_) => Outcome::drop(Counter::DropRewriteFailed),
    }
}
