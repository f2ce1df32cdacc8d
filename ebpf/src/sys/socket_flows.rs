//! UDP sockets of the node: which were connected to a VIP, and the flows of those that are not connected.
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{HashMap, LruHashMap};
use aya_ebpf::macros::btf_map;
use core::ptr;
use sheave_abi::{
    FLOW_SEEN_GRAIN_NS, FLOW_UDP_IDLE_NS, NetPort, Origin, SOCKET_FLOWS_MAX, SocketFlowKey, SocketFlowValue, UDP_SOCKETS_MAX,
};

#[btf_map(name = "socket_flows")]
static SOCKET_FLOWS: LruHashMap<SocketFlowKey, SocketFlowValue, { SOCKET_FLOWS_MAX as usize }> = LruHashMap::new();

const NO_PREALLOC: usize = 1;
/// The kernel lists UDP sockets without what they hold in `origins` (`inet_sk_diag_fill`), so the agent reads it here.
#[btf_map(name = "udp_sockets")]
static UDP_SOCKETS: HashMap<u64, Origin, { UDP_SOCKETS_MAX as usize }, NO_PREALLOC> = HashMap::new();

/// Notes what a UDP socket is connected to; false when there is no room.
#[inline(always)]
pub fn note(cookie: u64, origin: &Origin) -> bool {
    UDP_SOCKETS.insert(cookie, origin, 0).is_ok()
}

/// Forgets a socket that is closed.
#[inline(always)]
pub fn forget(cookie: u64) {
    // Most sockets were never there.
    let _unused: Result<(), i32> = UDP_SOCKETS.remove(cookie);
}

/// An entry as it was found. Its memory stays readable until the program ends (RCU), but the map may give it to another key at any
/// moment: what is read of it counts only if [`SocketFlow::is_still`] says so then, or something else does.
#[derive(Clone, Copy)]
pub struct SocketFlow(*mut SocketFlowValue);

macro_rules! fields {
    ($($name:ident: $type:ty,)+) => {
        impl SocketFlow {
            $(#[inline(always)]
            pub fn $name(self) -> $type {
                // SAFETY: `find` takes only pointers of successful lookups.
                unsafe { (&raw const (*self.0).$name).read_volatile() }
            })+
        }
    };
}

fields! {
    seen_ns: u64,
    port: NetPort,
    service: u32,
    backend_id: u32,
}

impl SocketFlow {
    /// What the address is replaced by, in words.
    #[inline(always)]
    pub fn addr(self) -> [u32; 4] {
        const { assert!(core::mem::offset_of!(SocketFlowValue, addr) % 4 == 0) };
        // SAFETY: `find` takes only pointers of successful lookups, aligned to 8.
        unsafe { (&raw const (*self.0).addr).cast::<[u32; 4]>().read_volatile() }
    }

    /// True when the key leads to this entry now.
    #[inline(always)]
    pub fn is_still(self, key: &SocketFlowKey) -> bool {
        SOCKET_FLOWS.get_ptr(key).is_some_and(|found| ptr::eq(found, self.0))
    }

    /// Notes that a datagram of this side came by. At worst another flow looks younger.
    #[inline(always)]
    pub fn touch(self, now_ns: u64) {
        if self.is_older(now_ns, FLOW_SEEN_GRAIN_NS) {
            // SAFETY: `find` takes only pointers of successful lookups.
            unsafe { (&raw mut (*self.0).seen_ns).write_volatile(now_ns) };
        }
    }

    /// True when no datagram of this side came by for so long that the flow is over, unless the other side says otherwise.
    #[inline(always)]
    pub fn is_idle(self, now_ns: u64) -> bool {
        self.is_older(now_ns, FLOW_UDP_IDLE_NS)
    }

    /// Another processor's clock may be ahead.
    #[inline(always)]
    fn is_older(self, now_ns: u64, age_ns: u64) -> bool {
        now_ns.wrapping_sub(self.seen_ns()).cast_signed() > age_ns.cast_signed()
    }
}

/// The entry of a key.
#[inline(always)]
pub fn find(key: &SocketFlowKey) -> Option<SocketFlow> {
    SOCKET_FLOWS.get_ptr_mut(key).map(SocketFlow)
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
