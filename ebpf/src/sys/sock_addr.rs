//! The address argument of a socket call: read and written field by field, as the verifier demands.
use super::maps::ORIGINS;
use crate::family::MAPPED;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use sheave_abi::{NetPort, Origin};

/// The address of a connect() or getpeername() call.
pub struct SockAddr(SockAddrContext);

impl SockAddr {
    #[inline(always)]
    pub fn new(context: SockAddrContext) -> Self {
        Self(context)
    }

    #[inline(always)]
    fn raw(&self) -> *mut bpf_sock_addr {
        self.0.sock_addr
    }

    /// IP protocol of the socket.
    #[inline(always)]
    pub fn protocol(&self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.raw()).protocol).read_volatile() }
    }

    #[inline(always)]
    pub fn port(&self) -> NetPort {
        // SAFETY: the context outlives the program.
        NetPort::from_wire(unsafe { (&raw const (*self.raw()).user_port).read_volatile() } as u16)
    }

    #[inline(always)]
    pub fn set_port(&self, port: NetPort) {
        // SAFETY: the context outlives the program.
        unsafe { (&raw mut (*self.raw()).user_port).write_volatile(u32::from(port.to_wire())) };
    }

    #[inline(always)]
    pub fn addr_v4(&self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.raw()).user_ip4).read_volatile() }
    }

    #[inline(always)]
    pub fn set_addr_v4(&self, addr: u32) {
        // SAFETY: the context outlives the program.
        unsafe { (&raw mut (*self.raw()).user_ip4).write_volatile(addr) };
    }

    #[inline(always)]
    pub fn addr_v6(&self) -> [u32; 4] {
        let words = self.words();
        // SAFETY: the context outlives the program; `words` points at four words.
        let (a, b) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        // SAFETY: as above.
        let (c, d) = unsafe { (words.add(2).read_volatile(), words.add(3).read_volatile()) };
        [a, b, c, d]
    }

    #[inline(always)]
    pub fn set_addr_v6(&self, [a, b, c, d]: [u32; 4]) {
        let words = self.words();
        // SAFETY: the context outlives the program; `words` points at four words.
        unsafe { (words.write_volatile(a), words.add(1).write_volatile(b)) };
        // SAFETY: as above.
        unsafe { (words.add(2).write_volatile(c), words.add(3).write_volatile(d)) };
    }

    #[inline(always)]
    fn words(&self) -> *mut u32 {
        // SAFETY: only an address is taken.
        unsafe { (&raw mut (*self.raw()).user_ip6).cast() }
    }

    /// True when the socket has a source address already. The kernel shows an IPv4 one in both fields.
    #[inline(always)]
    pub fn is_bound_v4(&self) -> bool {
        let Some(sk) = self.socket() else { return false };
        // SAFETY: a socket, checked in `socket`.
        unsafe { (&raw const (*sk).src_ip4).read_volatile() != 0 }
    }

    /// True when the socket has an IPv6 source address already. `::ffff:0.0.0.0` is none: a socket bound to it may use any
    /// IPv4 address.
    #[inline(always)]
    pub fn is_bound_v6(&self) -> bool {
        let Some(sk) = self.socket() else { return false };
        // SAFETY: only an address is taken.
        let words = unsafe { (&raw const (*sk).src_ip6).cast::<u32>() };
        // SAFETY: a socket, checked in `socket`; `words` points at four words.
        let (a, b) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        // SAFETY: as above.
        let (c, d) = unsafe { (words.add(2).read_volatile(), words.add(3).read_volatile()) };
        a | b | d != 0 || (c != 0 && c != MAPPED)
    }

    /// Cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns_cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_netns_cookie(self.raw().cast()) }
    }

    /// Makes the system call fail with `errno`, once the program has returned 0.
    #[inline(always)]
    pub fn set_errno(&self, errno: i32) {
        // SAFETY: called only where the helper exists.
        unsafe { bpf_set_retval(errno.wrapping_neg()) };
    }

    /// Remembers what the socket dialled; false when there is no memory for it.
    #[inline(always)]
    pub fn remember(&self, origin: &Origin) -> bool {
        let mut origin = *origin;
        // SAFETY: the helper checks the socket.
        let held = unsafe { ORIGINS.get_or_insert_ptr_mut(&self.0, Some(&mut origin)) };
        if held.is_null() {
            return false;
        }
        // SAFETY: not null; storage of this socket, which its owner has locked.
        unsafe { held.write(origin) };
        true
    }

    /// Makes void what the socket has dialled before, if anything.
    #[inline(always)]
    pub fn forget(&self) {
        // SAFETY: the helper checks the socket.
        let held = unsafe { ORIGINS.get_ptr_mut(&self.0) };
        if !held.is_null() {
            // SAFETY: not null; storage of this socket, which its owner has locked.
            unsafe { (&raw mut (*held).backend_port).write_volatile(NetPort::ANY) };
        }
    }

    /// What the socket dialled.
    #[inline(always)]
    pub fn origin(&self) -> Option<Origin> {
        // SAFETY: the helper checks the socket.
        let held = unsafe { ORIGINS.get_ptr_mut(&self.0) };
        if held.is_null() {
            return None;
        }
        // SAFETY: not null; storage of this socket.
        Some(unsafe { held.read() })
    }

    #[inline(always)]
    fn socket(&self) -> Option<*mut bpf_sock> {
        // SAFETY: the kernel sets this member for these hooks.
        let sk = unsafe { (&raw const (*self.raw()).__bindgen_anon_1.sk).read_volatile() };
        if sk.is_null() { None } else { Some(sk) }
    }
}
