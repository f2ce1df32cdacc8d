//! The kernel programs of sheave. Nothing here logs: every outcome has a counter.
#![no_std]
#![no_main]
#![feature(core_intrinsics, used_with_arg)]
#![allow(internal_features, reason = "an atomic add, which `core` denies this target")]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod bridge;
mod device;
mod divert;
mod family;
mod first;
mod flow;
mod flow_state;
mod foreign;
mod fragment;
mod icmp;
mod ip;
mod known;
mod masquerade;
mod new_flow;
mod object;
mod outcome;
mod ports;
mod reject;
mod rewrite;
mod sctp;
mod segment;
mod select;
mod socket;
mod sys;
mod treatment;

use aya_ebpf::macros::{cgroup_sock, cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, SockContext, TcContext};
use sys::{Closing, Packet, SockAddr};

#[classifier]
pub fn ingress(context: TcContext) -> i32 {
    device::ingress(Packet::ethernet(&context))
}

#[classifier]
pub fn egress(context: TcContext) -> i32 {
    device::egress(Packet::ethernet(&context))
}

/// For devices whose packets begin with the IP header.
#[classifier]
pub fn ingress_l3(context: TcContext) -> i32 {
    device::ingress(Packet::bare(&context))
}

/// For devices whose packets begin with the IP header.
#[classifier]
pub fn egress_l3(context: TcContext) -> i32 {
    device::egress(Packet::bare(&context))
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    socket::connect4(&SockAddr::new(context))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    socket::connect6(&SockAddr::new(context))
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    socket::getpeername4(&SockAddr::new(context))
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    socket::getpeername6(&SockAddr::new(context))
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    socket::sendmsg4(&SockAddr::new(context))
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    socket::sendmsg6(&SockAddr::new(context))
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(context: SockAddrContext) -> i32 {
    socket::recvmsg4(&SockAddr::new(context))
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(context: SockAddrContext) -> i32 {
    socket::recvmsg6(&SockAddr::new(context))
}

#[cgroup_sock(sock_release)]
pub fn sock_release(context: SockContext) -> i32 {
    socket::sock_release(&Closing::new(context))
}
