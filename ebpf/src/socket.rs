//! The socket entrance: a socket is connected to the backend itself, so that its packets cost nothing more. TCP of all sockets
//! it is asked to serve, UDP of the node's own.
//!
//! What is declined meets the device entrance, which is complete but for one thing: no device sees what the node sends to
//! addresses of its own. So a NodePort at those, loopback included, is served here or not at all (A6).
mod connect;
mod datagram;
mod name;

pub use connect::{connect4, connect6, sock_release};
pub use datagram::{recvmsg4, recvmsg6, sendmsg4, sendmsg6};
pub use name::{getpeername4, getpeername6};

use crate::family::{Family, MAPPED, V4, V6};
use crate::select::{Chosen, Decision, Set, pick};
use crate::sys::SockAddr;
use crate::sys::flow_counts::{self, Refused};
use crate::sys::kernel::{SocketLb, count, has_set_retval, host_netns, socket_lb};
use crate::sys::maps::{self, Service};
use sheave_abi::{
    ADDR_OWN, Counter, FRONTEND_CLUSTER_IP, FRONTEND_LOAD_BALANCER, IPPROTO_TCP, IPPROTO_UDP, NetPort,
    RULES_MASQUERADE_ALL, SERVICE_INTERNAL_LOCAL, SERVICE_RESTRICTED,
};
use zerocopy::FromZeros;

const ECONNREFUSED: i32 = 111;
/// What a program of these hooks returns.
const ALLOW: i32 = 1;
const DENY: i32 = 0;

/// What sockets ask of a family.
trait Address: Family {
    /// The address by which the node reaches itself when no address is given.
    const LOOPBACK: Self::Addr;
    /// From the common form of sockets; the caller knows the family.
    fn from_mapped(addr: [u32; 4]) -> Self::Addr;
}

impl Address for V4 {
    const LOOPBACK: u32 = 0x7f00_0001_u32.to_be();
    #[inline(always)]
    fn from_mapped([_, _, _, addr]: [u32; 4]) -> u32 {
        addr
    }
}

impl Address for V6 {
    const LOOPBACK: [u32; 4] = [0, 0, 0, 1_u32.to_be()];
    #[inline(always)]
    fn from_mapped(addr: [u32; 4]) -> [u32; 4] {
        addr
    }
}

/// Whose socket it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Any in another network namespace than the node's: a pod of this node.
    Pod,
    Node,
}

/// Where a socket sends from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// From wherever the route to the destination says.
    Open,
    /// From an address that is chosen already.
    Chosen,
    /// From loopback, or by one device only (SO_BINDTODEVICE): it may not reach what others reach.
    Confined,
}

/// A connect(), or a datagram with an address.
struct Call<A> {
    owner: Owner,
    source: Source,
    protocol: u8,
    port: NetPort,
    /// What is dialled. Never the wildcard address, which stands for NodePorts in the maps.
    addr: A,
}

impl<A: FromZeros> Call<A> {
    #[inline(always)]
    fn none() -> Self {
        Self { owner: Owner::Pod, source: Source::Open, protocol: 0, port: NetPort::ANY, addr: A::new_zeroed() }
    }
}

/// Fills in what is called; false for what is not served. `from` is the wildcard address while the source is open. MPTCP is another
/// protocol here.
#[inline(always)]
fn read<F: Address>(socket: &SockAddr, addr: F::Addr, from: F::Addr, call: &mut Call<F::Addr>) -> bool {
    let lb = socket_lb();
    if lb == SocketLb::Off {
        return false;
    }
    let (owner, number) = (owner(socket), socket.protocol());
    let (protocol, served) = if number == u32::from(IPPROTO_TCP) {
        (IPPROTO_TCP, owner == Owner::Node || lb == SocketLb::All)
    } else {
        // Pods' datagrams are decided at devices, which know their flows.
        (IPPROTO_UDP, owner == Owner::Node && number == u32::from(IPPROTO_UDP))
    };
    let wildcard = F::Addr::new_zeroed();
    let source = if F::is_loopback(&from) || socket.has_device() {
        Source::Confined
    } else if from == wildcard {
        Source::Open
    } else {
        Source::Chosen
    };
    // To connect to the wildcard address is to connect to loopback (ip_route_output_key_hash, tcp_v6_connect).
    let addr = if addr == wildcard { F::LOOPBACK } else { addr };
    *call = Call { owner, source, protocol, port: socket.port(), addr };
    served
}

/// Kernels before 5.14 do not tell the agent which namespace is its own. There the node's is the machine's first one.
#[inline(always)]
fn owner(socket: &SockAddr) -> Owner {
    let node = match host_netns() {
        0 => SockAddr::first_netns_cookie(),
        cookie => cookie,
    };
    if socket.netns_cookie() == node { Owner::Node } else { Owner::Pod }
}

/// What is to become of a new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// It goes to the backend chosen.
    Forward,
    /// It is refused: no usable endpoint (E11).
    Reject,
    /// It is dropped, as far as a socket can be told so: its source may not dial this (R8).
    Drop,
    /// It is left to the device entrance.
    Decline,
}

