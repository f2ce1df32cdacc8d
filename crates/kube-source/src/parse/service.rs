//! Services (W1, W2, W3, A1).
use super::{LABEL_MAX, METADATA, Outcome, is_name};
use crate::address::parse_unicast;
use crate::field::{Field, Findings};
use crate::prune::Keep;
use sheave_core::{Family, Object, Problem, Protocol, Service, ServiceName, ServicePort};
use std::net::IpAddr;

/// Services with this label belong to another proxy (KEP-2447).
pub(crate) const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

pub(super) const KEEP: Keep<'static> = Keep::Fields(&[
    ("metadata", METADATA),
    (
        "spec",
        Keep::Fields(&[
            ("type", Keep::All),
            ("clusterIP", Keep::All),
            ("clusterIPs", Keep::All),
            ("ports", Keep::Each(&Keep::Fields(&[("name", Keep::All), ("protocol", Keep::All), ("port", Keep::All)]))),
            ("externalIPs", Keep::All),
            ("internalTrafficPolicy", Keep::All),
            ("sessionAffinity", Keep::All),
        ]),
    ),
]);

/// Wishes that are not carried out yet: (field, value or `None` for any, what happens instead).
const UNSUPPORTED: [(&str, Option<&str>, &str); 5] = [
    ("type", Some("NodePort"), "NodePort is not served yet; its ClusterIPs are"),
    ("type", Some("LoadBalancer"), "LoadBalancer is not served yet; its ClusterIPs are"),
    ("externalIPs", None, "external IPs are not served yet; its ClusterIPs are"),
    ("internalTrafficPolicy", Some("Local"), "Local is not served yet; traffic goes to all ready endpoints"),
    ("sessionAffinity", Some("ClientIP"), "ClientIP is not served yet; each flow picks anew"),
];

pub(super) fn parse(root: &Field<'_>, name: &ServiceName, findings: &mut Findings) -> Outcome {
    let (metadata, spec) = (root.get("metadata"), root.get("spec"));
    if !metadata.get("labels").key(SERVICE_PROXY_NAME).is_null() {
        return Outcome::Absent;
    }
    if !spec.is_map() {
        findings.add(&spec, Problem::Unreadable, "not a map; what was served of this Service before stays");
        return Outcome::Unreadable;
    }
    let cluster_ips = match spec.get("type").text(findings) {
        Some("ExternalName") => Vec::new(),
        _ => match cluster_ips(&spec, findings) {
            Some(cluster_ips) => cluster_ips,
            None => return Outcome::Absent,
        },
    };
    let ports = ports(&spec.get("ports"), findings);
    if spec.get("ports").is_empty() && !cluster_ips.is_empty() {
        findings.invalid(&spec.get("ports"), "no port, so every connection to it is rejected; add one");
    }
    if !cluster_ips.is_empty() {
        note_unsupported(&spec, findings);
    }
    let created_unix_s = created_unix_s(&metadata.get("creationTimestamp"), findings);
    Outcome::Object(Object::Service(Service { name: name.clone(), created_unix_s, cluster_ips, ports, origin: None }))
}

/// The first address of each family. `None` for a headless Service, which the API's field selector leaves out (W2).
fn cluster_ips(spec: &Field<'_>, findings: &mut Findings) -> Option<Vec<IpAddr>> {
    let (first, all) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    if first.is_text("None") {
        return None;
    }
    let mut cluster_ips = Vec::new();
    let listed: Vec<_> = all.list(findings).collect();
    let fields = if listed.is_empty() { vec![first] } else { listed };
    for field in &fields {
        let text = field.text(findings).unwrap_or_default();
        match text {
            "None" => return None,
            "" => {}
            text => keep_first_of_family(text, field, &mut cluster_ips, findings),
        }
    }
    Some(cluster_ips)
}

fn keep_first_of_family(text: &str, field: &Field<'_>, kept: &mut Vec<IpAddr>, findings: &mut Findings) {
    match parse_unicast(text) {
        Err(error) => findings.invalid(field, error),
        Ok(addr) if kept.iter().any(|held| Family::of(*held) == Family::of(addr)) => {
            findings
                .invalid(field, format!("{addr} is a second {} address; only the first is served", Family::of(addr)));
        }
        Ok(addr) => kept.push(addr),
    }
}

fn ports(field: &Field<'_>, findings: &mut Findings) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    let fields: Vec<_> = field.list(findings).collect();
    for field in &fields {
        let Some(port) = service_port(field, findings) else { continue };
        let same_name = |held: &&ServicePort| (&held.name, held.protocol) == (&port.name, port.protocol);
        let same_port = |held: &&ServicePort| (held.port, held.protocol) == (port.port, port.protocol);
        if ports.iter().any(|held| same_name(&held) || same_port(&held)) {
            let message = format!(
                "a second port named {:?} or numbered {} for {}; only the first is served",
                port.name, port.port, port.protocol
            );
            findings.invalid(field, message);
        } else {
            ports.push(port);
        }
    }
    ports
}

