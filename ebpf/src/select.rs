//! Whose a destination is, and which backend a new flow goes to: the one decision all entrances share.
use crate::family::{Backend, Family};
use crate::sys::kernel::{now_ns, random_below};
use crate::sys::maps::{self, Frontends, Service};
use sheave_abi::{
    ADDR_NODE_PORTS, ADDR_OWN, AffinityValue, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, BACKEND_SERVING, FRONTEND_ADDRESS,
    FrontendValue, NetPort,
};
use zerocopy::FromZeros;

/// Reads of a set that changed under the reader, before it gives up. A writer finishes its step within microseconds.
const TRIES: u32 = 4;

/// Whose an address, port and protocol are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// A frontend of a Service port; `kind` as [`FrontendValue::kind`].
    Frontend { service: u32, kind: u8 },
    /// A port that an address of ours does not have (A2).
    Claimed,
    /// The node's own.
    Own,
    /// Nobody's we know.
    Nothing,
}

/// Which set of a Service port a flow picks from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Set {
    Cluster,
    Local,
}

/// What is to become of a new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Translate it to the backend chosen.
    Forward,
    /// Refuse it: no usable endpoint anywhere (E11).
    Reject,
    /// Drop it: none in this set, but elsewhere (E4, E5).
    Drop,
    /// The set changed on every try.
    Raced,
}

/// The backend of a new flow.
pub struct Chosen<A> {
    pub id: u32,
    pub service: u32,
    pub addr: A,
    pub port: NetPort,
    /// Whether the flow gets a source of the node's; only the device entrance looks at it.
    pub masquerade: bool,
}

impl<A: FromZeros> Chosen<A> {
    #[inline(always)]
    pub fn none() -> Self {
        Self { id: 0, service: 0, addr: A::new_zeroed(), port: NetPort::ANY, masquerade: false }
    }
}

/// What [`look_up`] says instead of a kind.
const NOTHING: u8 = 0x80;
const OWN: u8 = 0x81;

/// Looks up whose a destination is: an exact frontend goes before a NodePort (X1), the node's own addresses before a claim (A12).
#[inline(always)]
pub fn dialled<F: Family>(addr: &F::Addr, port: NetPort, protocol: u8) -> Dialled {
    let found = look_up::<F>(addr, port, protocol);
    match (found >> 32) as u8 {
        NOTHING => Dialled::Nothing,
        OWN => Dialled::Own,
        FRONTEND_ADDRESS => Dialled::Claimed,
        kind => Dialled::Frontend { service: found as u32, kind },
    }
}

/// A kind above a Service's id: the verifier forbids to return by pointer.
#[inline(never)]
fn look_up<F: Family>(addr: &F::Addr, port: NetPort, protocol: u8) -> u64 {
    let packed = |kind: u8, service: u32| u64::from(kind) << 32 | u64::from(service);
    let Some(frontends) = F::frontends() else { return packed(NOTHING, 0) };
    let wildcard = F::Addr::new_zeroed();
    if let Some(FrontendValue { service, kind, .. }) = at_address::<F>(frontends, addr, port, protocol) {
        return packed(kind, service);
    }
    let uses = F::node_addr(addr);
    if uses & ADDR_NODE_PORTS != 0
        && let Some(frontend) = maps::frontend(frontends, &F::frontend_key(wildcard, port, protocol))
    {
        return packed(frontend.kind, frontend.service);
    }
    if uses & ADDR_OWN != 0 {
        return packed(OWN, 0);
    }
    match at_address::<F>(frontends, addr, NetPort::ANY, 0) {
        Some(_) => packed(FRONTEND_ADDRESS, 0),
        None => packed(NOTHING, 0),
    }
}

/// What leads to an address itself: whoever dials the wildcard address must not meet the keys of NodePorts. No closure, which the
/// compiler would make a function that gets pointers to pointers to the stack: 7.3 does not follow those, takes what they lead to for
/// dead, and refuses the program.
#[inline(always)]
fn at_address<F: Family>(
    frontends: &'static Frontends<F::FrontendKey>,
    addr: &F::Addr,
    port: NetPort,
    protocol: u8,
) -> Option<FrontendValue> {
    if *addr == F::Addr::new_zeroed() {
        return None;
    }
    maps::frontend(frontends, &F::frontend_key(*addr, port, protocol))
}

