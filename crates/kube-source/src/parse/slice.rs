//! EndpointSlices (W2, W4–W9).
use super::service::name_and_protocol;
use super::{LABEL_MAX, METADATA, Outcome, is_name};
use crate::address::parse_endpoint;
use crate::field::{Field, Findings};
use crate::prune::Keep;
use sheave_core::{Endpoint, EndpointSlice, Family, Object, Problem, ServiceName, SliceName, SlicePort};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Slices with this label belong to a headless Service (W2).
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the Service a slice belongs to (W5).
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) const KEEP: Keep<'static> = Keep::Fields(&[
    ("metadata", METADATA),
    ("addressType", Keep::All),
    ("ports", Keep::Each(&Keep::Fields(&[("name", Keep::All), ("protocol", Keep::All), ("port", Keep::All)]))),
    (
        "endpoints",
        Keep::Each(&Keep::Fields(&[("addresses", Keep::All), ("conditions", Keep::All), ("nodeName", Keep::All)])),
    ),
]);

pub(super) fn parse(root: &Field<'_>, name: &SliceName, findings: &mut Findings) -> Outcome {
    let metadata = root.get("metadata");
    let labels = metadata.get("labels");
    let service = labels.key(SERVICE_NAME);
    let service = match service.text(findings) {
        Some(text) if is_name(text, LABEL_MAX) => ServiceName { namespace: name.namespace.clone(), name: text.into() },
        None | Some("") => return Outcome::Absent,
        Some(_) => {
            findings.invalid(&service, format!("{} is no Service name", service.shown()));
            return Outcome::Absent;
        }
    };
    if !labels.key(HEADLESS).is_null() {
        return Outcome::Absent;
    }
    let address_type = root.get("addressType");
    let family = match [("IPv4", Family::V4), ("IPv6", Family::V6)].iter().find(|(name, _)| address_type.is_text(name))
    {
        Some((_, family)) => *family,
        None if address_type.is_text("FQDN") => return Outcome::Absent,
        None => {
            let message = "neither IPv4 nor IPv6; what was served of this slice before stays";
            findings.add(&address_type, Problem::Unreadable, message);
            return Outcome::Unreadable;
        }
    };
    let (ports, endpoints) = (ports(&root.get("ports"), findings), endpoints(&root.get("endpoints"), family, findings));
    Outcome::Object(Object::EndpointSlice(EndpointSlice { name: name.clone(), service, family, ports, endpoints }))
}

fn ports(field: &Field<'_>, findings: &mut Findings) -> Vec<SlicePort> {
    let mut ports: Vec<SlicePort> = Vec::new();
    let fields: Vec<_> = field.list(findings).collect();
    for field in &fields {
        let Some((name, protocol)) = name_and_protocol(field, findings) else { continue };
        let Some(port) = field.get("port").port(findings) else { continue };
        if ports.iter().any(|held| (&*held.name, held.protocol) == (name, protocol)) {
            findings.invalid(field, format!("a second port named {name:?} for {protocol}; only the first counts"));
        } else {
            ports.push(SlicePort { name: name.into(), protocol, port });
        }
    }
    ports
}

fn endpoints(field: &Field<'_>, family: Family, findings: &mut Findings) -> Vec<Endpoint> {
    let mut nodes = BTreeSet::new();
    let fields: Vec<_> = field.list(findings).collect();
    fields.iter().filter_map(|field| endpoint(field, family, &mut nodes, findings)).collect()
}

fn endpoint(
    field: &Field<'_>,
    family: Family,
    nodes: &mut BTreeSet<Arc<str>>,
    findings: &mut Findings,
) -> Option<Endpoint> {
    let addr = first_address(&field.get("addresses"), family, findings)?;
    let conditions = field.get("conditions");
    let mut condition = |name| conditions.get(name).flag(findings);
    let (ready, serving, terminating) = (condition("ready"), condition("serving"), condition("terminating"));
    let node = field.get("nodeName").text(findings).filter(|node| !node.is_empty()).map(|node| shared(node, nodes));
    Some(Endpoint {
        addr,
        ready: ready.unwrap_or(true),
        serving: serving.unwrap_or(true),
        terminating: terminating.unwrap_or(false),
        node,
    })
}

/// W8: only the first address counts. An endpoint without one is skipped.
fn first_address(field: &Field<'_>, family: Family, findings: &mut Findings) -> Option<IpAddr> {
    let first = field.list(findings).next()?;
    match parse_endpoint(first.text(findings)?) {
        Ok(addr) if Family::of(addr) == family => return Some(addr),
        Ok(addr) => findings.invalid(&first, format!("{addr} is not of the slice's addressType {family}")),
        Err(error) => findings.invalid(&first, error),
    }
    None
}

