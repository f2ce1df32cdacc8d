//! The control plane of the demo: what the API says of endpoints, and the ledger's history of it.
use super::ledger::Ledger;
use super::manifests::slice;
use serde_json::{Value, json};
use sheave_apistub::Api;
use sheave_core::{EndpointSlice, Port, SlicePort};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Changes endpoints as a control plane does: through the API, and with a note of when.
pub(crate) struct Control {
    api: Api,
    slices: Vec<Value>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Control {
    /// Takes over the slices the API holds already.
    pub(crate) fn new(api: Api, slices: Vec<Value>, ledger: Arc<Mutex<Ledger>>) -> Self {
        let control = Self { api, slices, ledger };
        control.slices.iter().for_each(|slice| control.note(slice, Instant::now()));
        control
    }

    /// A new endpoint, ready.
    pub(crate) fn add(&mut self, slice_name: &str, addr: IpAddr, node: &str) {
        self.change(slice_name, |endpoints| {
            endpoints.push(json!({
                "addresses": [addr.to_string()],
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "nodeName": node,
            }));
        });
    }

    /// The endpoint's pod is being deleted: it still serves, but no new flow should go there.
    pub(crate) fn terminate(&mut self, slice_name: &str, addr: IpAddr) {
        self.change(slice_name, |endpoints| {
            for endpoint in endpoints.iter_mut().filter(|endpoint| is_at(endpoint, addr)) {
                endpoint["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
            }
        });
    }

    /// The endpoint is gone.
    pub(crate) fn remove(&mut self, slice_name: &str, addr: IpAddr) {
        self.change(slice_name, |endpoints| endpoints.retain(|endpoint| !is_at(endpoint, addr)));
    }

    /// The slice's endpoints are exactly this one from now on. Returns when the API was told.
    pub(crate) fn replace(&mut self, slice_name: &str, addr: IpAddr, node: &str) -> Instant {
        self.change(slice_name, |endpoints| {
            *endpoints = vec![json!({ "addresses": [addr.to_string()], "conditions": {}, "nodeName": node })];
        })
    }

    fn change(&mut self, slice_name: &str, edit: impl FnOnce(&mut Vec<Value>)) -> Instant {
        let position = self.slices.iter().position(|slice| slice["metadata"]["name"] == slice_name);
        let slice = &mut self.slices[position.expect("invariant: the script changes slices of the examples")];
        edit(slice["endpoints"].as_array_mut().expect("invariant: every example slice lists endpoints"));
        let (slice, now) = (slice.clone(), Instant::now());
        self.note(&slice, now);
        self.api.apply(slice).expect("invariant: the API took this slice before");
        now
    }

    fn note(&self, document: &Value, since: Instant) {
        let Some(slice) = slice(document) else { return };
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for port in &slice.ports {
            ledger.set(&label(&slice, port), since, expected(&slice, port.port));
        }
    }
}

fn is_at(endpoint: &Value, addr: IpAddr) -> bool {
    endpoint["addresses"][0] == addr.to_string()
}

/// `namespace/name:port family`: what the ledger calls one family of a Service port.
fn label(slice: &EndpointSlice, port: &SlicePort) -> String {
    format!("{}:{} {}", slice.service, port.name, slice.family)
}

/// Where new flows may go, by the demo's own reading of E1: the ready ones, or else those that serve while they terminate.
fn expected(slice: &EndpointSlice, port: Port) -> BTreeSet<SocketAddr> {
    let at = |addr| SocketAddr::new(addr, port.get());
    let ready: BTreeSet<_> = slice.endpoints.iter().filter(|e| e.ready).map(|e| at(e.addr)).collect();
    if !ready.is_empty() {
        return ready;
    }
    slice.endpoints.iter().filter(|e| e.serving && e.terminating).map(|e| at(e.addr)).collect()
}
