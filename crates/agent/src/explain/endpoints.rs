//! Every endpoint of a Service port: in the set or not, why, and what its slice says of it.
use sheave_core::select::Exclusion;
use sheave_core::{Backend, Decision, Endpoint, EndpointSlice, Family, Hints, Index, ServicePortName};
use std::cmp::Reverse;

/// A table; `None` where there is no endpoint.
pub(super) fn table(decision: &Decision, port: &ServicePortName, index: &Index) -> Option<String> {
    let picked = decision.endpoints.iter().map(|backend| (*backend, None));
    let mut rows: Vec<(Backend, Option<Exclusion>)> = picked.collect();
    rows.extend(decision.excluded.iter().map(|(backend, exclusion)| (*backend, Some(*exclusion))));
    rows.sort_unstable();
    let found: Vec<_> = rows.iter().map(|(backend, _)| entries(*backend, port, index)).collect();
    let hinted = found.iter().flatten().any(|endpoint| endpoint.hints.is_some());
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    let mut header = vec!["ENDPOINT", "NEW FLOWS", "REASON", "NODE", "CONDITIONS"];
    header.extend(hinted.then_some("MEANT FOR"));
    table.set_header(header);
    for ((backend, exclusion), entries) in rows.iter().zip(&found) {
        let (new_flows, reason) = match exclusion {
            None => ("yes", String::new()),
            Some(exclusion) => ("no", exclusion.to_string()),
        };
        let mut cells = vec![backend.to_string(), new_flows.to_owned(), reason];
        cells.extend(described(entries, index));
        cells.extend(hinted.then(|| hints(entries)));
        table.add_row(cells);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    (!rows.is_empty()).then(|| table.trim_fmt())
}

/// What the slices say of an endpoint; the entry that counts first (W9).
fn entries<'a>(backend: Backend, port: &ServicePortName, index: &'a Index) -> Vec<&'a Endpoint> {
    let leads_here = |slice: &&EndpointSlice| {
        slice.ports.iter().any(|p| p.name == port.port && p.protocol == port.protocol && p.port == backend.port)
    };
    let slices = index.slices(&port.service).filter(leads_here);
    let mut entries: Vec<_> = slices.flat_map(|slice| &slice.endpoints).filter(|e| e.addr == backend.addr).collect();
    entries.sort_by_key(|endpoint| Reverse((!endpoint.terminating, endpoint.ready, endpoint.serving)));
    entries
}

fn described(entries: &[&Endpoint], index: &Index) -> [String; 2] {
    let Some(endpoint) = entries.first() else { return [String::new(), String::new()] };
    let node = match endpoint.node.as_deref() {
        None => "-".to_owned(),
        Some(node) if node == index.node_name() => format!("{node} (this)"),
        Some(node) => node.to_owned(),
    };
    let again = match entries.len() {
        1 => String::new(),
        more => format!(", named {more} times (W9)"),
    };
    [node, format!("{}{again}", conditions(endpoint))]
}

fn conditions(endpoint: &Endpoint) -> &'static str {
    match (endpoint.ready, endpoint.serving, endpoint.terminating) {
        (true, _, false) => "ready",
        (true, _, true) => "ready, terminating",
        (false, true, true) => "terminating, still serving",
        (false, false, true) => "terminating",
        (false, true, false) => "not ready, but serving",
        (false, false, false) => "not ready",
    }
}

fn hints(entries: &[&Endpoint]) -> String {
    let Some(Hints { nodes, zones }) = entries.first().and_then(|endpoint| endpoint.hints.as_deref()) else {
        return "-".to_owned();
    };
    let told = [("nodes", nodes), ("zones", zones)].map(|(what, names)| match names.is_empty() {
        true => None,
        false => Some(format!("{what} {}", names.iter().map(|name| &**name).collect::<Vec<_>>().join(", "))),
    });
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Why slices of the Service have nothing for this port: the cause that is hardest to see.
pub(super) fn missing(port: &ServicePortName, family: Family, index: &Index) -> Vec<String> {
    let service = &port.service;
    let slices: Vec<_> = index.slices(service).collect();
    let of_family: Vec<_> = slices.iter().filter(|slice| slice.family == family).collect();
    if slices.is_empty() {
        return vec![format!(
            "no EndpointSlice is labelled kubernetes.io/service-name: {} in {}",
            service.name, service.namespace
        )];
    }
    if of_family.is_empty() {
        let other = slices[0].family;
        return vec![format!("its EndpointSlices are {other} only, and this packet is {family} (W4)")];
    }
    of_family.into_iter().filter_map(|slice| lack(slice, port)).collect()
}

fn lack(slice: &EndpointSlice, port: &ServicePortName) -> Option<String> {
    if slice.endpoints.is_empty() {
        return Some(format!("EndpointSlice {} has no endpoint: the Service's selector matches no pod", slice.name));
    }
    if slice.ports.iter().any(|target| target.name == port.port && target.protocol == port.protocol) {
        return None;
    }
    let has = slice.ports.iter().map(|p| format!("{} ({}/{})", named(&p.name), p.port, p.protocol)).collect::<Vec<_>>();
    let has = if has.is_empty() { "none with a number".to_owned() } else { has.join(", ") };
    Some(format!(
        "EndpointSlice {} has no port {} for {}, only {has}: ports are matched by name and protocol (W6)",
        slice.name,
        named(&port.port),
        port.protocol
    ))
}

fn named(port: &str) -> String {
    if port.is_empty() { "without a name".to_owned() } else { format!("{port:?}") }
}
