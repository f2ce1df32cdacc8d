//! EndpointSlices (W2, W4–W9, E7).
use super::service::name_and_protocol;
use super::{Absent, LABEL_MAX, METADATA, Named, Outcome, is_name, named};
use crate::address::parse_endpoint;
use crate::field::{Field, Findings};
use crate::shape::{self, Shape, field};
use sheave_core::{Endpoint, EndpointSlice, Family, Hints, Object, Problem, ServiceName, SliceName, SlicePort};
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Slices with this label belong to a headless Service (W2).
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the Service a slice belongs to (W5).
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Numbers: api, discovery/v1/generated.proto.
pub(super) const FIELDS: &[shape::Field<'static>] = &[
    field(1, "metadata", METADATA),
    field(2, "endpoints", Shape::List(&ENDPOINT)),
    field(3, "ports", Shape::List(&PORT)),
    field(4, "addressType", Shape::Text),
];

const ENDPOINT: Shape<'static> = Shape::Map(&[
    field(1, "addresses", Shape::List(&Shape::TextOrEmpty)),
    field(2, "conditions", CONDITIONS),
    field(6, "nodeName", Shape::TextOrEmpty),
    field(8, "hints", Shape::Map(&[field(1, "forZones", HINTED), field(2, "forNodes", HINTED)])),
]);

const CONDITIONS: Shape<'static> = Shape::Map(&[
    field(1, "ready", Shape::Flag),
    field(2, "serving", Shape::Flag),
    field(3, "terminating", Shape::Flag),
]);

const HINTED: Shape<'static> = Shape::List(&Shape::Map(&[field(1, "name", Shape::Text)]));

const PORT: Shape<'static> = Shape::Map(&[
    field(1, "name", Shape::TextOrEmpty),
    field(2, "protocol", Shape::TextOrEmpty),
    field(3, "port", Shape::Number),
]);

