//! Services (W1, W2, W3, A1, A4, A7–A10, E4, E5, E10, R8).
mod policy;
mod port;
mod vip;

pub(super) use port::name_and_protocol;

use super::{Absent, METADATA, Outcome, object_ref};
use crate::field::{Field, Findings};
use crate::shape::{self, Shape, field};
use sheave_core::{Object, ObjectName, Port, Problem, Service, ServiceName, ServicePort};

/// Services with this label belong to another proxy (KEP-2447).
pub(crate) const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// Numbers: api, core/v1/generated.proto, `Service`, `ServiceSpec`, `ServiceStatus`.
pub(super) const FIELDS: &[shape::Field<'static>] =
    &[field(1, "metadata", METADATA), field(2, "spec", SPEC), field(3, "status", STATUS)];

const SPEC: Shape<'static> = Shape::Map(&[
    field(1, "ports", Shape::List(&PORT)),
    field(3, "clusterIP", Shape::Text),
    field(4, "type", Shape::Text),
    field(5, "externalIPs", Shape::List(&Shape::TextOrEmpty)),
    field(7, "sessionAffinity", Shape::Text),
    field(9, "loadBalancerSourceRanges", Shape::List(&Shape::TextOrEmpty)),
    field(11, "externalTrafficPolicy", Shape::Text),
    field(12, "healthCheckNodePort", Shape::Number),
    field(14, "sessionAffinityConfig", Shape::Map(&[field(1, "clientIP", CLIENT_IP)])),
    field(18, "clusterIPs", Shape::List(&Shape::TextOrEmpty)),
    field(22, "internalTrafficPolicy", Shape::TextOrEmpty),
]);

const CLIENT_IP: Shape<'static> = Shape::Map(&[field(1, "timeoutSeconds", Shape::Number)]);

const PORT: Shape<'static> = Shape::Map(&[
    field(1, "name", Shape::Text),
    field(2, "protocol", Shape::Text),
    field(3, "port", Shape::Number),
    field(5, "nodePort", Shape::Number),
]);

const STATUS: Shape<'static> = Shape::Map(&[field(1, "loadBalancer", BALANCER)]);

const BALANCER: Shape<'static> = Shape::Map(&[field(1, "ingress", Shape::List(&INGRESS))]);

const INGRESS: Shape<'static> = Shape::Map(&[field(1, "ip", Shape::Text), field(3, "ipMode", Shape::TextOrEmpty)]);

/// NodePorts, LoadBalancer addresses and source ranges count whatever the Service's type, as in kube-proxy
/// (pkg/proxy/serviceport.go, newBaseServiceInfo): the API server takes them away when the type changes.
pub(super) fn parse(root: &Field<'_>, name: &ServiceName, findings: &mut Findings) -> Outcome {
    let (metadata, spec) = (root.get("metadata"), root.get("spec"));
    if !metadata.get("labels").map(findings).key(SERVICE_PROXY_NAME).is_null() {
        // Whatever is wrong with it is the other proxy's business.
        let cluster_ips = vip::cluster_ips(&spec, &mut Findings::of(object_ref(&ObjectName::Service(name.clone()))));
        return Outcome::Absent(Absent::OtherProxy { cluster_ips: cluster_ips.unwrap_or_default() });
    }
    if !spec.is_map() {
        findings.add(&spec, Problem::Unreadable, "not a map; what was served of this Service before stays");
        return Outcome::Unreadable;
    }
    if is_external_name(&spec.get("type"), findings) {
        return Outcome::Absent(Absent::ExternalName);
    }
    match vip::cluster_ips(&spec, findings) {
        Ok(cluster_ips) => {
            let vip::Ingress { vips, proxied } = vip::ingress(root, &cluster_ips, findings);
            Outcome::Object(Object::Service(Service {
                created_unix_s: created_unix_s(&metadata.get("creationTimestamp"), findings),
                ports: ports(&spec.get("ports"), findings),
                load_balancer_ips: vips,
                proxied_ips: proxied,
                external_ips: vip::external_ips(&spec, &cluster_ips, findings),
                internal_policy: policy::internal(&spec, findings),
                external_policy: policy::external(&spec, findings),
                affinity: policy::affinity(&spec, findings),
                source_ranges: vip::source_ranges(&spec, findings),
                health_check_node_port: health_check_node_port(&spec, findings),
                cluster_ips,
                ..Service::new(name.clone())
            }))
        }
        Err(absent) => Outcome::Absent(absent),
    }
}

