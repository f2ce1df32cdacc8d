//! The two entries of a flow, and the two tables they live in.
//!
//! Half-open, one-way and closing flows live in an LRU table, established ones in a plain one: a flood of first packets
//! evicts only what was never answered. An LRU table may lose one entry of a pair, so whoever finds one there looks at the other,
//! and a pair moves to another table whole or not at all.
use crate::family::{Family, Tuple};
use crate::flow_state::Step;
use crate::sys::FlowEntry;
use crate::sys::kernel::count;
use sheave_abi::{Counter, FLOW_ESTABLISHED, FLOW_FORWARD, FLOW_REPLY, FLOW_SYN_ACK, FlowValue, NetPort};
use zerocopy::transmute;

const ANY: u64 = 0;
const NOEXIST: u64 = 1;

/// What the packets of one direction are rewritten to.
#[derive(Clone, Copy, PartialEq)]
pub struct Target<A> {
    /// Forward: the backend. Reply: the VIP.
    pub addr: A,
    pub port: NetPort,
    /// Forward: the source port the backend sees. Reply: the client's own.
    pub client_port: NetPort,
}

/// An entry, and the table it was found in.
#[derive(Clone, Copy)]
pub struct Found {
    pub entry: FlowEntry,
    pub is_established_table: bool,
}

#[inline(always)]
pub fn find<F: Family>(key: &F::FlowKey) -> Option<Found> {
    if let Some(entry) = F::established().get_ptr_mut(key) {
        return Some(Found { entry: FlowEntry::new(entry), is_established_table: true });
    }
    let entry = F::half().get_ptr_mut(key)?;
    Some(Found { entry: FlowEntry::new(entry), is_established_table: false })
}

/// Key of the reply entry, from the forward direction.
#[inline(always)]
pub fn reply_key<F: Family>(forward: &Tuple<F::Addr>, target: &Target<F::Addr>) -> F::FlowKey {
    let (src_port, dst_port) = (target.port, target.client_port);
    F::flow_key(
        &Tuple { src: target.addr, dst: forward.src, src_port, dst_port, protocol: forward.protocol },
        FLOW_REPLY,
    )
}

/// Key of the forward entry, from the reply direction.
#[inline(always)]
pub fn forward_key<F: Family>(reply: &Tuple<F::Addr>, target: &Target<F::Addr>) -> F::FlowKey {
    let (src_port, dst_port) = (target.client_port, target.port);
    F::flow_key(&Tuple { src: reply.dst, dst: target.addr, src_port, dst_port, protocol: reply.protocol }, FLOW_FORWARD)
}

/// What replies of a flow are rewritten to, from its forward direction.
#[inline(always)]
pub fn reply_target<A: Copy>(forward: &Tuple<A>) -> Target<A> {
    Target { addr: forward.dst, port: forward.dst_port, client_port: forward.src_port }
}

/// What packets of a flow's forward direction are rewritten to, from its reply direction.
#[inline(always)]
pub fn forward_target<A: Copy>(reply: &Tuple<A>) -> Target<A> {
    Target { addr: reply.src, port: reply.src_port, client_port: reply.dst_port }
}

/// Writes a target into the value of an entry.
#[inline(always)]
pub fn aim<F: Family>(flow: &mut FlowValue, target: &Target<F::Addr>) {
    flow.addr = transmute!(F::to_wide(target.addr));
    flow.port = target.port;
    flow.client_port = target.client_port;
}

/// Puts a new entry where new flows start; fails when the key is taken there.
#[inline(always)]
pub fn insert_new<F: Family>(key: &F::FlowKey, flow: &FlowValue) -> Result<(), i32> {
    F::half().insert(key, flow, NOEXIST)
}

/// Puts an entry where new flows start, over whatever stands there.
#[inline(always)]
pub fn replace<F: Family>(key: &F::FlowKey, flow: &FlowValue) -> Result<(), i32> {
    let _ = F::established().remove(key);
    F::half().insert(key, flow, ANY)
}

/// Removes an entry from both tables.
#[inline(always)]
pub fn remove<F: Family>(key: &F::FlowKey) {
    let _ = F::established().remove(key);
    let _ = F::half().remove(key);
}

impl Found {
    #[inline(always)]
    pub fn target<F: Family>(&self) -> Target<F::Addr> {
        let entry = self.entry;
        Target { addr: F::from_wide(entry.addr()), port: entry.port(), client_port: entry.client_port() }
    }

    #[inline(always)]
    pub fn standing(&self) -> Step {
        Step { state: self.entry.state(), flags: self.entry.flags() }
    }

    /// True when the flow is established but an entry is not where it cannot be evicted.
    #[inline(always)]
    pub fn is_misplaced(&self) -> bool {
        self.entry.state() == FLOW_ESTABLISHED && !self.is_established_table
    }

    /// Moves the entry to the other table unless it is there; false when there is no room.
    #[inline(always)]
    fn settle<F: Family>(&self, key: &F::FlowKey, to_established: bool) -> bool {
        to_established == self.is_established_table || move_entry::<F>(self.entry, key, to_established)
    }
}

/// Both entries of a flow take a step, and move to the table of its new state: established flows both or neither, since an
/// entry left behind alone could be evicted, and the other one would lead nowhere.
#[inline(never)]
pub fn take<F: Family>(forward_key: &F::FlowKey, reply_key: &F::FlowKey, step: Step) {
    // Found anew and held against each other: the memory of an entry may have become another flow's meanwhile.
    let (Some(forward), Some(reply)) = (find::<F>(forward_key), find::<F>(reply_key)) else { return };
    if forward.target::<F>() != forward_target(&F::tuple(reply_key))
        || reply.target::<F>() != reply_target(&F::tuple(forward_key))
    {
        return;
    }
    forward.entry.set_state(step.state);
    forward.entry.set_flags(step.flags & !FLOW_SYN_ACK);
    reply.entry.set_state(step.state);
    reply.entry.set_flags(step.flags | reply.entry.flags() & FLOW_SYN_ACK);
    let to_established = step.state == FLOW_ESTABLISHED;
    if !to_established {
        reply.settle::<F>(reply_key, false);
        forward.settle::<F>(forward_key, false);
        return;
    }
    if reply.settle::<F>(reply_key, true) {
        if forward.settle::<F>(forward_key, true) {
            return;
        }
        if let Some(reply) = find::<F>(reply_key) {
            reply.settle::<F>(reply_key, false);
        }
    }
    // They go on in the LRU table, under the time-out of their new state (I7); the next packet tries again.
    count(Counter::EventEstablishedFull);
}

#[inline(never)]
fn move_entry<F: Family>(entry: FlowEntry, key: &F::FlowKey, to_established: bool) -> bool {
    if to_established {
        return entry.copy_to_established(F::established(), key).is_ok() && F::half().remove(key).is_ok();
    }
    entry.copy_to_half(F::half(), key).is_ok() && F::established().remove(key).is_ok()
}
