//! Source ports. The key of the way back is the reservation: whoever enters it first has the port.
use crate::family::{Family, Tuple};
use crate::flow::{self, Found, partner_key};
use crate::segment::Segment;
use crate::sys::kernel::{count, random_below};
use crate::sys::lookup::{Netns, is_taken_by_socket};
use crate::sys::{Packet, maps};
use sheave_abi::{Counter, FLOW_EGRESS, FLOW_RESET, FlowValue, IPPROTO_TCP, IPPROTO_UDP, NetPort};
use zerocopy::transmute;

/// Ports looked at after a clash, for each of [`ROUNDS`]. Of a node's address 64,512 can be had per backend; with 50,000 of them in use
/// one flow in 3,500 finds none (0.775^32).
const TRIES: u32 = 8;
/// Free ports tried to get: another processor or a socket may have one.
const ROUNDS: u32 = 4;

/// From where ports are taken, and how many: Linux's ephemeral range (`net.ipv4.ip_local_port_range`) for a client's own address,
/// what it would have chosen itself.
const OF_CLIENT: (u32, u32) = (32768, 28232);
/// For an address of this node all but the well-known ones, as `masquerade` in netfilter.
const OF_NODE: (u32, u32) = (1024, 64512);

/// Enters the backend side, which reserves (backend, source, source port). On a clash another source port is taken, and noted in
/// `segment.to`. False when none was free.
#[inline(never)]
pub fn reserve<F: Family>(packet: Packet, segment: &mut Segment<F>, flow: &FlowValue) -> bool {
    // At egress the source is the node's, or becomes it.
    let is_of_node = segment.hook() == FLOW_EGRESS;
    let netns = netns_of_others(packet, segment);
    segment.find_partner_key();
    if (has_own_socket(segment) || !is_taken(packet, segment, netns))
        && !is_itself(&segment.to)
        && enter::<F>(&segment.partner_key, flow)
    {
        return true;
    }
    let (first, ports) = if is_of_node { OF_NODE } else { OF_CLIENT };
    for _ in 0..ROUNDS {
        if find_absent(segment, first, ports)
            && !is_itself(&segment.to)
            && !is_taken(packet, segment, netns)
            && flow::insert_new::<F>(&segment.partner_key, flow).is_ok()
        {
            return true;
        }
    }
    false
}

/// The namespace whose sockets may have dialled the backend from the client's address without a flow: the node's, and a TCP client's, whose
/// sockets are translated at connect() or dial the backend by its own address. Of datagrams that are sent past a flow each one is decided,
/// and gives way to it (`first::is_taken_by_other`).
#[inline(always)]
fn netns_of_others<F: Family>(packet: Packet, segment: &Segment<F>) -> Option<Netns> {
    match (segment.hook(), segment.protocol) {
        (FLOW_EGRESS, _) => Some(Netns::OWN),
        (_, IPPROTO_TCP) => maps::device(packet.ifindex())?.peer_netns(),
        _ => None,
    }
}

#[inline(always)]
fn is_taken<F: Family>(packet: Packet, segment: &Segment<F>, netns: Option<Netns>) -> bool {
    netns.is_some_and(|netns| is_taken_by_socket(packet, segment, netns))
}

/// True when the flow's own socket would be found as one that has the port: a datagram socket of the node's that dials a VIP, or the
/// socket of a flow that gives way.
#[inline(always)]
fn has_own_socket<F: Family>(segment: &Segment<F>) -> bool {
    match segment.hook() {
        FLOW_EGRESS => segment.protocol == IPPROTO_UDP && segment.tuple().src == segment.to.src,
        _ => segment.tuple() == segment.to,
    }
}

/// Draws a source port that no flow has. False when all that were looked at are taken.
#[inline(never)]
fn find_absent<F: Family>(segment: &mut Segment<F>, first: u32, ports: u32) -> bool {
    for _ in 0..TRIES {
        count(Counter::EventPortTaken);
        segment.to.src_port = NetPort::from_host((first + random_below(ports)) as u16);
        segment.find_partner_key();
        if flow::find::<F>(&segment.partner_key).is_none() {
            return true;
        }
    }
    false
}

/// A pod that is its own backend, by the very port it serves on: nobody could tell its requests from its answers.
#[inline(always)]
fn is_itself<A: Copy + PartialEq>(to: &Tuple<A>) -> bool {
    to.src == to.dst && to.src_port == to.dst_port
}

/// Enters a backend side, unless a living flow holds the key.
#[inline(never)]
fn enter<F: Family>(key: &F::FlowKey, flow: &FlowValue) -> bool {
    if flow::find::<F>(key).is_none() && flow::insert_new::<F>(key, flow).is_ok() {
        return true;
    }
    let Some(held) = flow::find::<F>(key) else { return false };
    if is_same(&held, flow) {
        // Ours: the client side was evicted, or another processor is at this very step.
        let is_fresh = held.entry.state() == flow.state && !held.entry.is_idle(F::protocol(key), flow.seen_ns);
        return is_fresh || flow::replace::<F>(key, flow).is_ok();
    }
    is_dead::<F>(key, &held, flow.seen_ns) && flow::replace::<F>(key, flow).is_ok()
}

/// True when an entry leads to where the one to be does.
#[inline(always)]
fn is_same(held: &Found, flow: &FlowValue) -> bool {
    let (src, dst): ([u32; 4], [u32; 4]) = (transmute!(flow.src), transmute!(flow.dst));
    let entry = held.entry;
    entry.src() == src
        && entry.dst() == dst
        && entry.src_port() == flow.src_port
        && entry.dst_port() == flow.dst_port
        && entry.role() == flow.role
}

/// True when the flow that holds a backend side was reset, or idle for too long in both directions. One that was closed keeps the
/// port for the time of TIME_WAIT only, however long its last packets may still pass.
#[inline(always)]
fn is_dead<F: Family>(key: &F::FlowKey, held: &Found, now_ns: u64) -> bool {
    if held.is_client_side() {
        return false;
    }
    if held.entry.state() == FLOW_RESET {
        return true;
    }
    let protocol = F::protocol(key);
    held.entry.is_spent(protocol, now_ns)
        && flow::find::<F>(&partner_key::<F>(&held.to::<F>(protocol), F::hook(key)))
            .is_none_or(|partner| partner.entry.is_spent(protocol, now_ns))
}