fn is_external_name(kind: &Field<'_>, findings: &mut Findings) -> bool {
    match kind.text(findings) {
        Some("ExternalName") => true,
        None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer") => false,
        Some(_) => {
            findings.invalid(kind, format!("{} is no type of Service; it is served as a ClusterIP", kind.shown()));
            false
        }
    }
}

/// healthCheckNodePort (H3). It means something for the type LoadBalancer only, and 0 means none (kubernetes
/// pkg/api/v1/service/util.go, `NeedsHealthCheck`).
fn health_check_node_port(spec: &Field<'_>, findings: &mut Findings) -> Option<Port> {
    if !spec.get("type").is_text("LoadBalancer") {
        return None;
    }
    spec.get("healthCheckNodePort").port(findings)
}

fn ports(field: &Field<'_>, findings: &mut Findings) -> Vec<ServicePort> {
    if field.is_empty() {
        findings.invalid(field, "no port, so every connection to it is rejected; add one");
    }
    port::ports(field, findings)
}

/// Creation time; the end of time where it is not known, because age must be proven to win a conflict (X1).
fn created_unix_s(field: &Field<'_>, findings: &mut Findings) -> i64 {
    if let Some(unix_s) = field.unix_s() {
        return unix_s;
    }
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
    use sheave_core::{Kind, TrafficPolicy};

    /// A Service of this spec and status, and what is said of it.
    pub(super) fn read(spec: &Value, status: &Value) -> (Service, Vec<String>) {
        let parsed = parsed(spec, status);
        let Outcome::Object(Object::Service(service)) = parsed.outcome else { panic!("a Service of {spec}") };
        (service, parsed.diagnostics.into_iter().map(|d| format!("{}: {}", d.field, d.message)).collect())
    }

    /// A ClusterIP Service with these fields beside its address and port.
    pub(super) fn with(fields: &Value) -> Value {
        let mut spec = json!({"clusterIP": "10.96.0.1", "ports": [{"name": "a", "port": 80}]});
        fields.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
        spec
    }

    fn parsed(spec: &Value, status: &Value) -> Parsed {
        let metadata = json!({"name": "web", "namespace": "shop", "creationTimestamp": "2026-11-21T21:40:20Z"});
        parse(Kind::Service, &json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    #[test]
    fn which_services_give_no_rules_and_why() {
        let at = |address: &str| json!({"clusterIP": address, "ports": [{"port": 80}]});
        let external = json!({"type": "ExternalName", "externalName": "example.org", "clusterIP": "10.96.0.1"});
        for (name, spec, want) in [
            ("W2 an address", at("10.96.0.1"), None),
            ("W2 headless", at("None"), Some(Absent::Headless)),
            ("W2 headless by its list", json!({"clusterIPs": ["None"]}), Some(Absent::Headless)),
            ("W2 headless by one of both", with(&json!({"clusterIPs": ["None"]})), Some(Absent::Headless)),
            (
                "W2 headless by the other",
                json!({"clusterIP": "None", "clusterIPs": ["10.96.0.1"]}),
                Some(Absent::Headless),
            ),
            ("W2 no address", at(""), Some(Absent::NoClusterIp)),
            ("W2 nothing at all", json!({}), Some(Absent::NoClusterIp)),
            ("W3 ExternalName with an address", external, Some(Absent::ExternalName)),
            ("W3 back to ClusterIP", with(&json!({"type": "ClusterIP"})), None),
        ] {
            let parsed = parsed(&spec, &json!(null));
            let got = if let Outcome::Absent(absent) = parsed.outcome { Some(absent) } else { None };
            assert_eq!(got, want, "case: {name}");
            assert_eq!(parsed.diagnostics, [], "case: {name}");
            assert!(want.as_ref().is_none_or(|absent| name.starts_with(absent.rule())), "case: {name}");
        }
    }

    #[test]
    fn w1_a_service_of_another_proxy_is_absent_whatever_the_label_says() {
        for value in [json!("other"), json!(""), json!(5)] {
            let doc = json!({"metadata": {"name": "a", "labels": {SERVICE_PROXY_NAME: value}}, "spec": {"clusterIP": "10.96.0.1"}});
            let cluster_ips = vec!["10.96.0.1".parse().unwrap()];
            let parsed = parse(Kind::Service, &doc).unwrap();
            assert_eq!(parsed.outcome, Outcome::Absent(Absent::OtherProxy { cluster_ips }));
        }
        let doc = json!({"metadata": {"name": "a", "labels": {"other": "x"}}, "spec": {"clusterIP": "10.96.0.1"}});
        assert!(matches!(parse(Kind::Service, &doc).unwrap().outcome, Outcome::Object(_)));
    }

    #[test]
    fn a_bad_field_is_one_finding_and_the_rest_is_served() {
        for (field, value, message) in [
            ("clusterIP", json!("10.96.0.300"), "spec.clusterIP: \"10.96.0.300\" is not an IP address"),
            ("clusterIP", json!(7), "spec.clusterIP: 7 is not a text"),
            ("ports", json!([]), "spec.ports: no port, so every connection to it is rejected; add one"),
            ("ports", json!(null), "spec.ports: no port, so every connection to it is rejected; add one"),
            ("ports", json!("x"), "spec.ports: \"x\" is not a list"),
            ("type", json!("Nodeport"), "spec.type: \"Nodeport\" is no type of Service; it is served as a ClusterIP"),
            ("type", json!(["NodePort"]), "spec.type: a list is not a text"),
        ] {
            let (service, said) = read(&with(&json!({field: value})), &json!({"loadBalancer": {"ingress": []}}));
            assert_eq!(said, [message], "{field}: {value}");
            assert_eq!(service.cluster_ips.is_empty(), field == "clusterIP", "{field}: {value}");
            assert_eq!(service.ports.is_empty(), field == "ports", "{field}: {value}");
            assert_eq!(service.created_unix_s, 1_795_297_220);
        }
    }

    #[test]
    fn h3_a_health_check_port_is_a_load_balancers() {
        for (kind, port, want, said) in [
            ("LoadBalancer", json!(30_100), Port::new(30_100), [].as_slice()),
            ("LoadBalancer", json!(0), None, &[]),
            ("LoadBalancer", json!(null), None, &[]),
            ("NodePort", json!(30_100), None, &[]),
            ("LoadBalancer", json!(70_000), None, &["spec.healthCheckNodePort: 70000 is no port; use 1 to 65535"]),
        ] {
            let (service, found) = read(&with(&json!({"type": kind, "healthCheckNodePort": port})), &json!(null));
            assert_eq!(service.health_check_node_port, want, "{kind} {port}");
            assert_eq!(found, said, "{kind} {port}");
        }
    }

    #[test]
    fn a_plain_service_has_the_defaults_of_the_api() {
        let (service, said) = read(&with(&json!({})), &json!(null));
        let want = Service::new(ServiceName::new("shop", "web"));
        let policies = (service.internal_policy, service.external_policy, service.affinity);
        assert_eq!(policies, (TrafficPolicy::Cluster, TrafficPolicy::Cluster, None));
        assert_eq!(
            (service.load_balancer_ips, service.external_ips, service.source_ranges),
            (want.load_balancer_ips, want.external_ips, want.source_ranges)
        );
        assert_eq!(said, [""; 0]);
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