fn service_port(field: &Field<'_>, findings: &mut Findings) -> Option<ServicePort> {
    let (name, protocol) = name_and_protocol(field, findings)?;
    let number = field.get("port");
    let port = match number.port(findings) {
        None if number.is_unset() => {
            findings.invalid(&number, "missing; use 1 to 65535");
            None
        }
        port => port,
    }?;
    Some(ServicePort { name: name.into(), protocol, port })
}

/// What ports of Services and of slices have in common: an unset name is empty, an unset protocol TCP.
pub(super) fn name_and_protocol<'a>(field: &'a Field<'_>, findings: &mut Findings) -> Option<(&'a str, Protocol)> {
    let (name, protocol) = (field.get("name"), field.get("protocol"));
    let text = name.text(findings).unwrap_or_default();
    if !text.is_empty() && !is_name(text, LABEL_MAX) {
        let message = format!("{} is no port name; use 1 to {LABEL_MAX} letters, digits and dashes", name.shown());
        findings.invalid(&name, message);
        return None;
    }
    match protocol.text(findings).unwrap_or("TCP").parse() {
        Ok(protocol) => Some((text, protocol)),
        Err(error) => {
            findings.invalid(&protocol, error);
            None
        }
    }
}

fn note_unsupported(spec: &Field<'_>, findings: &mut Findings) {
    for (name, value, message) in UNSUPPORTED {
        let field = spec.get(name);
        let wished = match value {
            Some(value) => field.is_text(value),
            None => !field.is_empty(),
        };
        if wished {
            findings.add(&field, Problem::Unsupported, message);
        }
    }
    for port in spec.get("ports").elements() {
        let protocol = port.get("protocol");
        if protocol.is_text(Protocol::Sctp.as_str()) {
            findings.add(&protocol, Problem::Unsupported, "SCTP is not served yet; its packets pass as they are");
        }
    }
}

