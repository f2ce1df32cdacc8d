//! Questions to the kernel about what is not ours: routes and sockets.
use super::maps::scratch_fib;
use super::packet::Packet;
use crate::family::{Family, Tuple};
use crate::segment::Segment;
use aya_ebpf::bindings::{BPF_F_CURRENT_NETNS, bpf_fib_lookup, bpf_sock_tuple};
use aya_ebpf::helpers::{bpf_fib_lookup as ask_fib, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use core::num::NonZeroU32;
use core::{mem, ptr};
use sheave_abi::{IPPROTO_TCP, NetPort};

/// `BPF_FIB_LKUP_RET_SUCCESS`.
const ROUTED: i64 = 0;
/// `BPF_FIB_LKUP_RET_NO_NEIGH`: whoever sends the packet asks for the neighbour.
const NO_NEIGHBOUR: i64 = 7;
/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`: whoever sends the packet finds out.
const TOO_LONG: i64 = 8;
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

/// The device by which the rewritten packet, forwarded from where it is, reaches its destination. `None` when there is no route from
/// there, or when it ends at this node.
#[inline(never)]
pub fn route<F: Family>(packet: Packet, segment: &Segment<F>) -> Option<NonZeroU32> {
    let to = &segment.to;
    let fib = scratch_fib()?;
    // SAFETY: a per-CPU value of this size; zeros are a valid question.
    unsafe { ptr::write_bytes(fib, 0, 1) };
    // SAFETY: as above, and nobody else has it while this program runs.
    let asked = unsafe { &mut *fib };
    asked.family = F::AF;
    asked.l4_protocol = to.protocol;
    asked.sport = to.src_port.to_wire();
    asked.dport = to.dst_port.to_wire();
    asked.ifindex = packet.ifindex();
    asked.__bindgen_anon_3.ipv6_src = F::to_wide(to.src);
    asked.__bindgen_anon_4.ipv6_dst = F::to_wide(to.dst);
    // SAFETY: `fib` has the size that is said.
    let ret = unsafe { ask_fib(packet.context().cast(), fib, mem::size_of::<bpf_fib_lookup>() as i32, 0) };
    if !matches!(ret, ROUTED | NO_NEIGHBOUR | TOO_LONG) {
        return None;
    }
    // SAFETY: as above; written by the helper.
    NonZeroU32::new(unsafe { (&raw const (*fib).ifindex).read_volatile() })
}

/// True when a socket of this node would take the answer to the rewritten packet for its own. A listening one does not count: who
/// answers has not dialled it.
#[inline(never)]
pub fn is_taken_by_socket<F: Family>(packet: Packet, segment: &Segment<F>) -> bool {
    let Tuple { src, dst, src_port, dst_port, protocol } = segment.to;
    let mut sockets = Sockets { src: dst, dst: src, src_port: dst_port, dst_port: src_port };
    let tuple: *mut bpf_sock_tuple = ptr::from_mut(&mut sockets).cast();
    let len = mem::size_of::<Sockets<F::Addr>>() as u32;
    let netns = BPF_F_CURRENT_NETNS as i64 as u64;
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
