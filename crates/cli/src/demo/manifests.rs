//! The manifests of `examples/`, in the binary, and the Services of `--services` in the background.
use anyhow::Context as _;
use ipnet::IpNet;
use serde_json::{Value, json};
use sheave_core::{EndpointSlice, Kind, Object, Service};
use sheave_kube_source::Outcome;
use std::net::{IpAddr, Ipv4Addr};

const EXAMPLES: [(&str, &str); 5] = [
    ("nodes.yaml", include_str!("../../../../examples/nodes.yaml")),
    ("web.yaml", include_str!("../../../../examples/web.yaml")),
    ("api.yaml", include_str!("../../../../examples/api.yaml")),
    ("dns.yaml", include_str!("../../../../examples/dns.yaml")),
    ("empty.yaml", include_str!("../../../../examples/empty.yaml")),
];

/// The first ClusterIP of the Services in the background: away from those of the examples.
const BACKGROUND_VIPS: u32 = u32::from_be_bytes([10, 104, 0, 0]);
/// The first address of their endpoints, which nobody dials.
const BACKGROUND_PODS: u32 = u32::from_be_bytes([10, 192, 0, 0]);
const BACKGROUND_ENDPOINTS: u32 = 3;

/// Kubernetes objects as documents, and what they mean.
pub(crate) struct Manifests {
    documents: Vec<Value>,
}

impl Manifests {
    /// Those of `examples/`.
    pub(crate) fn examples() -> anyhow::Result<Self> {
        let mut documents = Vec::new();
        for (file, text) in EXAMPLES {
            let read: Vec<Value> = serde_saphyr::from_multiple(text).with_context(|| format!("reading {file}"))?;
            documents.extend(read);
        }
        Ok(Self { documents })
    }

    /// The documents, as the API takes them.
    pub(crate) fn documents(&self) -> &[Value] {
        &self.documents
    }

    /// Name, addresses and pod networks of each node.
    pub(crate) fn nodes(&self) -> Vec<(String, Vec<IpAddr>, Vec<IpNet>)> {
        let of_kind = self.documents.iter().filter(|document| document["kind"] == "Node");
        of_kind
            .filter_map(|document| {
                let Object::Node(node) = object(Kind::Node, document)? else { return None };
                Some((node.name.to_string(), node.addresses, node.pod_cidrs))
            })
            .collect()
    }

    /// Every Service that gives rules.
    pub(crate) fn services(&self) -> Vec<Service> {
        let objects = self.documents.iter().filter(|d| d["kind"] == "Service").filter_map(|d| object(Kind::Service, d));
        objects.filter_map(|o| if let Object::Service(service) = o { Some(service) } else { None }).collect()
    }

    /// Every slice with its document.
    pub(crate) fn slice_documents(&self) -> Vec<Value> {
        self.documents.iter().filter(|document| document["kind"] == "EndpointSlice").cloned().collect()
    }

    /// Every slice.
    pub(crate) fn slices(&self) -> Vec<EndpointSlice> {
        self.slice_documents().iter().filter_map(slice).collect()
    }
}

/// What a slice document means.
pub(crate) fn slice(document: &Value) -> Option<EndpointSlice> {
    if let Object::EndpointSlice(slice) = object(Kind::EndpointSlice, document)? { Some(slice) } else { None }
}

fn object(kind: Kind, document: &Value) -> Option<Object> {
    match sheave_kube_source::parse::parse(kind, document).ok()?.outcome {
        Outcome::Object(object) => Some(object),
        Outcome::Absent(_) | Outcome::Unreadable => None,
    }
}

/// The documents of the Services in the background: each a Service with a slice of three endpoints.
pub(crate) fn background(services: u32) -> impl Iterator<Item = Value> {
    (0..services).flat_map(|n| {
        let name = format!("background-{n}");
        let vip = Ipv4Addr::from(BACKGROUND_VIPS + n).to_string();
        let endpoint = |i| {
            json!({
                "addresses": [Ipv4Addr::from(BACKGROUND_PODS + n * BACKGROUND_ENDPOINTS + i).to_string()],
                "conditions": { "ready": true, "serving": true, "terminating": false },
                "nodeName": "node-b",
            })
        };
        let metadata = |labels: Value| json!({ "name": name, "namespace": "background", "labels": labels });
        [
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": metadata(json!({})),
                "spec": {
                    "type": "ClusterIP", "clusterIP": vip, "clusterIPs": [vip], "ipFamilies": ["IPv4"],
                    "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080 }],
                },
            }),
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": metadata(json!({ "kubernetes.io/service-name": name })),
                "addressType": "IPv4",
                "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
                "endpoints": (0..BACKGROUND_ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
            }),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_name_both_nodes_and_every_endpoint_stands_on_one_of_them() {
        let manifests = Manifests::examples().unwrap();
        let nodes: Vec<_> = manifests.nodes().into_iter().map(|(name, ..)| name).collect();
        assert_eq!(nodes, ["node-a", "node-b"]);
        assert!(!manifests.services().is_empty());
        for slice in manifests.slices() {
            for endpoint in slice.endpoints {
                assert!(endpoint.node.is_some_and(|node| nodes.contains(&node.to_string())), "{}", slice.name);
            }
        }
    }

    #[test]
    fn background_services_have_addresses_of_their_own() {
        let vips: std::collections::BTreeSet<_> = background(300)
            .filter(|document| document["kind"] == "Service")
            .map(|document| document["spec"]["clusterIP"].to_string())
            .collect();
        assert_eq!(vips.len(), 300);
    }
}
