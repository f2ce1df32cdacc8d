//! The address argument of a socket call: read and written field by field, as the verifier demands.
use super::maps::ORIGINS;
use super::socket_flows;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use sheave_abi::{NetPort, Origin};

/// The address of a call: connect(), getpeername(), sendmsg() or recvmsg() with an address.
pub struct SockAddr(SockAddrContext);

/// A socket that is being closed.
pub struct Closing(SockContext);

impl Closing {
    #[inline(always)]
    pub fn new(context: SockContext) -> Self {
        Self(context)
    }

    /// IP protocol of the socket.
    #[inline(always)]
    pub fn protocol(&self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.0.sock).protocol).read_volatile() }
    }

    /// The socket's cookie.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_socket_cookie(self.0.as_ptr()) }
    }
}

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

    /// The source address that the socket has already; zero when it has none. The kernel shows an IPv4 one of an IPv6 socket
    /// here as well, and 127.0.0.6 for one that has an IPv6 address (`__inet6_bind`, `LOOPBACK4_IPV6`).
    #[inline(always)]
    pub fn source_v4(&self) -> u32 {
        let Some(sk) = self.socket() else { return 0 };
        // SAFETY: a socket, checked in `socket`.
        unsafe { (&raw const (*sk).src_ip4).read_volatile() }
    }

    /// The IPv6 source address that the socket has already; zero when it has none.
    #[inline(always)]
    pub fn source_v6(&self) -> [u32; 4] {
        let Some(sk) = self.socket() else { return [0; 4] };
        // SAFETY: only an address is taken.
        let words = unsafe { (&raw const (*sk).src_ip6).cast::<u32>() };
        // SAFETY: a socket, checked in `socket`; `words` points at four words.
        let (a, b) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        // SAFETY: as above.
        let (c, d) = unsafe { (words.add(2).read_volatile(), words.add(3).read_volatile()) };
        [a, b, c, d]
    }

    /// For sendmsg: the source address the datagram is given, by the socket or by a control message; zero for none.
    #[inline(always)]
    pub fn message_source_v4(&self) -> u32 {
        // SAFETY: the context outlives the program.
        unsafe { (&raw const (*self.raw()).msg_src_ip4).read_volatile() }
    }

    /// For sendmsg: the IPv6 source address the datagram is given, by the socket or by a control message; zero for none.
    #[inline(always)]
    pub fn message_source_v6(&self) -> [u32; 4] {
        // SAFETY: only an address is taken.
        let words: *const u32 = unsafe { (&raw const (*self.raw()).msg_src_ip6).cast() };
        // SAFETY: the context outlives the program; `words` points at four words.
        let (a, b) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
        // SAFETY: as above.
        let (c, d) = unsafe { (words.add(2).read_volatile(), words.add(3).read_volatile()) };
        [a, b, c, d]
    }

    /// True when the socket may send by one device only (SO_BINDTODEVICE).
    #[inline(always)]
    pub fn has_device(&self) -> bool {
        let Some(sk) = self.socket() else { return false };
        // SAFETY: a socket, checked in `socket`.
        unsafe { (&raw const (*sk).bound_dev_if).read_volatile() != 0 }
    }

    /// The socket's cookie: no other socket ever has it.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_socket_cookie(self.raw().cast()) }
    }

    /// Cookie of the socket's network namespace.
    #[inline(always)]
    pub fn netns_cookie(&self) -> u64 {
        // SAFETY: the helper takes this context.
        unsafe { bpf_get_netns_cookie(self.raw().cast()) }
    }

    /// Cookie of the machine's first network namespace.
    #[inline(always)]
    pub fn first_netns_cookie() -> u64 {
        // SAFETY: the helper takes null for that namespace.
        unsafe { bpf_get_netns_cookie(core::ptr::null_mut()) }
    }

    /// Makes the system call fail with `errno`, once the program has returned 0.
    #[inline(always)]
    pub fn set_errno(&self, errno: i32) {
        // SAFETY: called only where the helper exists.
        unsafe { bpf_set_retval(errno.wrapping_neg()) };
    }

    /// The socket's storage, void if it is new; `None` when there is no memory for it.
    #[inline(always)]
    pub fn new_origin(&self) -> Option<SocketOrigin> {
        // SAFETY: the helper checks the socket, and clears what is new.
        let held = unsafe { ORIGINS.get_or_insert_ptr_mut(&self.0, None) };
        if held.is_null() { None } else { Some(SocketOrigin(held)) }
    }

    /// The socket's storage, if it has dialled a VIP before.
    #[inline(always)]
    pub fn origin(&self) -> Option<SocketOrigin> {
        // SAFETY: the helper checks the socket.
        let held = unsafe { ORIGINS.get_ptr_mut(&self.0) };
        if held.is_null() { None } else { Some(SocketOrigin(held)) }
    }

    #[inline(always)]
    fn socket(&self) -> Option<*mut bpf_sock> {
        // SAFETY: the kernel sets this member for these hooks.
        let sk = unsafe { (&raw const (*self.raw()).__bindgen_anon_1.sk).read_volatile() };
        if sk.is_null() { None } else { Some(sk) }
    }
}

/// What a socket dialled, in its own storage, which its owner has locked. Read and written field by field: a copy would take much
/// of the stack.
#[derive(Clone, Copy)]
pub struct SocketOrigin(*mut Origin);

impl SocketOrigin {
    /// Copies it to where the agent finds it; false when there is no room.
    #[inline(always)]
    pub fn note(self, cookie: u64) -> bool {
        // SAFETY: `SockAddr` makes it of storage only; the helper only reads.
        socket_flows::note(cookie, unsafe { &*self.0 })
    }
}

macro_rules! fields {
    ($($name:ident, $set:ident: $type:ty,)+) => {
        impl SocketOrigin {
            $(#[inline(always)]
            pub fn $name(self) -> $type {
                // SAFETY: `SockAddr` makes it of storage only.
                unsafe { (&raw const (*self.0).$name).read_volatile() }
            }

            #[inline(always)]
            pub fn $set(self, value: $type) {
                // SAFETY: `SockAddr` makes it of storage only.
                unsafe { (&raw mut (*self.0).$name).write_volatile(value) };
            })+
        }
    };
}

fields! {
    vip_port, set_vip_port: NetPort,
    backend_port, set_backend_port: NetPort,
    service, set_service: u32,
    backend_id, set_backend_id: u32,
}

macro_rules! addrs {
    ($($name:ident, $set:ident,)+) => {
        impl SocketOrigin {
            $(#[inline(always)]
            pub fn $name(self) -> [u32; 4] {
                const { assert!(core::mem::offset_of!(Origin, $name) % 4 == 0) };
                // SAFETY: `SockAddr` makes it of storage only, aligned to 8.
                unsafe { (&raw const (*self.0).$name).cast::<[u32; 4]>().read_volatile() }
            }

            #[inline(always)]
            pub fn $set(self, addr: [u32; 4]) {
                // SAFETY: `SockAddr` makes it of storage only, aligned to 8.
                unsafe { (&raw mut (*self.0).$name).cast::<[u32; 4]>().write_volatile(addr) };
            })+
        }
    };
}

addrs! {
    vip, set_vip,
    backend, set_backend,
}