/// Picks a backend of the Service port `service`, whose entry is `held`, into `chosen`: the one the client's last flow went to, where the Service port has affinity and a client is
/// named (E10), else any of the set, uniformly (E9). A function of its own, for its own part of the stack; it fills what it is
/// given, because the verifier forbids to return by pointer.
#[inline(never)]
pub fn pick<F: Family>(
    service: u32,
    held: Service,
    set: Set,
    client: Option<&F::Addr>,
    chosen: &mut Chosen<F::Addr>,
) -> Decision {
    let affinity_s = held.affinity_s();
    let client = client.filter(|_| affinity_s != 0);
    if let Some(client) = client
        && last::<F>(service, set, client, affinity_s, chosen).is_some()
    {
        return Decision::Forward;
    }
    for _ in 0..TRIES {
        let word = if set == Set::Local { held.local() } else { held.cluster() };
        if word.count == 0 {
            return if held.cluster().count == 0 { Decision::Reject } else { Decision::Drop };
        }
        if draw::<F>(service, word.block, word.count, chosen).is_some() {
            if let Some(client) = client {
                remember::<F>(service, client, chosen.id);
            }
            return Decision::Forward;
        }
    }
    Decision::Raced
}

/// Draws from the block; `None` when what stands there is no serving backend of the Service: the block was reused meanwhile.
#[inline(always)]
fn draw<F: Family>(service: u32, block: u32, count: u32, chosen: &mut Chosen<F::Addr>) -> Option<()> {
    let id = maps::slot(block.wrapping_add(random_below(count)))?;
    take::<F>(id, service, BACKEND_SERVING, chosen)
}

/// The backend of the client's last flow, while it may still be picked from the set; the client's time begins anew.
#[inline(always)]
fn last<F: Family>(
    service: u32,
    set: Set,
    client: &F::Addr,
    affinity_s: u32,
    chosen: &mut Chosen<F::Addr>,
) -> Option<()> {
    let AffinityValue { seen_ns, backend, .. } = maps::affinity(F::affinity(), &F::affinity_key(*client, service))?;
    let age_ns = now_ns().wrapping_sub(seen_ns).cast_signed();
    if age_ns > (u64::from(affinity_s) * 1_000_000_000).cast_signed() {
        return None;
    }
    let in_set = if set == Set::Local { BACKEND_IN_LOCAL } else { BACKEND_IN_CLUSTER };
    take::<F>(backend, service, BACKEND_SERVING | in_set, chosen)?;
    remember::<F>(service, client, backend);
    Some(())
}

/// Notes where the client's flow goes. Without memory for it the next flow draws anew.
#[inline(always)]
fn remember<F: Family>(service: u32, client: &F::Addr, backend: u32) {
    let now = AffinityValue { seen_ns: now_ns(), backend, zero: 0 };
    let _ = F::affinity().insert(&F::affinity_key(*client, service), now, 0);
}

/// Chooses a backend, if it is that Service's and has all these bits.
#[inline(always)]
fn take<F: Family>(id: u32, service: u32, bits: u8, chosen: &mut Chosen<F::Addr>) -> Option<()> {
    let Backend { addr, port, service: owner, state } = F::backend(id)?;
    if owner != service || state & bits != bits {
        return None;
    }
    chosen.id = id;
    chosen.service = service;
    chosen.addr = addr;
    chosen.port = port;
    Some(())
}

/// True when `id` is still that backend of that Service, and serves: the flows that name it go on (L2, L7).
#[inline(always)]
pub fn still_serves<F: Family>(id: u32, service: u32, addr: F::Addr, port: NetPort) -> bool {
    F::backend(id).is_some_and(|backend| {
        backend.service == service
            && backend.state & BACKEND_SERVING != 0
            && backend.addr == addr
            && backend.port == port
    })
}