/// One copy of a node's name per slice: endpoints far outnumber nodes.
fn shared(node: &str, nodes: &mut BTreeSet<Arc<str>>) -> Arc<str> {
    if let Some(node) = nodes.get(node) {
        return node.clone();
    }
    let node: Arc<str> = node.into();
    nodes.insert(node.clone());
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, parse};
    use serde_json::{Value, json};
    use sheave_core::Kind;

    fn slice() -> Value {
        json!({
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {SERVICE_NAME: "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.1.5", "10.244.1.6"], "nodeName": "node-a"}],
        })
    }

    fn parsed(pointer: &str, value: Value) -> Parsed {
        let mut doc = slice();
        *doc.pointer_mut(pointer).expect("the field exists") = value;
        parse(Kind::EndpointSlice, &doc).unwrap()
    }

    fn object(parsed: &Parsed) -> &EndpointSlice {
        match &parsed.outcome {
            Outcome::Object(Object::EndpointSlice(slice)) => slice,
            other => panic!("a slice, not {other:?}"),
        }
    }

    #[test]
    fn which_slices_count() {
        for (name, pointer, value, counts) in [
            ("W5 labelled", "/metadata/labels", json!({SERVICE_NAME: "web"}), true),
            ("W5 without label", "/metadata/labels", json!({}), false),
            ("W5 empty label", "/metadata/labels", json!({SERVICE_NAME: ""}), false),
            ("W2 headless", "/metadata/labels", json!({SERVICE_NAME: "web", HEADLESS: ""}), false),
            ("W2 other label", "/metadata/labels", json!({SERVICE_NAME: "web", "x": ""}), true),
            ("W4 IPv4", "/addressType", json!("IPv4"), true),
            ("W4 FQDN", "/addressType", json!("FQDN"), false),
        ] {
            let parsed = parsed(pointer, value);
            assert_eq!(parsed.outcome != Outcome::Absent, counts, "case: {name}");
            assert_eq!(parsed.diagnostics, [], "case: {name}");
        }
    }

    #[test]
    fn w7_unset_conditions_mean_ready_serving_and_not_terminating() {
        for (conditions, want) in [
            (json!(null), (true, true, false)),
            (json!({}), (true, true, false)),
            (json!({"ready": null, "serving": null, "terminating": null}), (true, true, false)),
            (json!({"ready": false, "serving": true, "terminating": true}), (false, true, true)),
            (json!({"ready": false, "serving": false}), (false, false, false)),
        ] {
            let parsed = parsed("/endpoints/0", json!({"addresses": ["10.0.0.1"], "conditions": conditions}));
            let endpoint = &object(&parsed).endpoints[0];
            assert_eq!((endpoint.ready, endpoint.serving, endpoint.terminating), want, "{conditions}");
            assert_eq!(endpoint.node, None, "W7: no nodeName is not local");
        }
    }

    #[test]
    fn w6_ports_without_a_number_are_ignored_and_w8_only_the_first_address_counts() {
        let parsed =
            parsed("/ports", json!([{"name": "a"}, {"name": "b", "port": 0}, {"name": "c", "port": 1}, {"port": 2}]));
        let slice = object(&parsed);
        assert_eq!(slice.ports.iter().map(|p| (&*p.name, p.port.get())).collect::<Vec<_>>(), [("c", 1), ("", 2)]);
        assert_eq!(slice.endpoints.iter().map(|e| e.addr.to_string()).collect::<Vec<_>>(), ["10.244.1.5"]);
        assert_eq!(parsed.diagnostics, []);
        let none = self::parsed("/endpoints/0/addresses", json!([]));
        assert_eq!((object(&none).endpoints.len(), none.diagnostics.len()), (0, 0), "W8: no address, no endpoint");
    }

    #[test]
    fn a_bad_field_is_one_finding_and_the_rest_is_served() {
        let good = json!({"addresses": ["10.244.1.7"]});
        for (pointer, value, endpoints, message) in [
            (
                "/endpoints",
                json!([{"addresses": ["10.244.1"]}, good]),
                1,
                "endpoints[0].addresses[0]: \"10.244.1\" is not an IP address",
            ),
            (
                "/endpoints",
                json!([{"addresses": ["fd00::1"]}, good]),
                1,
                "endpoints[0].addresses[0]: fd00::1 is not of the slice's addressType IPv4",
            ),
            (
                "/endpoints",
                json!([{"addresses": "10.244.1.1"}, good]),
                1,
                "endpoints[0].addresses: \"10.244.1.1\" is not a list",
            ),
            (
                "/endpoints",
                json!([{"addresses": ["127.0.0.1"]}, good]),
                1,
                "endpoints[0].addresses[0]: 127.0.0.1 cannot carry Service traffic: it is a loopback address",
            ),
            (
                "/endpoints",
                json!([{"addresses": ["10.244.1.1"], "conditions": {"ready": "yes"}}, good]),
                2,
                "endpoints[0].conditions.ready: \"yes\" is not true or false",
            ),
            ("/ports", json!([{"port": "http"}]), 1, "ports[0].port: \"http\" is not a port number"),
            (
                "/ports",
                json!([{"port": 1}, {"port": 2}]),
                1,
                "ports[1]: a second port named \"\" for tcp; only the first counts",
            ),
        ] {
            let parsed = parsed(pointer, value);
            let found: Vec<_> = parsed.diagnostics.iter().map(|d| format!("{}: {}", d.field, d.message)).collect();
            assert_eq!(found, [message]);
            assert_eq!(object(&parsed).endpoints.len(), endpoints, "{message}");
        }
    }

    #[test]
    fn a_slice_of_an_unknown_address_type_is_unreadable_and_what_is_held_stays() {
        for value in [json!("IPv5"), json!(4), json!(null)] {
            assert_eq!(parsed("/addressType", value).outcome, Outcome::Unreadable);
        }
    }
}