/// Creation time; the end of time where it is not known, because age must be proven to win a conflict (X1).
fn created_unix_s(field: &Field<'_>, findings: &mut Findings) -> i64 {
    let Some(text) = field.text(findings) else { return i64::MAX };
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_second(),
        Err(_) => {
            findings.invalid(field, format!("{text:?} is no RFC 3339 time; the Service counts as the youngest"));
            i64::MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, parse};
    use serde_json::{Value, json};
    use sheave_core::{Kind, Port};

    fn parsed(spec: &Value) -> Parsed {
        let metadata = json!({"name": "web", "namespace": "shop", "creationTimestamp": "2026-11-21T21:40:20Z"});
        parse(Kind::Service, &json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn cluster_ips(spec: &Value) -> Option<Vec<String>> {
        match parsed(spec).outcome {
            Outcome::Object(Object::Service(service)) => {
                Some(service.cluster_ips.iter().map(IpAddr::to_string).collect())
            }
            _ => None,
        }
    }

    #[test]
    fn cluster_ips_are_the_first_of_each_family_and_none_for_what_gives_no_rules() {
        let ports = json!([{"port": 80}]);
        for (name, spec, want) in [
            (
                "A1 dual stack",
                json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "ports": ports}),
                Some(vec!["10.96.0.1", "fd00::1"]),
            ),
            ("A1 single", json!({"clusterIP": "10.96.0.1", "ports": ports}), Some(vec!["10.96.0.1"])),
            ("W11 sloppy", json!({"clusterIP": "172.30.0.041", "ports": ports}), Some(vec!["172.30.0.41"])),
            ("W2 empty", json!({"clusterIP": "", "ports": ports}), Some(vec![])),
            ("W2 headless", json!({"clusterIP": "None", "ports": ports}), None),
            ("W2 headless by its list", json!({"clusterIPs": ["None"], "ports": ports}), None),
            ("W3 ExternalName", json!({"type": "ExternalName", "clusterIP": "10.96.0.1"}), Some(vec![])),
            (
                "W3 back to ClusterIP",
                json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": ports}),
                Some(vec!["10.96.0.1"]),
            ),
        ] {
            let want = want.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(cluster_ips(&spec), want, "case: {name}");
            assert_eq!(parsed(&spec).diagnostics, [], "case: {name}");
        }
    }

    #[test]
    fn a_bad_field_is_one_finding_and_the_rest_is_served() {
        let good = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "a", "port": 80}]});
        for (field, value, message) in [
            ("clusterIP", json!("10.96.0.300"), "spec.clusterIP: \"10.96.0.300\" is not an IP address"),
            ("clusterIP", json!(7), "spec.clusterIP: 7 is not a text"),
            (
                "clusterIPs",
                json!(["10.96.0.1", "10.96.0.2"]),
                "spec.clusterIPs[1]: 10.96.0.2 is a second IPv4 address; only the first is served",
            ),
            (
                "clusterIPs",
                json!(["127.0.0.1", "10.96.0.1"]),
                "spec.clusterIPs[0]: 127.0.0.1 cannot carry Service traffic: it is a loopback address",
            ),
            ("ports", json!([]), "spec.ports: no port, so every connection to it is rejected; add one"),
            ("ports", json!(null), "spec.ports: no port, so every connection to it is rejected; add one"),
            ("ports", json!("x"), "spec.ports: \"x\" is not a list"),
            ("ports", json!([{"port": 80}, {"name": "b", "port": 0}]), "spec.ports[1].port: missing; use 1 to 65535"),
            (
                "ports",
                json!([{"port": 80}, {"name": "b", "port": 99999}]),
                "spec.ports[1].port: 99999 is no port; use 1 to 65535",
            ),
            (
                "ports",
                json!([{"port": 80}, {"name": "b", "port": 81, "protocol": "ICMP"}]),
                "spec.ports[1].protocol: unknown protocol \"ICMP\"; use TCP, UDP or SCTP",
            ),
            (
                "ports",
                json!([{"port": 80}, {"name": "a/b", "port": 81}]),
                "spec.ports[1].name: \"a/b\" is no port name; use 1 to 63 letters, digits and dashes",
            ),
            (
                "ports",
                json!([{"port": 80}, {"name": "a".repeat(64), "port": 81}]),
                &format!(
                    "spec.ports[1].name: \"{}\" is no port name; use 1 to 63 letters, digits and dashes",
                    "a".repeat(64)
                ),
            ),
            (
                "ports",
                json!([{"port": 80}, {"port": 81}]),
                "spec.ports[1]: a second port named \"\" or numbered 81 for tcp; only the first is served",
            ),
            ("type", json!("NodePort"), "spec.type: NodePort is not served yet; its ClusterIPs are"),
            (
                "ports",
                json!([{"port": 80}, {"name": "b", "port": 81, "protocol": "SCTP"}]),
                "spec.ports[1].protocol: SCTP is not served yet; its packets pass as they are",
            ),
            (
                "externalIPs",
                json!(["192.0.2.1"]),
                "spec.externalIPs: external IPs are not served yet; its ClusterIPs are",
            ),
        ] {
            let mut spec = good.clone();
            spec[field] = value.clone();
            let parsed = parsed(&spec);
            let found: Vec<_> = parsed.diagnostics.iter().map(|d| format!("{}: {}", d.field, d.message)).collect();
            assert_eq!(found, [message], "{field}: {value}");
            assert!(matches!(parsed.outcome, Outcome::Object(_)), "{field}: {value}");
        }
    }

    #[test]
    fn a_port_number_may_serve_two_protocols() {
        let spec = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns", "port": 53}]});
        let Outcome::Object(Object::Service(service)) = parsed(&spec).outcome else { panic!("a Service") };
        let got: Vec<_> = service.ports.iter().map(|p| (&*p.name, p.protocol, p.port)).collect();
        assert_eq!(
            got,
            [("dns", Protocol::Udp, Port::new(53).unwrap()), ("dns", Protocol::Tcp, Port::new(53).unwrap())]
        );
        assert_eq!(service.created_unix_s, 1_795_297_220);
    }

    #[test]
    fn w1_a_service_of_another_proxy_is_absent_whatever_the_label_says() {
        for value in [json!("other"), json!(""), json!(5)] {
            let doc = json!({"metadata": {"name": "a", "labels": {SERVICE_PROXY_NAME: value}}, "spec": {"clusterIP": "10.96.0.1"}});
            assert_eq!(parse(Kind::Service, &doc).unwrap().outcome, Outcome::Absent);
        }
        let doc = json!({"metadata": {"name": "a", "labels": {"other": "x"}}, "spec": {"clusterIP": "10.96.0.1"}});
        assert!(matches!(parse(Kind::Service, &doc).unwrap().outcome, Outcome::Object(_)));
    }

    #[test]
    fn a_service_without_a_spec_is_unreadable_and_what_is_held_stays() {
        for doc in [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "a"}, "spec": 5})] {
            let parsed = parse(Kind::Service, &doc).unwrap();
            assert_eq!(parsed.outcome, Outcome::Unreadable);
            assert_eq!(parsed.diagnostics.len(), 1);
        }
    }
}
