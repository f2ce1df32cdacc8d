//! The flows of UDP sockets of the node that are not connected.
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use core::ptr;
use sheave_abi::{FLOW_SEEN_GRAIN_NS, FLOW_UDP_IDLE_NS, SOCKET_FLOWS_MAX, SocketFlowKey, SocketFlowValue};

#[btf_map(name = "socket_flows")]
static SOCKET_FLOWS: LruHashMap<SocketFlowKey, SocketFlowValue, { SOCKET_FLOWS_MAX as usize }> = LruHashMap::new();

/// The entry of a key, as it stands now. The map may give an element to another key at any moment, so it counts only if the key
/// leads to the same one still after it was read.
#[inline(always)]
pub fn find(key: &SocketFlowKey, flow: &mut SocketFlowValue) -> bool {
    let Some(entry) = SOCKET_FLOWS.get_ptr(key) else { return false };
    // SAFETY: an element's memory stays readable until the program ends (RCU), and any bytes are a valid value.
    *flow = unsafe { entry.read_volatile() };
    SOCKET_FLOWS.get_ptr(key).is_some_and(|again| ptr::eq(entry, again))
}

/// As [`find`], and notes that a datagram of the flow came by.
#[inline(always)]
pub fn find_and_touch(key: &SocketFlowKey, flow: &mut SocketFlowValue, now_ns: u64) -> bool {
    let found = find(key, flow);
    if found
        && is_older(flow, now_ns, FLOW_SEEN_GRAIN_NS)
        && let Some(entry) = SOCKET_FLOWS.get_ptr_mut(key)
    {
        // SAFETY: an element's memory stays writable until the program ends (RCU); at worst another flow looks younger.
        unsafe { (&raw mut (*entry).seen_ns).write_volatile(now_ns) };
    }
    found
}

/// True when no datagram of this side came by for so long that the flow is over, unless the other side says otherwise.
#[inline(always)]
pub fn is_idle(flow: &SocketFlowValue, now_ns: u64) -> bool {
    is_older(flow, now_ns, FLOW_UDP_IDLE_NS)
}

/// Writes an entry over whatever stands there.
#[inline(always)]
pub fn put(key: &SocketFlowKey, flow: &SocketFlowValue) -> bool {
    SOCKET_FLOWS.insert(key, flow, 0).is_ok()
}

/// Writes an entry where none is.
#[inline(always)]
pub fn reserve(key: &SocketFlowKey, flow: &SocketFlowValue) -> bool {
    SOCKET_FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)).is_ok()
}

/// Another processor's clock may be ahead.
#[inline(always)]
fn is_older(flow: &SocketFlowValue, now_ns: u64, age_ns: u64) -> bool {
    now_ns.wrapping_sub(flow.seen_ns).cast_signed() > age_ns.cast_signed()
}
