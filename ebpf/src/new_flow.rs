//! The first packet of a flow: decide, reserve the way back, remember, translate.
use crate::family::{Family, Tuple};
use crate::flow::{self, Found, Target};
use crate::segment::Segment;
use crate::select::{Chosen, Decision, select};
use crate::sys::Packet;
use crate::sys::kernel::random_below;
use crate::sys::maps::new_entry;
use crate::{reject, rewrite};
use sheave_abi::{Counter, FLOW_HALF_OPEN, FLOW_ONE_WAY, FLOW_RESET, FlowValue, NetPort};
use zerocopy::transmute;

/// Source ports tried after a clash: with N flows of one client at one backend, N^tries / 28232^tries fail.
const PORT_TRIES: u32 = 8;
/// Linux's ephemeral range (`net.ipv4.ip_local_port_range`): what a client itself would have chosen.
const PORT_FIRST: u16 = 32768;
const PORTS: u32 = 28232;

/// Decides a packet that has no flow.
#[inline(always)]
pub fn first<F: Family>(packet: Packet, segment: &Segment<F>, now_ns: u64) -> Counter {
    if !segment.begins_flow() {
        return Counter::PassNotFirst;
    }
    let Tuple { src, dst, dst_port, protocol, .. } = segment.tuple();
    let mut chosen = Chosen::none();
    let decision = select::<F>(&dst, dst_port, protocol, &mut chosen);
    if decision != Decision::NoFrontend && !packet.is_to_host() {
        return Counter::PassNotHost;
    }
    match decision {
        Decision::NoFrontend => Counter::PassNoFrontend,
        Decision::Raced => Counter::DropSetRaced,
        Decision::Reject if !F::is_one_host(&src) => Counter::PassSource,
        Decision::Reject => reject::reject(packet, segment),
        Decision::Forward => begin(packet, segment, &chosen, now_ns),
    }
}

/// Enters the flow into the table, the way back first, and translates its first packet.
#[inline(never)]
fn begin<F: Family>(packet: Packet, segment: &Segment<F>, chosen: &Chosen<F::Addr>, now_ns: u64) -> Counter {
    let tuple = segment.tuple();
    let Some(flow) = new_entry() else { return Counter::DropFlowTableFull };
    *flow = FlowValue {
        seen_ns: now_ns,
        begun_ns: now_ns,
        backend: chosen.id,
        service: chosen.service,
        ifindex: packet.ifindex(),
        state: if segment.is_tcp() { FLOW_HALF_OPEN } else { FLOW_ONE_WAY },
        ..FlowValue::default()
    };
    let mut target = Target { addr: chosen.addr, port: chosen.port, client_port: tuple.src_port };
    flow::aim::<F>(flow, &flow::reply_target(&tuple));
    if !reserve::<F>(&tuple, &mut target, flow) {
        return Counter::DropFlowTableFull;
    }
    flow::aim::<F>(flow, &target);
    let mut outcome = Counter::FlowNew;
    if flow::insert_new::<F>(&segment.key, flow).is_err() {
        // Another processor had a packet of this flow at the same time: its decision holds.
        let Some(other) = flow::find::<F>(&segment.key) else { return Counter::DropFlowTableFull };
        let other = other.target::<F>();
        if other != target {
            flow::remove::<F>(&flow::reply_key::<F>(&tuple, &target));
        }
        target = other;
        outcome = Counter::FlowForward;
    }
    match rewrite::forward(packet, segment, &target) {
        Ok(()) => outcome,
        Err(_) => Counter::DropRewriteFailed,
    }
}

/// Enters the reply entry, which reserves (backend, client port). On a clash with another flow of this client another source
/// port is taken, and noted in `target`. False when nothing is free.
#[inline(always)]
fn reserve<F: Family>(tuple: &Tuple<F::Addr>, target: &mut Target<F::Addr>, reply: &FlowValue) -> bool {
    if enter::<F>(&flow::reply_key::<F>(tuple, target), reply) {
        return true;
    }
    let start = random_below(PORTS);
    for i in 0..PORT_TRIES {
        let port = (start + i * (PORTS / PORT_TRIES)) % PORTS;
        target.client_port = NetPort::from_host(PORT_FIRST + port as u16);
        if enter::<F>(&flow::reply_key::<F>(tuple, target), reply) {
            return true;
        }
    }
    false
}

/// Enters a reply entry, unless a living flow of another VIP holds the key.
#[inline(never)]
fn enter<F: Family>(key: &F::FlowKey, reply: &FlowValue) -> bool {
    if flow::find::<F>(key).is_none() && flow::insert_new::<F>(key, reply).is_ok() {
        return true;
    }
    let Some(held) = flow::find::<F>(key) else { return false };
    let entry = held.entry;
    let addr: [u32; 4] = transmute!(reply.addr);
    if entry.addr() == addr && entry.port() == reply.port && entry.client_port() == reply.client_port {
        // Ours: the forward entry was evicted, or another processor is at this very step.
        let is_fresh = entry.state() == reply.state && !entry.is_idle(F::protocol(key), reply.seen_ns);
        return is_fresh || flow::replace::<F>(key, reply).is_ok();
    }
    is_dead::<F>(key, &held, reply.seen_ns) && flow::replace::<F>(key, reply).is_ok()
}

/// True when the flow that holds a reply entry was reset, or idle for too long in both directions. One that was closed keeps the
/// port for the time of TIME_WAIT only, however long its last packets may still pass.
#[inline(always)]
fn is_dead<F: Family>(key: &F::FlowKey, held: &Found, now_ns: u64) -> bool {
    if held.entry.state() == FLOW_RESET {
        return true;
    }
    let reply = F::tuple(key);
    held.entry.is_spent(reply.protocol, now_ns)
        && flow::find::<F>(&flow::forward_key::<F>(&reply, &held.target::<F>()))
            .is_none_or(|forward| forward.entry.is_spent(reply.protocol, now_ns))
}
