//! Nodes: zone, addresses, pod networks, and whether it is about to go (A5, E7, H1, R5, W14).
use super::{METADATA, Named, Outcome, named};
use crate::address::{parse_cidr, parse_unicast};
use crate::field::{Field, Findings};
use crate::shape::{self, Shape, field};
use ipnet::IpNet;
use sheave_core::{Leaving, Node, Object};
use std::net::IpAddr;
use std::sync::Arc;

/// The zone a node is in; the only label that means something here. Node hints name nodes by their name.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// What the cluster autoscaler taints a node with before it takes it away, whatever the effect (kubernetes
/// pkg/proxy/healthcheck/proxy_health.go, `ToBeDeletedTaint`).
pub(crate) const SCALED_DOWN: &str = "ToBeDeletedByClusterAutoscaler";

/// Numbers: api, core/v1/generated.proto, `Node`, `NodeSpec`, `NodeStatus`.
pub(super) const FIELDS: &[shape::Field<'static>] =
    &[field(1, "metadata", METADATA), field(2, "spec", SPEC), field(3, "status", STATUS)];

const SPEC: Shape<'static> = Shape::Map(&[
    field(1, "podCIDR", Shape::Text),
    field(5, "taints", Shape::List(&Shape::Map(&[field(1, "key", Shape::Text)]))),
    field(7, "podCIDRs", Shape::List(&Shape::TextOrEmpty)),
]);

const STATUS: Shape<'static> = Shape::Map(&[field(5, "addresses", Shape::List(&ADDRESS))]);

const ADDRESS: Shape<'static> =
    Shape::Map(&[field(1, "type", Shape::TextOrEmpty), field(2, "address", Shape::TextOrEmpty)]);

pub(super) fn parse(root: &Field<'_>, name: &Arc<str>, findings: &mut Findings) -> Outcome {
    let (metadata, spec, status) = (root.get("metadata"), root.get("spec"), root.get("status"));
    let labels = metadata.get("labels");
    let zone = named(&labels.map(findings).key(ZONE), Named::Zone, findings).map(Arc::from);
    let addresses = addresses(&status.map(findings).get("addresses"), findings);
    let pod_cidrs = pod_cidrs(spec.map(findings), findings);
    let leaving = leaving(&metadata, &spec, findings);
    Outcome::Object(Object::Node(Node { name: name.clone(), zone, addresses, pod_cidrs, leaving }))
}

/// A deletionTimestamp counts whatever it says: it is there as soon as somebody asked for the deletion.
fn leaving(metadata: &Field<'_>, spec: &Field<'_>, findings: &mut Findings) -> Option<Leaving> {
    let taints = spec.get("taints");
    let tainted = taints.list(findings).any(|taint| taint.get("key").is_text(SCALED_DOWN));
    let deleted = !metadata.get("deletionTimestamp").is_null();
    if deleted { Some(Leaving::Deleted) } else { tainted.then_some(Leaving::ScaledDown) }
}