/// Decides a new flow to a frontend.
#[inline(always)]
fn place<F: Address>(call: &Call<F::Addr>, service: u32, kind: u8, chosen: &mut Chosen<F::Addr>) -> Placed {
    // A frontend is published after its Service: none means no backends.
    let Some(held) = maps::service(service) else { return Placed::Reject };
    let set = match treat::<F>(call, service, held, kind) {
        Treatment::Cluster => Set::Cluster,
        Treatment::Local => Set::Local,
        Treatment::Drop => return Placed::Drop,
        Treatment::Decline => return Placed::Decline,
    };
    // The node is one client, whatever its source is going to be (E10).
    match pick::<F>(service, held, set, Some(&F::Addr::new_zeroed()), chosen) {
        Decision::Forward => Placed::Forward,
        Decision::Reject => Placed::Reject,
        // The device drops it, or has more time.
        Decision::Drop | Decision::Raced => Placed::Decline,
    }
}

/// Which set a new flow picks from, or why from none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Cluster,
    Local,
    Drop,
    Decline,
}

/// A function of its own, for its own part of the stack.
#[inline(never)]
fn treat<F: Address>(call: &Call<F::Addr>, service: u32, held: Service, kind: u8) -> Treatment {
    let flags = held.flags();
    let is_own = call.owner == Owner::Node && is_nodes::<F>(&call.addr);
    if !is_ours(call.owner, call.source, kind, held.affinity_s(), is_own) {
        return Treatment::Decline;
    }
    if kind == FRONTEND_LOAD_BALANCER && flags & SERVICE_RESTRICTED != 0 {
        if !is_own {
            return Treatment::Decline;
        }
        // What the node sends to itself has the destination for a source as well.
        if !F::is_in_range(service, &call.addr) {
            return Treatment::Drop;
        }
    }
    // Of all else the node may pick from all of the cluster (E6).
    if kind == FRONTEND_CLUSTER_IP && flags & SERVICE_INTERNAL_LOCAL != 0 {
        Treatment::Local
    } else {
        Treatment::Cluster
    }
}

/// Whether an address is the node's: no device sees what the node sends there.
#[inline(always)]
fn is_nodes<F: Address>(addr: &F::Addr) -> bool {
    F::is_loopback(addr) || F::node_addr(addr) & ADDR_OWN != 0
}

/// Whether the socket entrance can do what the semantics ask for: give the backend the source it is to see.
///
/// A pod's source is its own, so a flow that may have to be masqueraded is none for here, and with affinity the client's address
/// has to be known. The node's source becomes the one of its route to the backend, which is what masquerading would do (R1 to R3);
/// but a source that is chosen already may not lead there. One of the node's own addresses does, and it has to where no device
/// sees the packet; loopback never does.
#[inline(always)]
fn is_ours(owner: Owner, source: Source, kind: u8, affinity_s: u32, is_own: bool) -> bool {
    match (owner, source) {
        (_, Source::Confined) => false,
        (Owner::Pod, Source::Chosen) => false,
        (Owner::Pod, Source::Open) => {
            let masquerades_all = maps::rules().is_some_and(|rules| rules.flags() & RULES_MASQUERADE_ALL != 0);
            kind == FRONTEND_CLUSTER_IP && affinity_s == 0 && !masquerades_all
        }
        (Owner::Node, Source::Chosen) => is_own,
        (Owner::Node, Source::Open) => is_own || affinity_s == 0,
    }
}

enum Answer<A> {
    Translate(A, NetPort),
    Leave,
    Refuse,
}

impl<A> Answer<A> {
    /// Left to the device entrance.
    #[inline(always)]
    fn declined() -> Self {
        count(Counter::SocketDecline);
        Self::Leave
    }

    /// The call fails at once (E11, A2): with ECONNREFUSED, where a program can say so. `service` is 0 for a port that no Service has.
    #[inline(always)]
    fn rejected(socket: &SockAddr, owner: Owner, service: u32) -> Self {
        if has_set_retval() {
            socket.set_errno(ECONNREFUSED);
        } else if owner == Owner::Pod {
            // For a pod's the device entrance sends a reset.
            return Self::declined();
        }
        // Without bpf_set_retval (5.18) the caller sees EPERM: for the node's own sockets better than to wait for nothing.
        count(Counter::SocketReject);
        flow_counts::refused(service, Refused::NoEndpoint);
        Self::Refuse
    }

    /// EPERM, as a sender sees it whose packet netfilter drops on its way out.
    #[inline(always)]
    fn dropped(service: u32) -> Self {
        count(Counter::SocketReject);
        flow_counts::refused(service, Refused::SourceRange);
        Self::Refuse
    }
}

/// Writes the answer to an IPv4 call into it.
#[inline(always)]
fn answer_v4(socket: &SockAddr, answer: &Answer<u32>) -> i32 {
    match *answer {
        Answer::Translate(addr, port) => {
            socket.set_addr_v4(addr);
            socket.set_port(port);
            ALLOW
        }
        Answer::Leave => ALLOW,
        Answer::Refuse => DENY,
    }
}

/// Writes the answer to an IPv6 call into it.
#[inline(always)]
fn answer_v6<F: Address>(socket: &SockAddr, answer: &Answer<F::Addr>) -> i32 {
    match answer {
        Answer::Translate(addr, port) => {
            socket.set_addr_v6(F::to_mapped(*addr));
            socket.set_port(*port);
            ALLOW
        }
        Answer::Leave => ALLOW,
        Answer::Refuse => DENY,
    }
}

/// The IPv4 address in a v4-mapped one.
#[inline(always)]
fn unmapped(addr: [u32; 4]) -> Option<u32> {
    match addr {
        [0, 0, MAPPED, addr] => Some(addr),
        _ => None,
    }
}
