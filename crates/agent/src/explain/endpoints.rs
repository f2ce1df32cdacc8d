//! Every endpoint of a Service port: in the set or not, why, and what its slice says of it.
use super::Observed;
use sheave_core::select::Exclusion;
use sheave_core::{
    Backend, Decision, Endpoint, EndpointSlice, Family, Hints, Index, ObjectName, ServicePortName, SliceName,
};
use sheave_kube_source::Absent;
use std::cmp::Reverse;
use std::collections::HashMap;

/// A table; `None` where there is no endpoint.
pub(super) fn table(decision: &Decision, port: &ServicePortName, index: &Index) -> Option<String> {
    let picked = decision.endpoints.iter().map(|backend| (*backend, None));
    let mut rows: Vec<(Backend, Option<Exclusion>)> = picked.collect();
    rows.extend(decision.excluded.iter().map(|(backend, exclusion)| (*backend, Some(*exclusion))));
    rows.sort_unstable();
    let mut entries = entries(port, index);
    let found: Vec<_> = rows.iter().map(|(backend, _)| entries.remove(backend).unwrap_or_default()).collect();
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

/// What the slices say of each endpoint; the entry that counts first (W9).
fn entries<'a>(port: &ServicePortName, index: &'a Index) -> HashMap<Backend, Vec<&'a Endpoint>> {
    let mut entries: HashMap<_, Vec<&Endpoint>> = HashMap::new();
    for slice in index.slices(&port.service) {
        let targets = slice.ports.iter().filter(|p| p.name == port.port && p.protocol == port.protocol);
        for target in targets {
            for endpoint in &slice.endpoints {
                entries.entry(Backend { addr: endpoint.addr, port: target.port }).or_default().push(endpoint);
            }
        }
    }
    for of_backend in entries.values_mut() {
        of_backend.sort_by_key(|endpoint| Reverse((!endpoint.terminating, endpoint.ready, endpoint.serving)));
    }
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
pub(super) fn missing(port: &ServicePortName, family: Family, observed: &Observed<'_>) -> Vec<String> {
    let service = &port.service;
    let slices: Vec<_> = observed.index.slices(service).collect();
    let absent = observed.absent_slices(service);
    let left_out = |(name, absent): &(&SliceName, &Absent)| {
        format!("EndpointSlice {name} does not count: {absent} ({})", absent.rule())
    };
    let mut told: Vec<_> = absent.iter().map(left_out).collect();
    let of_family: Vec<_> = slices.iter().copied().filter(|slice| slice.family == family).collect();
    match slices.first() {
        None if absent.is_empty() => told.push(format!(
            "no EndpointSlice is labelled kubernetes.io/service-name: {} in {}",
            service.name, service.namespace
        )),
        Some(other) if of_family.is_empty() => {
            told.push(format!("its EndpointSlices are {} only, and this packet is {family} (W4)", other.family));
        }
        _ => {}
    }
    let filled: Vec<_> = of_family.iter().filter(|slice| !slice.endpoints.is_empty()).collect();
    told.extend(filled.iter().filter_map(|slice| lack(slice, port)));
    if filled.is_empty() && !of_family.is_empty() {
        told.extend(empty(&of_family, observed));
    }
    told
}

/// All slices of the family are empty: for want of pods, or because their endpoints were refused.
fn empty(slices: &[&EndpointSlice], observed: &Observed<'_>) -> Vec<String> {
    let refused = |slice: &&EndpointSlice| {
        let name = &slice.name;
        let mut wrong = observed.wrong_with(&ObjectName::EndpointSlice(name.clone()));
        let first = wrong.find(|diagnostic| diagnostic.field.starts_with("endpoints"))?;
        Some(format!("EndpointSlice {name} has no endpoint that can be used: {}: {}", first.field, first.message))
    };
    let refused: Vec<_> = slices.iter().filter_map(refused).collect();
    if !refused.is_empty() {
        return refused;
    }
    let no_pod = "the Service's selector matches no pod that has an address";
    match slices {
        [only] => vec![format!("EndpointSlice {} has no endpoint: {no_pod}", only.name)],
        several => vec![format!("its {} EndpointSlices have no endpoint: {no_pod}", several.len())],
    }
}

fn lack(slice: &EndpointSlice, port: &ServicePortName) -> Option<String> {
    if slice.ports.iter().any(|target| target.name == port.port && target.protocol == port.protocol) {
        return None;
    }
    let has = slice.ports.iter().map(|p| format!("{} ({}/{})", named(&p.name), p.port, p.protocol)).collect::<Vec<_>>();
    let has = if has.is_empty() { "it has no ports".to_owned() } else { format!("only {}", has.join(", ")) };
    Some(format!(
        "EndpointSlice {} has no port {} for {}: {has}. Slices have the names of the Service's ports and are matched by them \
         (W6); one is missing usually because its targetPort names no port of the pods' containers",
        slice.name,
        named(&port.port),
        port.protocol
    ))
}

fn named(port: &str) -> String {
    if port.is_empty() { "without a name".to_owned() } else { format!("{port:?}") }
}