/// InternalIPs, then ExternalIPs, each in the API's order: the first of a family is its primary one, as in kube-proxy
/// (GetNodeHostIPs).
fn addresses(field: &Field<'_>, findings: &mut Findings) -> Vec<IpAddr> {
    let fields: Vec<_> = field.list(findings).collect();
    let mut addresses: Vec<_> = fields.iter().filter_map(|field| address(field, findings)).collect();
    addresses.sort_by_key(|(kind, _)| *kind);
    addresses.into_iter().map(|(_, addr)| addr).collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AddressKind {
    Internal,
    External,
}

/// Host names are no addresses of the node.
fn address(field: &Field<'_>, findings: &mut Findings) -> Option<(AddressKind, IpAddr)> {
    let (kind, address) = (field.map(findings).get("type"), field.get("address"));
    let kind = match kind.text(findings)? {
        "InternalIP" => AddressKind::Internal,
        "ExternalIP" => AddressKind::External,
        _ => return None,
    };
    let addr = parse_unicast(address.text(findings)?).map_err(|error| findings.invalid(&address, error)).ok()?;
    Some((kind, addr))
}

/// `podCIDRs`, or the older `podCIDR` where there is no list; the API server keeps the two alike.
fn pod_cidrs(spec: &Field<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let (first, all) = (spec.get("podCIDR"), spec.get("podCIDRs"));
    let listed: Vec<_> = all.list(findings).collect();
    let fields = if listed.is_empty() { vec![first] } else { listed };
    let mut cidr = |field: &Field<'_>| parse_cidr(field.text(findings)?).map_err(|e| findings.invalid(field, e)).ok();
    fields.iter().filter(|field| !field.is_blank()).filter_map(&mut cidr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use serde_json::json;
    use sheave_core::Kind;

    fn node(doc: &serde_json::Value) -> (Node, Vec<String>) {
        let parsed = parse(Kind::Node, doc).unwrap();
        let Outcome::Object(Object::Node(node)) = parsed.outcome else { panic!("a Node") };
        (node, parsed.diagnostics.into_iter().map(|d| format!("{}: {}", d.field, d.message)).collect())
    }

    #[test]
    fn a5_internal_addresses_come_before_external_ones_and_names_are_none() {
        let address = |kind: &str, address: &str| json!({"type": kind, "address": address});
        for (name, addresses, want) in [
            (
                "external last",
                json!([address("ExternalIP", "198.51.100.1"), address("InternalIP", "192.0.2.1")]),
                ["192.0.2.1", "198.51.100.1"].as_slice(),
            ),
            (
                "else the API's order",
                json!([address("InternalIP", "192.0.2.2"), address("InternalIP", "192.0.2.1")]),
                &["192.0.2.2", "192.0.2.1"],
            ),
            (
                "both families",
                json!([address("ExternalIP", "2001:db8::1"), address("InternalIP", "192.0.2.010")]),
                &["192.0.2.10", "2001:db8::1"],
            ),
            ("names", json!([address("Hostname", "192.0.2.1"), address("InternalDNS", "a.example")]), &[]),
            ("none", json!(null), &[]),
        ] {
            let (node, said) = node(&json!({"metadata": {"name": "node-a"}, "status": {"addresses": addresses}}));
            assert_eq!(node.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(), want, "case: {name}");
            assert_eq!(said, [""; 0], "case: {name}");
        }
    }

    #[test]
    fn e7_w14_the_zone_is_a_label_and_an_empty_one_is_none() {
        for (labels, want) in [
            (json!({ZONE: "z1", "kubernetes.io/hostname": "a"}), Some("z1")),
            (json!({ZONE: ""}), None),
            (json!({"kubernetes.io/hostname": "a"}), None),
            (json!(null), None),
        ] {
            let (node, said) = node(&json!({"metadata": {"name": "node-a", "labels": labels}}));
            assert_eq!((node.zone.as_deref(), said.len()), (want, 0), "{labels}");
        }
        let (node, said) = node(&json!({"metadata": {"name": "node-a", "labels": {ZONE: "z\u{1b}1"}}}));
        assert_eq!((node.zone, said.len()), (None, 1), "one that nothing can have is a finding and none: {said:?}");
    }

    #[test]
    fn r5_pod_networks_are_the_list_and_without_one_the_single_field() {
        for (spec, want) in [
            (
                json!({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]}),
                ["10.244.1.0/24", "fd00:1::/64"].as_slice(),
            ),
            (json!({"podCIDR": "10.244.01.0/24"}), &["10.244.1.0/24"]),
            (json!({"podCIDR": "", "podCIDRs": []}), &[]),
            (json!({}), &[]),
        ] {
            let (node, said) = node(&json!({"metadata": {"name": "node-a"}, "spec": spec}));
            assert_eq!(node.pod_cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>(), want, "{spec}");
            assert_eq!(said, [""; 0], "{spec}");
        }
    }

    /// H1
    #[test]
    fn a_node_is_about_to_go_when_it_is_deleted_or_tainted_by_the_autoscaler() {
        let taint = |key: &str, effect: &str| json!({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": key, "effect": effect}]});
        let now = json!("2026-11-22T07:00:00Z");
        for (name, deletion, spec, want) in [
            ("neither", json!(null), json!({}), None),
            ("another taint", json!(null), taint("node.kubernetes.io/unschedulable", "NoSchedule"), None),
            ("the taint", json!(null), taint(SCALED_DOWN, "NoSchedule"), Some(Leaving::ScaledDown)),
            ("whatever its effect", json!(null), taint(SCALED_DOWN, ""), Some(Leaving::ScaledDown)),
            ("deleted", now.clone(), json!({}), Some(Leaving::Deleted)),
            ("both", now, taint(SCALED_DOWN, "NoSchedule"), Some(Leaving::Deleted)),
        ] {
            let (node, said) =
                node(&json!({"metadata": {"name": "node-a", "deletionTimestamp": deletion}, "spec": spec}));
            assert_eq!((node.leaving, said.len()), (want, 0), "case: {name}");
        }
    }

    #[test]
    fn a_bad_field_is_one_finding_and_the_rest_counts() {
        let (node, said) = node(&json!({
            "metadata": {"name": "node-a", "labels": {ZONE: 1}},
            "spec": {"podCIDRs": ["10.244.1.0", "10.244.2.0/24"]},
            "status": {"addresses": [
                "192.0.2.9", {"type": "InternalIP", "address": "nowhere"}, {"type": "InternalIP", "address": "192.0.2.1"},
            ]},
        }));
        let want = [
            format!("metadata.labels[{ZONE:?}]: 1 is not a text"),
            "status.addresses[0]: \"192.0.2.9\" is not a map".to_owned(),
            "status.addresses[1].address: \"nowhere\" is not an IP address".to_owned(),
            "spec.podCIDRs[0]: \"10.244.1.0\" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16".to_owned(),
        ];
        assert_eq!(said, want);
        assert_eq!((node.zone, node.addresses.len(), node.pod_cidrs.len()), (None, 1, 1));
    }
}
