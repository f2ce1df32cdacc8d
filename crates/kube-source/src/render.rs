//! Core objects written as Kubernetes would have them: what [`crate::parse`] reads back to the same object.
//!
//! For objects that leave a process: an agent hands those it holds to whoever wants to ask about them. What no core object
//! has (labels, annotations, the kind of a Service) is lost.
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sheave_core::{
    Endpoint, EndpointSlice, Family, Leaving, Node, Object, Port, Service, ServiceCidr, ServicePort, SlicePort,
};
use std::sync::Arc;

/// The object as a document; of a Service read from a file the origin is left out.
#[must_use]
pub fn render(object: &Object) -> Value {
    match object {
        Object::Service(service) => render_service(service),
        Object::EndpointSlice(slice) => render_slice(slice),
        Object::Node(node) => render_node(node),
        Object::ServiceCidr(cidr) => render_cidr(cidr),
    }
}

fn render_service(service: &Service) -> Value {
    let mut metadata = Map::new();
    metadata.insert("namespace".to_owned(), json!(&*service.name.namespace));
    metadata.insert("name".to_owned(), json!(&*service.name.name));
    // The end of time stands for a Service whose age is not known (X1).
    if let Ok(created) = Timestamp::from_second(service.created_unix_s) {
        metadata.insert("creationTimestamp".to_owned(), json!(created.to_string()));
    }
    let ingress = |ip_mode: &'static str| move |ip: &_| json!({ "ip": texts([ip])[0], "ipMode": ip_mode });
    let vips = service.load_balancer_ips.iter().map(ingress("VIP"));
    let ingress: Vec<_> = vips.chain(service.proxied_ips.iter().map(ingress("Proxy"))).collect();
    let health = service.health_check_node_port.map(Port::get);
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            // The kind with which every other field counts.
            "type": "LoadBalancer",
            "clusterIP": texts(service.cluster_ips.first()).first(),
            "clusterIPs": texts(&service.cluster_ips),
            "externalIPs": texts(&service.external_ips),
            "ports": service.ports.iter().map(render_port).collect::<Vec<_>>(),
            "internalTrafficPolicy": service.internal_policy.to_string(),
            "externalTrafficPolicy": service.external_policy.to_string(),
            "sessionAffinity": if service.affinity.is_some() { "ClientIP" } else { "None" },
            "sessionAffinityConfig": service.affinity.map(|affinity| json!({ "clientIP": { "timeoutSeconds": affinity.timeout_s } })),
            "loadBalancerSourceRanges": texts(&service.source_ranges),
            "healthCheckNodePort": health.unwrap_or(0),
        },
        "status": { "loadBalancer": { "ingress": ingress } },
    })
}

fn render_port(port: &ServicePort) -> Value {
    let node_port = port.node_port.map_or(0, Port::get);
    json!({ "name": &*port.name, "protocol": port.protocol.as_str(), "port": port.port.get(), "nodePort": node_port })
}

fn render_slice(slice: &EndpointSlice) -> Value {
    let port =
        |port: &SlicePort| json!({ "name": &*port.name, "protocol": port.protocol.as_str(), "port": port.port.get() });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": &*slice.name.namespace,
            "name": &*slice.name.name,
            "labels": { crate::parse::SERVICE_NAME: &*slice.service.name },
        },
        "addressType": match slice.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        },
        "ports": slice.ports.iter().map(port).collect::<Vec<_>>(),
        "endpoints": slice.endpoints.iter().map(render_endpoint).collect::<Vec<_>>(),
    })
}

fn render_endpoint(endpoint: &Endpoint) -> Value {
    let Endpoint { addr, ready, serving, terminating, node, hints } = endpoint;
    let named = |names: &[Arc<str>]| names.iter().map(|name| json!({ "name": &**name })).collect::<Vec<_>>();
    json!({
        "addresses": [addr.to_string()],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        "nodeName": node.as_deref(),
        "hints": hints.as_deref().map(|hints| json!({ "forNodes": named(&hints.nodes), "forZones": named(&hints.zones) })),
    })
}

fn render_node(node: &Node) -> Value {
    let addresses = node.addresses.iter().map(|addr| json!({ "type": "InternalIP", "address": addr.to_string() }));
    let labels = node.zone.as_deref().map(|zone| json!({ crate::parse::ZONE: zone }));
    let deleted = (node.leaving == Some(Leaving::Deleted)).then_some("1970-01-01T00:00:00Z");
    let tainted = node.leaving == Some(Leaving::ScaledDown);
    let taints = tainted.then(|| json!([{ "key": crate::parse::SCALED_DOWN, "effect": "NoSchedule" }]));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": &*node.name, "labels": labels, "deletionTimestamp": deleted },
        "spec": { "podCIDRs": texts(&node.pod_cidrs), "taints": taints },
        "status": { "addresses": addresses.collect::<Vec<_>>() },
    })
}

fn render_cidr(cidr: &ServiceCidr) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": &*cidr.name },
        "spec": { "cidrs": texts(&cidr.cidrs) },
    })
}

fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Outcome, parse};
    use proptest::prelude::*;
    use sheave_core::{Affinity, Hints, Kind, Protocol, ServiceName, SliceName, TrafficPolicy};
    use std::net::IpAddr;

    /// The document read again.
    fn again(kind: Kind, object: &Object) -> Object {
        let parsed = parse(kind, &render(object)).unwrap();
        assert!(parsed.diagnostics.is_empty(), "{:?} of {}", parsed.diagnostics, render(object));
        match parsed.outcome {
            Outcome::Object(again) => again,
            other => panic!("{other:?} of {}", render(object)),
        }
    }

    fn addr(family: Family) -> impl Strategy<Value = IpAddr> {
        (1..=250_u8).prop_map(move |n| match family {
            Family::V4 => [198, 51, 100, n].into(),
            Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into(),
        })
    }

    fn number() -> impl Strategy<Value = Port> {
        (1..=u16::MAX).prop_map(|n| Port::new(n).unwrap())
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
    }

    fn policy() -> impl Strategy<Value = TrafficPolicy> {
        prop::sample::select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
    }

    fn cidrs() -> impl Strategy<Value = Vec<ipnet::IpNet>> {
        prop::sample::subsequence(vec!["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"], 0..=3)
            .prop_map(|cidrs| cidrs.into_iter().map(|cidr| cidr.parse().unwrap()).collect())
    }

    prop_compose! {
        fn service()(
            created_unix_s in prop_oneof![Just(i64::MAX), 0..2_000_000_000_i64],
            v4 in addr(Family::V4), v6 in addr(Family::V6), families in 0..3_usize,
            numbers in prop::collection::vec((protocol(), number(), prop::option::of(number())), 0..4),
            external in any::<bool>(), vip in any::<bool>(), proxied in any::<bool>(),
            internal_policy in policy(), external_policy in policy(),
            timeout in prop::option::of(1..=86_400_u32),
            source_ranges in cidrs(),
            health_check_node_port in prop::option::of(number()),
        ) -> Service {
            let port = |(n, (protocol, port, node_port)): (usize, _)| ServicePort { name: format!("p{n}").into(), protocol, port, node_port };
            let cluster_ips = [vec![v4], vec![v6], vec![v6, v4]][families].clone();
            // Addresses of a family in which it has no ClusterIP are not served.
            let net = if cluster_ips[0].is_ipv4() { "203.0.113." } else { "2001:db8:1::" };
            let one = |wanted: bool, last: u8| if wanted { vec![format!("{net}{last}").parse().unwrap()] } else { Vec::new() };
            Service {
                created_unix_s,
                cluster_ips,
                // A Service without ports is served, with a diagnostic; here nothing is to be said.
                ports: numbers.into_iter().enumerate().map(port).collect(),
                external_ips: one(external, 1),
                load_balancer_ips: one(vip, 2),
                proxied_ips: one(proxied, 3),
                internal_policy,
                external_policy,
                affinity: timeout.map(|timeout_s| Affinity { timeout_s }),
                source_ranges,
                health_check_node_port,
                ..Service::new(ServiceName::new("shop", "web"))
            }
        }
    }

    prop_compose! {
        fn slice()(
            (family, addrs) in prop::sample::select(vec![Family::V4, Family::V6])
                .prop_flat_map(|family| (Just(family), prop::collection::vec(addr(family), 0..4))),
            conditions in any::<[bool; 3]>(), node in any::<bool>(), hinted in any::<bool>(),
            ports in prop::collection::vec((protocol(), number()), 0..3),
        ) -> EndpointSlice {
            let [ready, serving, terminating] = conditions;
            let hints = Hints { nodes: vec!["node-b".into()], zones: vec!["z1".into(), "z2".into()] };
            let endpoint = |addr| Endpoint {
                ready, serving, terminating,
                node: node.then(|| "node-a".into()),
                hints: hinted.then(|| Arc::new(hints.clone())),
                ..Endpoint::ready(addr)
            };
            let port = |(n, (protocol, port)): (usize, _)| SlicePort { name: format!("p{n}").into(), protocol, port };
            EndpointSlice {
                name: SliceName::new("shop", "web-1"),
                service: ServiceName::new("shop", "web"),
                family,
                ports: ports.into_iter().enumerate().map(port).collect(),
                endpoints: addrs.into_iter().map(endpoint).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_service_that_was_rendered_is_read_back_the_same(service in service()) {
            prop_assume!(!service.ports.is_empty());
            let service = Object::Service(service);
            prop_assert_eq!(again(Kind::Service, &service), service);
        }

        #[test]
        fn a_slice_that_was_rendered_is_read_back_the_same(slice in slice()) {
            let slice = Object::EndpointSlice(slice);
            prop_assert_eq!(again(Kind::EndpointSlice, &slice), slice);
        }

        #[test]
        fn a_node_and_a_cidr_that_were_rendered_are_read_back_the_same(
            zone in any::<bool>(), v4 in addr(Family::V4), v6 in addr(Family::V6), pod_cidrs in cidrs(),
            leaving in prop::sample::select(vec![None, Some(Leaving::Deleted), Some(Leaving::ScaledDown)]),
        ) {
            let zone = zone.then(|| "z1".into());
            let node = Node { name: "node-a".into(), zone, addresses: vec![v6, v4], pod_cidrs: pod_cidrs.clone(), leaving };
            let node = Object::Node(node);
            prop_assert_eq!(again(Kind::Node, &node), node);
            let cidrs = pod_cidrs.into_iter().filter(|cidr| cidr.prefix_len() != 24).collect();
            let cidr = Object::ServiceCidr(ServiceCidr { name: "kubernetes".into(), cidrs });
            prop_assert_eq!(again(Kind::ServiceCidr, &cidr), cidr);
        }
    }

    #[test]
    fn a_service_whose_age_is_not_known_has_no_age_in_the_document_either() {
        let mut service = Service { created_unix_s: i64::MAX, ..Service::new(ServiceName::new("shop", "web")) };
        assert_eq!(
            render(&Object::Service(service.clone()))["metadata"],
            json!({ "name": "web", "namespace": "shop" })
        );
        service.created_unix_s = 86_400;
        let created = render(&Object::Service(service))["metadata"]["creationTimestamp"].clone();
        assert_eq!(created, json!("1970-01-02T00:00:00Z"));
    }
}
