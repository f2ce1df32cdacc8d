//! Text that many endpoints repeat, held once: node names, hints, port names. A cluster has a few thousand of them and a
//! million endpoints.
use crate::object::{Endpoint, EndpointSlice, Hints};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// What is held once. Nothing stays that no slice uses any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    texts: HashSet<Arc<str>>,
    hints: HashSet<Arc<Hints>>,
}

impl Shared {
    /// The same slice, with what others have as well replaced by theirs, and no spare capacity.
    pub(crate) fn share(&mut self, mut slice: EndpointSlice) -> EndpointSlice {
        slice.name.namespace = slice.service.namespace.clone();
        slice.ports.iter_mut().for_each(|port| port.name = one(&mut self.texts, &*port.name, |name| name.into()));
        slice.ports.shrink_to_fit();
        slice.endpoints.iter_mut().for_each(|endpoint| self.share_endpoint(endpoint));
        slice.endpoints.shrink_to_fit();
        slice
    }

    fn share_endpoint(&mut self, endpoint: &mut Endpoint) {
        endpoint.node = endpoint.node.take().map(|node| one(&mut self.texts, &*node, |node| node.into()));
        endpoint.hints =
            endpoint.hints.take().map(|hints| one(&mut self.hints, &*hints, |hints| Arc::new(hints.clone())));
    }

    /// Drops a slice, and what only it used.
    pub(crate) fn release(&mut self, slice: EndpointSlice) {
        let ports = slice.ports.into_iter().map(|port| port.name);
        let nodes = slice.endpoints.into_iter().filter_map(|endpoint| {
            endpoint.hints.into_iter().for_each(|hints| forget(&mut self.hints, &hints));
            endpoint.node
        });
        ports.chain(nodes).for_each(|text| forget(&mut self.texts, &text));
    }
}

/// The one value equal to `value`: a copy of ours, of which nobody else can have a clone.
fn one<T: ?Sized + Eq + Hash>(held: &mut HashSet<Arc<T>>, value: &T, copy: impl FnOnce(&T) -> Arc<T>) -> Arc<T> {
    match held.get(value) {
        Some(one) => one.clone(),
        None => {
            let one = copy(value);
            held.insert(one.clone());
            one
        }
    }
}

/// The one held goes with its last user, which `value` is about to be.
fn forget<T: ?Sized + Eq + Hash>(held: &mut HashSet<Arc<T>>, value: &Arc<T>) {
    // `value` and the one held.
    if Arc::strong_count(value) <= 2 {
        held.remove(&**value);
        if held.is_empty() {
            held.shrink_to_fit();
        }
    }
}
