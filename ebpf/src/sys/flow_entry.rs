//! An entry of a flow table, shared with other processors: every access is one plain load or store of a field, made when
//! it is needed, because copies of whole entries would overflow the stack.
use super::maps::{Established, Half, words};
use sheave_abi::{FLOW_OPENED, FLOW_SEEN_GRAIN_NS, FLOW_SILENT_NS, FlowValue, NetPort};

/// An entry as it was found. Its memory stays readable until the program ends (RCU), but once another processor has removed the
/// entry it may hold another flow: LRU tables reuse it at once, and so do plain ones since 6.1 (`bpf_mem_alloc`, kernel commit
/// fba1a1c6c912). Whoever writes more than a time stamp finds the key again first.
#[derive(Clone, Copy)]
pub struct FlowEntry(*mut FlowValue);

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)+) => {
        impl FlowEntry {
            $($(#[$doc])* #[inline(always)]
            pub fn $name(self) -> $type {
                // SAFETY: `new` takes only pointers of successful lookups.
                unsafe { (&raw const (*self.0).$name).read_volatile() }
            })+
        }
    };
}

fields! {
    seen_ns: u64,
    begun_ns: u64,
    backend: u32,
    service: u32,
    src_port: NetPort,
    dst_port: NetPort,
    handshake_ack: u32,
    ifindex: u32,
    state: u8,
    flags: u8,
    role: u8,
}

impl FlowEntry {
    /// `entry` is a value of a flow table as the lookup helper returned it.
    #[inline(always)]
    pub fn new(entry: *mut FlowValue) -> Self {
        Self(entry)
    }

    /// Source to rewrite to, as [`FlowValue::src`] but in words.
    #[inline(always)]
    pub fn src(self) -> [u32; 4] {
        const { assert!(core::mem::offset_of!(FlowValue, src) % 4 == 0) };
        // SAFETY: `new` takes only pointers of successful lookups, aligned to 8; only an address is taken.
        words(unsafe { (&raw const (*self.0).src).cast() })
    }

    /// Destination to rewrite to, as [`FlowValue::dst`] but in words.
    #[inline(always)]
    pub fn dst(self) -> [u32; 4] {
        const { assert!(core::mem::offset_of!(FlowValue, dst) % 4 == 0) };
        // SAFETY: `new` takes only pointers of successful lookups, aligned to 8; only an address is taken.
        words(unsafe { (&raw const (*self.0).dst).cast() })
    }

    /// Copies the entry as it stands now.
    #[inline(always)]
    pub fn copy_to(self, flow: &mut FlowValue) {
        // SAFETY: `new` takes only pointers of successful lookups; a FlowValue is plain bytes.
        *flow = unsafe { self.0.read() };
    }

    /// Notes that a packet came by at `now_ns`.
    #[inline(always)]
    pub fn touch(self, now_ns: u64) {
        let flow = FlowValue { seen_ns: self.seen_ns(), ..FlowValue::default() };
        if flow.idle_ns(now_ns) > FLOW_SEEN_GRAIN_NS.cast_signed() {
            // SAFETY: `new` takes only pointers of successful lookups.
            unsafe { (&raw mut (*self.0).seen_ns).write_volatile(now_ns) };
        }
    }

    #[inline(always)]
    pub fn set_state(self, state: u8) {
        // SAFETY: `new` takes only pointers of successful lookups.
        unsafe { (&raw mut (*self.0).state).write_volatile(state) };
    }

    #[inline(always)]
    pub fn set_flags(self, flags: u8) {
        // SAFETY: `new` takes only pointers of successful lookups.
        unsafe { (&raw mut (*self.0).flags).write_volatile(flags) };
    }

    #[inline(always)]
    pub fn set_handshake_ack(self, ack: u32) {
        // SAFETY: `new` takes only pointers of successful lookups.
        unsafe { (&raw mut (*self.0).handshake_ack).write_volatile(ack) };
    }

    #[inline(always)]
    pub fn set_ifindex(self, ifindex: u32) {
        // SAFETY: `new` takes only pointers of successful lookups.
        unsafe { (&raw mut (*self.0).ifindex).write_volatile(ifindex) };
    }

    /// True when no packet came by for as long as the state allows.
    #[inline(always)]
    pub fn is_idle(self, protocol: u8, now_ns: u64) -> bool {
        let (seen_ns, state, flags) = (self.seen_ns(), self.state(), self.flags());
        FlowValue { seen_ns, state, flags, ..FlowValue::default() }.is_idle(protocol, now_ns)
    }

    /// As [`Self::is_idle`], without the time a flow keeps for having been established.
    #[inline(always)]
    pub fn is_spent(self, protocol: u8, now_ns: u64) -> bool {
        let (seen_ns, state, flags) = (self.seen_ns(), self.state(), self.flags() & !FLOW_OPENED);
        FlowValue { seen_ns, state, flags, ..FlowValue::default() }.is_idle(protocol, now_ns)
    }

    /// True when no packet came by for so long that a backend which serves no longer has gone.
    #[inline(always)]
    pub fn is_silent(self, now_ns: u64) -> bool {
        let flow = FlowValue { seen_ns: self.seen_ns(), ..FlowValue::default() };
        flow.idle_ns(now_ns) > FLOW_SILENT_NS.cast_signed()
    }

    /// Copies the entry as it stands now to the table of established flows, over whatever stands there.
    #[inline(always)]
    pub fn copy_to_established<K>(self, table: &Established<K>, key: &K) -> Result<(), i32> {
        // SAFETY: `new` takes only pointers of successful lookups; the helper only reads.
        let flow: &FlowValue = unsafe { &*self.0 };
        table.insert(key, flow, 0)
    }

    /// Copies the entry as it stands now to the LRU table, over whatever stands there.
    #[inline(always)]
    pub fn copy_to_half<K>(self, table: &Half<K>, key: &K) -> Result<(), i32> {
        // SAFETY: `new` takes only pointers of successful lookups; the helper only reads.
        let flow: &FlowValue = unsafe { &*self.0 };
        table.insert(key, flow, 0)
    }
}
