//! Questions to the kernel about what is not ours: routes and sockets.
use super::maps::scratch_fib;
use super::packet::{Note, Packet};
use crate::family::{Family, Tuple};
use crate::segment::Segment;
use aya_ebpf::bindings::{
    BPF_F_CURRENT_NETNS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    bpf_sock_tuple,
};
use aya_ebpf::helpers::{
    bpf_fib_lookup as ask_fib, bpf_redirect_neigh, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
};
use core::num::NonZeroU32;
use core::{mem, ptr};
use sheave_abi::{IPPROTO_SCTP, IPPROTO_TCP, NetPort};

/// `BPF_FIB_LKUP_RET_SUCCESS`.
const ROUTED: i64 = 0;
/// `BPF_FIB_LKUP_RET_NO_NEIGH`: whoever sends the packet asks for the neighbour.
const NO_NEIGHBOUR: i64 = 7;
/// `BPF_FIB_LKUP_RET_FWD_DISABLED`: what comes in by the device is not forwarded; it says nothing about routes out.
const NOT_FORWARDED: i64 = 5;
/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`.
const TOO_LONG: i64 = 8;
/// `TC_ACT_SHOT`, which a helper returns that does not send a packet on.
const REFUSED: i32 = 2;
/// `AF_UNSPEC`: of a neighbour that no answer names.
const NO_FAMILY: u8 = 0;
/// `GSO_BY_FRAGS`: SCTP, whose segments are as long as they are (`sctp_packet_pack`). Their mean length is less than the longest:
/// what is lost for that is sent again in a packet of its own, whose length is known.
const GSO_BY_FRAGS: u32 = 0xffff;
/// `TCP_LISTEN`.
const LISTEN: u32 = 10;

/// `struct bpf_sock_tuple`: a packet's addresses and ports, of the size that tells its family.
#[repr(C)]
struct Sockets<A> {
    src: A,
    dst: A,
    src_port: NetPort,
    dst_port: NetPort,
}

/// A network namespace, by the number that helpers know it by.
#[derive(Clone, Copy)]
pub struct Netns(i64);

impl Netns {
    /// That of the device which the packet is at: the node's.
    pub const OWN: Self = Self(BPF_F_CURRENT_NETNS as i64);

    /// The one of which the node's has this number.
    #[inline(always)]
    pub fn numbered(number: u32) -> Self {
        Self(number as i64)
    }
}

/// Where routes lead the packet that is to be rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Out by this device.
    By(NonZeroU32),
    /// A way on which no IP packet is longer than so many bytes; this one, or what it will be cut into, is.
    TooLong(u32),
    /// Nowhere from here, or it ends at this node.
    Nowhere,
}

/// The way to its destination of the packet that is to be rewritten, forwarded from where it is.
#[inline(always)]
pub fn route<F: Family>(packet: Packet, segment: &Segment<F>) -> Route {
    read(ask::<F>(packet, segment, 0))
}

/// The same by a given device only: [`Route::By`] that device, or not at all.
#[inline(always)]
pub fn route_by<F: Family>(packet: Packet, segment: &Segment<F>, ifindex: u32) -> Route {
    match read(ask::<F>(packet, segment, ifindex)) {
        Route::By(device) if device.get() != ifindex => Route::Nowhere,
        route => route,
    }
}

#[inline(always)]
fn read(answer: i64) -> Route {
    match (answer, NonZeroU32::new(answer as u32)) {
        (mtu, _) if mtu < 0 => Route::TooLong(mtu.unsigned_abs() as u32),
        (_, Some(device)) => Route::By(device),
        (_, None) => Route::Nowhere,
    }
}

/// Asks for the way out by a device, or by any when that is 0: an ifindex, less than zero an MTU, zero for none. One word, because the
/// verifier forbids to return by pointer.
#[inline(never)]
fn ask<F: Family>(packet: Packet, segment: &Segment<F>, out: u32) -> i64 {
    let to = &segment.to;
    let Some(fib) = scratch_fib() else { return 0 };
    // SAFETY: a per-CPU value of this size; zeros are a valid question.
    unsafe { ptr::write_bytes(fib, 0, 1) };
    // SAFETY: as above, and nobody else has it while this program runs.
    let asked = unsafe { &mut *fib };
    asked.family = F::AF;
    asked.l4_protocol = to.protocol;
    asked.sport = to.src_port.to_wire();
    asked.dport = to.dst_port.to_wire();
    asked.ifindex = if out == 0 { packet.ifindex() } else { out };
    // A length that fits everywhere: with none at all the helper would take that of the packet.
    let len = if may_be_cut::<F>(packet) { 1 } else { longest(packet, segment) };
    asked.__bindgen_anon_1.tot_len = len;
    asked.__bindgen_anon_3.ipv6_src = F::to_wide(to.src);
    asked.__bindgen_anon_4.ipv6_dst = F::to_wide(to.dst);
    let flags = if out == 0 { 0 } else { BPF_FIB_LOOKUP_OUTPUT };
    // SAFETY: `fib` has the size that is said.
    let ret = unsafe { ask_fib(packet.context().cast(), fib, mem::size_of::<bpf_fib_lookup>() as i32, flags) };
    match ret {
        // SAFETY: as above; written by the helper.
        ROUTED | NO_NEIGHBOUR => i64::from(unsafe { (&raw const (*fib).ifindex).read_volatile() }),
        NOT_FORWARDED if out != 0 => {
            // SAFETY: as above.
            unsafe { (&raw mut (*fib).family).write_volatile(NO_FAMILY) };
            i64::from(out)
        }
        TOO_LONG => {
            // SAFETY: as above.
            let mtu = unsafe { (&raw const (*fib).__bindgen_anon_1.mtu_result).read_volatile() };
            // The helper says what would fit since 5.12 (kernel commit e1850ea9bd9e); it is less than what does not.
            -i64::from(if mtu < len { mtu } else { F::MTU_MIN })
        }
        _ => 0,
    }
}

/// Sends the packet out by the device of the last answer ([`Route::By`]), to the neighbour that the same answer names; returns the program's
/// verdict. What stands there now is final, and is noted for the egress of that device. It has to begin with an Ethernet header, whatever
/// the device: the kernel drops others (`__bpf_redirect_neigh_v4`).
///
/// Told no neighbour, the kernel asks its routes once more, and before 6.18 (commit 23f3770e1a53) it forgets there to release the route that the
/// packet had: memory that never comes back, for each datagram of a socket of the node, and each packet that came by a VXLAN device of many.
#[inline(always)]
pub fn send_to_neighbour(packet: Packet, ifindex: u32) -> i32 {
    packet.note(Note::Sent);
    let Some(fib) = scratch_fib() else { return REFUSED };
    // SAFETY: a per-CPU value, which nobody else has while this program runs.
    let (family, addr) = unsafe {
        ((&raw const (*fib).family).read_volatile(), (&raw const (*fib).__bindgen_anon_4.ipv6_dst).read_volatile())
    };
    if family == NO_FAMILY {
        // SAFETY: no parameters.
        return unsafe { bpf_redirect_neigh(ifindex, ptr::null_mut(), 0, 0) as i32 };
    }
    let mut neighbour = bpf_redir_neigh {
        nh_family: u32::from(family),
        // An IPv4 address stands in the first word of either union.
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: addr },
    };
    let len = mem::size_of::<bpf_redir_neigh>() as i32;
    // SAFETY: `neighbour` has `len` bytes; the helper copies them.
    unsafe { bpf_redirect_neigh(ifindex, &raw mut neighbour, len, 0) as i32 }
}

/// True for an IPv4 packet whose sender lets routers cut it (RFC 791, "don't fragment"). It goes on in one piece, and what sends it cuts it,
/// as a VXLAN device does: to tell a socket that its datagram is too long would be an error it need not see.
#[inline(always)]
fn may_be_cut<F: Family>(packet: Packet) -> bool {
    const FLAGS: u32 = 6;
    const DONT_FRAGMENT: u8 = 0x40;
    !F::IS_IPV6 && packet.load::<[u8; 1]>(packet.l3() + FLAGS).is_some_and(|[flags]| flags & DONT_FRAGMENT == 0)
}

/// Bytes of the IP packet, or of the longest one that it is going to be cut into.
#[inline(always)]
fn longest<F: Family>(packet: Packet, segment: &Segment<F>) -> u16 {
    let len = packet.len().wrapping_sub(packet.l3());
    let longest = match packet.gso_size() {
        0 => len,
        GSO_BY_FRAGS => {
            len.wrapping_sub(segment.payload_len).wrapping_add(segment.payload_len / packet.gso_segs().max(1))
        }
        size => len.wrapping_sub(segment.payload_len).wrapping_add(size),
    };
    longest.min(u32::from(u16::MAX)) as u16
}

/// True when a socket of a namespace would take the answer to the rewritten packet for its own. A listening one does not count: who
/// answers has not dialled it.
#[inline(never)]
pub fn is_taken_by_socket<F: Family>(packet: Packet, segment: &Segment<F>, netns: Netns) -> bool {
    let Tuple { src, dst, src_port, dst_port, protocol } = segment.to;
    // No helper finds a socket of SCTP.
    if protocol == IPPROTO_SCTP {
        return false;
    }
    let mut sockets = Sockets { src: dst, dst: src, src_port: dst_port, dst_port: src_port };
    let tuple: *mut bpf_sock_tuple = ptr::from_mut(&mut sockets).cast();
    let len = mem::size_of::<Sockets<F::Addr>>() as u32;
    let netns = netns.0 as u64;
    let context = packet.context().cast();
    if protocol == IPPROTO_TCP {
        // SAFETY: `tuple` has `len` bytes.
        let socket = unsafe { bpf_skc_lookup_tcp(context, tuple, len, netns, 0) };
        if socket.is_null() {
            return false;
        }
        // SAFETY: not null.
        let state = unsafe { (&raw const (*socket).state).read_volatile() };
        // SAFETY: the reference taken above, once.
        unsafe { bpf_sk_release(socket.cast()) };
        return state != LISTEN;
    }
    // SAFETY: `tuple` has `len` bytes.
    let socket = unsafe { bpf_sk_lookup_udp(context, tuple, len, netns, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the reference taken above, once.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
