//! The two entries of a translation, and the two tables they live in.
//!
//! An entry is found by a packet as it is seen at a hook, and says what it is rewritten to. What leads from one entry to the other is
//! the same for all of them, whatever is rewritten: the partner's key is what this one rewrites to, turned round, at the other hook.
//!
//! Half-open, one-way and closing flows live in an LRU table, established ones in a plain one: a flood of first packets
//! evicts only what was never answered. An LRU table may lose one entry of a pair, so whoever finds one there looks at the other,
//! and a pair moves to another table whole or not at all.
use crate::family::{Family, Tuple, other_hook};
use crate::flow_state::Step;
use crate::sys::FlowEntry;
use crate::sys::kernel::count;
use sheave_abi::{
    Counter, FLOW_CLIENT_SIDE, FLOW_ESTABLISHED, FLOW_FOREIGN, FLOW_PENDING, FLOW_SYN_ACK, FlowValue, IPPROTO_UDP,
};
use zerocopy::transmute;

const ANY: u64 = 0;
const NOEXIST: u64 = 1;

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

/// The backend side of a translation, if there is one of this key.
#[inline(never)]
pub fn has_backend_side<F: Family>(key: &F::FlowKey) -> bool {
    find::<F>(key).is_some_and(|found| !found.is_client_side())
}

/// Key of the entry that answers meet: what is rewritten to, turned round, at the other hook.
#[inline(always)]
pub fn partner_key<F: Family>(to: &Tuple<F::Addr>, hook: u8) -> F::FlowKey {
    F::flow_key(&to.reversed(), other_hook(hook))
}

/// Writes what is rewritten to into the value of an entry.
#[inline(always)]
pub fn aim<F: Family>(flow: &mut FlowValue, to: &Tuple<F::Addr>) {
    flow.src = transmute!(F::to_wide(to.src));
    flow.dst = transmute!(F::to_wide(to.dst));
    flow.src_port = to.src_port;
    flow.dst_port = to.dst_port;
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
    /// What packets of this key are rewritten to.
    #[inline(always)]
    pub fn to<F: Family>(&self, protocol: u8) -> Tuple<F::Addr> {
        let entry = self.entry;
        Tuple {
            src: F::from_wide(entry.src()),
            dst: F::from_wide(entry.dst()),
            src_port: entry.src_port(),
            dst_port: entry.dst_port(),
            protocol,
        }
    }

    #[inline(always)]
    pub fn is_client_side(&self) -> bool {
        self.entry.role() & FLOW_CLIENT_SIDE != 0
    }

    /// True for an entry whose source is not chosen yet.
    #[inline(always)]
    pub fn is_pending(&self) -> bool {
        self.entry.role() & FLOW_PENDING != 0
    }

    /// True for an entry of a flow that another translator carries.
    #[inline(always)]
    pub fn is_foreign(&self) -> bool {
        self.entry.role() & FLOW_FOREIGN != 0
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

    /// True when both lead to the same.
    #[inline(always)]
    pub fn leads_to<F: Family>(&self, to: &Tuple<F::Addr>) -> bool {
        self.to::<F>(to.protocol) == *to
    }

    #[inline(always)]
    fn put(&self, step: Step) {
        let syn_ack = if self.is_client_side() { 0 } else { self.entry.flags() & FLOW_SYN_ACK };
        self.entry.set_state(step.state);
        self.entry.set_flags(step.flags & !FLOW_SYN_ACK | syn_ack);
    }

    /// Moves the entry to the other table unless it is there; false when there is no room.
    #[inline(always)]
    fn settle<F: Family>(&self, key: &F::FlowKey, to_established: bool) -> bool {
        to_established == self.is_established_table || move_entry::<F>(self.entry, key, to_established)
    }
}

/// Both entries of a pair, if they are one: found anew and held against each other, because the memory of an entry may have become
/// another flow's since it was found.
#[inline(always)]
fn pair<F: Family>(key: &F::FlowKey, partner_key: &F::FlowKey) -> Option<(Found, Found)> {
    let (found, partner) = (find::<F>(key)?, find::<F>(partner_key)?);
    let is_pair =
        partner.leads_to::<F>(&F::tuple(key).reversed()) && found.leads_to::<F>(&F::tuple(partner_key).reversed());
    is_pair.then_some((found, partner))
}

/// Notes that the client's packets come by another device than those before: another uplink, after the first one failed.
#[inline(never)]
pub fn come_by<F: Family>(key: &F::FlowKey, partner_key: &F::FlowKey, ifindex: u32) {
    if let Some((found, partner)) = pair::<F>(key, partner_key) {
        found.entry.set_ifindex(ifindex);
        partner.entry.set_ifindex(ifindex);
    }
}

/// Both entries of a pair take a step, and move to the table of its new state: established ones both or neither, since an
/// entry left behind alone could be evicted, and the other one would lead nowhere. False when the packet must not pass: the table
/// of established flows has no room for a flow with a handshake, which stays what it was until there is some (I7).
#[inline(never)]
pub fn take<F: Family>(key: &F::FlowKey, partner_key: &F::FlowKey, step: Step) -> bool {
    let Some((found, partner)) = pair::<F>(key, partner_key) else { return true };
    let before = found.standing();
    found.put(step);
    partner.put(step);
    let to_established = step.state == FLOW_ESTABLISHED;
    if partner.settle::<F>(partner_key, to_established) {
        if found.settle::<F>(key, to_established) || !to_established {
            return true;
        }
        if let Some(partner) = find::<F>(partner_key) {
            partner.settle::<F>(partner_key, false);
        }
    }
    if !to_established {
        return true;
    }
    if F::protocol(key) != IPPROTO_UDP {
        put_both::<F>(key, partner_key, before);
        return false;
    }
    // They go on in the LRU table, under the time-out of their new state; the next packet tries again.
    count(Counter::EventEstablishedFull);
    true
}

#[inline(never)]
fn put_both<F: Family>(key: &F::FlowKey, partner_key: &F::FlowKey, step: Step) {
    if let Some(found) = find::<F>(key) {
        found.put(step);
    }
    if let Some(partner) = find::<F>(partner_key) {
        partner.put(step);
    }
}

const ENOENT: i32 = 2;

#[inline(always)]
fn is_gone(removed: Result<(), i32>) -> bool {
    removed.is_ok() || removed == Err(-ENOENT)
}

#[inline(never)]
fn move_entry<F: Family>(entry: FlowEntry, key: &F::FlowKey, to_established: bool) -> bool {
    // What is not there any more another processor has moved.
    if to_established {
        return entry.copy_to_established(F::established(), key).is_ok() && is_gone(F::half().remove(key));
    }
    entry.copy_to_half(F::half(), key).is_ok() && is_gone(F::established().remove(key))
}