pub(super) fn parse(root: &Field<'_>, name: &SliceName, findings: &mut Findings) -> Outcome {
    let metadata = root.get("metadata");
    let labels = metadata.get("labels");
    let service = labels.map(findings).key(SERVICE_NAME);
    let service = match service.text(findings) {
        Some(text) if is_name(text, LABEL_MAX) => ServiceName { namespace: name.namespace.clone(), name: text.into() },
        None | Some("") => return Outcome::Absent(Absent::NoService),
        Some(_) => {
            findings.invalid(&service, format!("{} is no Service name", service.shown()));
            return Outcome::Absent(Absent::NoService);
        }
    };
    if !labels.key(HEADLESS).is_null() {
        return Outcome::Absent(Absent::HeadlessSlice { service });
    }
    let address_type = root.get("addressType");
    let family = match [("IPv4", Family::V4), ("IPv6", Family::V6)].iter().find(|(name, _)| address_type.is_text(name))
    {
        Some((_, family)) => *family,
        None if address_type.is_text("FQDN") => return Outcome::Absent(Absent::FqdnSlice { service }),
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
    let mut taken = HashSet::new();
    let fields: Vec<_> = field.list(findings).collect();
    for field in &fields {
        let Some((name, protocol)) = name_and_protocol(field, findings) else { continue };
        let Some(port) = field.get("port").port(findings) else { continue };
        let name: Arc<str> = name.into();
        if taken.insert((name.clone(), protocol)) {
            ports.push(SlicePort { name, protocol, port });
        } else {
            findings.invalid(field, format!("a second port named {name:?} for {protocol}; only the first counts"));
        }
    }
    ports
}

fn endpoints(field: &Field<'_>, family: Family, findings: &mut Findings) -> Vec<Endpoint> {
    let mut repeated = Repeated::default();
    let fields: Vec<_> = field.list(findings).collect();
    fields.iter().filter_map(|field| endpoint(field, family, &mut repeated, findings)).collect()
}

fn endpoint(field: &Field<'_>, family: Family, repeated: &mut Repeated, findings: &mut Findings) -> Option<Endpoint> {
    let addr = first_address(&field.map(findings).get("addresses"), family, findings)?;
    let conditions = field.get("conditions");
    conditions.map(findings);
    let mut condition = |name| conditions.get(name).flag(findings);
    let (ready, serving, terminating) = (condition("ready"), condition("serving"), condition("terminating"));
    let node = named(&field.get("nodeName"), Named::Node, findings);
    Some(Endpoint {
        addr,
        ready: ready.unwrap_or(true),
        serving: serving.unwrap_or(true),
        terminating: terminating.unwrap_or(false),
        node: node.map(|node| repeated.node(node)),
        hints: hints(&field.get("hints"), findings).map(|hints| repeated.hints(hints)),
    })
}

/// E7: hints that name nobody are none.
fn hints(field: &Field<'_>, findings: &mut Findings) -> Option<Hints> {
    if field.map(findings).is_null() {
        return None;
    }
    let nodes = hinted(&field.get("forNodes"), Named::Node, findings);
    let zones = hinted(&field.get("forZones"), Named::Zone, findings);
    (!nodes.is_empty() || !zones.is_empty()).then_some(Hints { nodes, zones })
}

fn hinted(field: &Field<'_>, what: Named, findings: &mut Findings) -> Vec<Arc<str>> {
    let fields: Vec<_> = field.list(findings).collect();
    let mut name = |field: &Field<'_>| named(&field.map(findings).get("name"), what, findings).map(Arc::from);
    fields.iter().filter_map(&mut name).collect()
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

/// What the endpoints of a slice have in common, once per slice: endpoints far outnumber nodes and zones.
#[derive(Default)]
struct Repeated {
    nodes: BTreeSet<Arc<str>>,
    hints: BTreeSet<Arc<Hints>>,
}

impl Repeated {
    fn node(&mut self, node: &str) -> Arc<str> {
        self.nodes.get(node).cloned().unwrap_or_else(|| {
            let node: Arc<str> = node.into();
            self.nodes.insert(node.clone());
            node
        })
    }

    fn hints(&mut self, hints: Hints) -> Arc<Hints> {
        self.hints.get(&hints).cloned().unwrap_or_else(|| {
            let hints = Arc::new(hints);
            self.hints.insert(hints.clone());
            hints
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, parse};
    use serde_json::{Value, json};
    use sheave_core::Kind;

    fn web() -> ServiceName {
        ServiceName::new("shop", "web")
    }

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
        let labels = "/metadata/labels";
        for (name, pointer, value, absent) in [
            ("W5 labelled", labels, json!({SERVICE_NAME: "web"}), None),
            ("W5 without label", labels, json!({}), Some(Absent::NoService)),
            ("W5 empty label", labels, json!({SERVICE_NAME: ""}), Some(Absent::NoService)),
            (
                "W2 headless",
                labels,
                json!({SERVICE_NAME: "web", HEADLESS: ""}),
                Some(Absent::HeadlessSlice { service: web() }),
            ),
            ("W2 other label", labels, json!({SERVICE_NAME: "web", "x": ""}), None),
            ("W4 IPv4", "/addressType", json!("IPv4"), None),
            ("W4 FQDN", "/addressType", json!("FQDN"), Some(Absent::FqdnSlice { service: web() })),
        ] {
            let parsed = parsed(pointer, value);
            let got = if let Outcome::Absent(absent) = &parsed.outcome { Some(absent.clone()) } else { None };
            assert_eq!(got, absent, "case: {name}");
            assert_eq!(parsed.diagnostics, [], "case: {name}");
            assert!(absent.as_ref().is_none_or(|absent| name.starts_with(absent.rule())), "case: {name}");
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
            (
                "/endpoints",
                json!([{"addresses": ["10.244.1.1"], "conditions": true}, good]),
                2,
                "endpoints[0].conditions: true is not a map",
            ),
            (
                "/endpoints",
                json!([{"addresses": ["10.244.1.1"], "hints": {"forZones": [{"name": 1}, "z1"], "forNodes": []}}, good]),
                2,
                "endpoints[0].hints.forZones[0].name: 1 is not a text / endpoints[0].hints.forZones[1]: \"z1\" is not a map",
            ),
            (
                "/endpoints",
                json!([{"addresses": ["10.244.1.1"], "hints": "z1"}, good]),
                2,
                "endpoints[0].hints: \"z1\" is not a map",
            ),
            ("/endpoints", json!(["10.244.1.1", good]), 1, "endpoints[0]: \"10.244.1.1\" is not a map"),
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
            assert_eq!(found.join(" / "), message);
            assert_eq!(object(&parsed).endpoints.len(), endpoints, "{message}");
        }
    }

    #[test]
    fn e7_w7_a_name_that_no_node_or_zone_has_is_a_finding_and_none() {
        let node =
            "is no name of a node, so it counts as none; use 1 to 253 letters, digits, dots, dashes and underscores";
        let zone =
            "is no name of a zone, so it counts as none; use 1 to 63 letters, digits, dots, dashes and underscores";
        let long = "z".repeat(64);
        for (field, value, want) in [
            ("nodeName", json!("\u{1b}[31mnode"), format!("nodeName: \"\\u{{1b}}[31mnode\" {node}")),
            ("hints", json!({"forNodes": [{"name": "a/b"}]}), format!("hints.forNodes[0].name: \"a/b\" {node}")),
            ("hints", json!({"forZones": [{"name": long}]}), format!("hints.forZones[0].name: \"{long}\" {zone}")),
        ] {
            let parsed = parsed("/endpoints", json!([{"addresses": ["10.244.1.1"], field: value}]));
            let found: Vec<_> = parsed.diagnostics.iter().map(|d| format!("{}: {}", d.field, d.message)).collect();
            assert_eq!(found, [format!("endpoints[0].{want}")]);
            assert_eq!(object(&parsed).endpoints, [Endpoint::ready("10.244.1.1".parse().unwrap())], "{field}");
        }
    }

    #[test]
    fn e7_hints_name_nodes_and_zones_and_hints_that_name_nobody_are_none() {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
        for (hints, want) in [
            (json!({"forZones": [{"name": "z1"}, {"name": "z2"}]}), Some((names(&[]), names(&["z1", "z2"])))),
            (json!({"forNodes": [{"name": "n1"}]}), Some((names(&["n1"]), names(&[])))),
            (
                json!({"forNodes": [{"name": "n1"}], "forZones": [{"name": "z1"}]}),
                Some((names(&["n1"]), names(&["z1"]))),
            ),
            (json!({"forZones": [], "forNodes": null}), None),
            (json!({"forZones": [{"name": ""}, {}]}), None),
            (json!({}), None),
            (json!(null), None),
        ] {
            let parsed = parsed("/endpoints/0", json!({"addresses": ["10.0.0.1"], "hints": hints}));
            let got = object(&parsed).endpoints[0].hints.as_deref().cloned();
            assert_eq!(got.map(|hints| (hints.nodes, hints.zones)), want, "{hints}");
            assert_eq!(parsed.diagnostics, [], "{hints}");
        }
    }

    #[test]
    fn what_endpoints_of_a_slice_repeat_is_held_once() {
        let endpoint = json!({"addresses": ["10.0.0.1"], "nodeName": "n1", "hints": {"forZones": [{"name": "z1"}]}});
        let parsed = parsed("/endpoints", json!([endpoint, endpoint]));
        let [first, second] = &object(&parsed).endpoints[..] else { panic!("two endpoints") };
        assert!(Arc::ptr_eq(first.node.as_ref().unwrap(), second.node.as_ref().unwrap()));
        assert!(Arc::ptr_eq(first.hints.as_ref().unwrap(), second.hints.as_ref().unwrap()));
    }

    #[test]
    fn a_slice_of_an_unknown_address_type_is_unreadable_and_what_is_held_stays() {
        for value in [json!("IPv5"), json!(4), json!(null)] {
            assert_eq!(parsed("/addressType", value).outcome, Outcome::Unreadable);
        }
    }
}
