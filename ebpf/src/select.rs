//! Which backend a new flow goes to: the one decision all entrances share.
use crate::family::Family;
use crate::sys::kernel::random_below;
use crate::sys::maps;
use sheave_abi::{BACKEND_SERVING, NetPort};
use zerocopy::FromZeros;

/// Reads of a set that changed under the reader, before it gives up. A writer finishes its step within microseconds.
const TRIES: u32 = 4;

/// What is to become of a new flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Translate it to the backend chosen.
    Forward,
    /// Refuse it: no usable endpoint (E11), or a port this VIP does not have (A2).
    Reject,
    /// Not addressed to a frontend.
    NoFrontend,
    /// The set changed on every try.
    Raced,
}

/// The backend of a new flow.
pub struct Chosen<A> {
    pub id: u32,
    pub service: u32,
    pub addr: A,
    pub port: NetPort,
}

impl<A: FromZeros> Chosen<A> {
    #[inline(always)]
    pub fn none() -> Self {
        Self { id: 0, service: 0, addr: A::new_zeroed(), port: NetPort::ANY }
    }
}

/// Looks the frontend up and draws one of its backends into `chosen`, uniformly (E9). A function of its own, for its own part
/// of the stack; it fills what it is given, because the verifier forbids to return by pointer.
#[inline(never)]
pub fn select<F: Family>(addr: &F::Addr, port: NetPort, protocol: u8, chosen: &mut Chosen<F::Addr>) -> Decision {
    let Some(frontend) = maps::frontend(F::frontends(), &F::frontend_key(*addr, port, protocol)) else {
        return match maps::frontend(F::frontends(), &F::frontend_key(*addr, NetPort::ANY, 0)) {
            Some(_) => Decision::Reject,
            None => Decision::NoFrontend,
        };
    };
    for _ in 0..TRIES {
        // A frontend is published after its Service: no word means no backends.
        let Some(word) = maps::set_word(frontend.service) else { return Decision::Reject };
        if word.count == 0 {
            return Decision::Reject;
        }
        if draw::<F>(frontend.service, word.block, word.count, chosen).is_some() {
            return Decision::Forward;
        }
    }
    Decision::Raced
}

/// Draws from the block; `None` when what stands there is no serving backend of the Service: the block was reused meanwhile.
#[inline(always)]
fn draw<F: Family>(service: u32, block: u32, count: u32, chosen: &mut Chosen<F::Addr>) -> Option<()> {
    let id = maps::slot(block.wrapping_add(random_below(count)))?;
    let backend = F::backend(id)?;
    if backend.service != service || backend.state & BACKEND_SERVING == 0 {
        return None;
    }
    *chosen = Chosen { id, service, addr: backend.addr, port: backend.port };
    Some(())
}

/// True when `id` is still that backend of that Service, and serves: the flows that name it go on (L2, L7).
#[inline(always)]
pub fn still_serves<F: Family>(id: u32, service: u32, addr: F::Addr, port: NetPort) -> bool {
    F::backend(id).is_some_and(|backend| {
        backend.service == service && backend.state & BACKEND_SERVING != 0 && backend.addr == addr && backend.port == port
    })
}
