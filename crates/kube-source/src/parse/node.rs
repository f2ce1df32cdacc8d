//! Nodes: labels and addresses.
use super::{METADATA, Outcome};
use crate::address::parse_unicast;
use crate::field::{Field, Findings};
use crate::prune::Keep;
use sheave_core::{Node, Object};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const KEEP: Keep<'static> = Keep::Fields(&[
    ("metadata", METADATA),
    (
        "status",
        Keep::Fields(&[("addresses", Keep::Each(&Keep::Fields(&[("type", Keep::All), ("address", Keep::All)])))]),
    ),
]);

pub(super) fn parse(root: &Field<'_>, name: &Arc<str>, findings: &mut Findings) -> Outcome {
    let (metadata, status) = (root.get("metadata"), root.get("status"));
    let labels = metadata.get("labels");
    let fields: Vec<_> = labels.entries(findings).collect();
    let labels = fields.iter().filter_map(|(key, value)| Some(((*key).into(), value.text(findings)?.into()))).collect();
    let addresses = status.get("addresses");
    let fields: Vec<_> = addresses.list(findings).collect();
    let addresses = fields.iter().filter_map(|field| address(field, findings)).collect();
    Outcome::Object(Object::Node(Node { name: name.clone(), labels, addresses }))
}

/// Host names are no addresses of the node.
fn address(field: &Field<'_>, findings: &mut Findings) -> Option<IpAddr> {
    let (kind, address) = (field.get("type"), field.get("address"));
    let text = match kind.text(findings)? {
        "InternalIP" | "ExternalIP" => address.text(findings)?,
        _ => return None,
    };
    parse_unicast(text).map_err(|error| findings.invalid(&address, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use serde_json::json;
    use sheave_core::Kind;

    #[test]
    fn a_node_has_its_ip_addresses_in_the_apis_order_and_its_labels() {
        let doc = json!({
            "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z1", "bad": 1}},
            "status": {"addresses": [
                {"type": "Hostname", "address": "node-a"},
                {"type": "InternalIP", "address": "192.0.2.010"},
                {"type": "ExternalIP", "address": "2001:db8::10"},
                {"type": "InternalIP", "address": "nowhere"},
            ]},
        });
        let parsed = parse(Kind::Node, &doc).unwrap();
        let Outcome::Object(Object::Node(node)) = parsed.outcome else { panic!("a Node") };
        assert_eq!(node.addresses, ["192.0.2.10".parse::<IpAddr>().unwrap(), "2001:db8::10".parse().unwrap()]);
        assert_eq!(
            node.labels.iter().map(|(k, v)| (&**k, &**v)).collect::<Vec<_>>(),
            [("topology.kubernetes.io/zone", "z1")]
        );
        let fields: Vec<_> = parsed.diagnostics.iter().map(|d| d.field.as_str()).collect();
        assert_eq!(fields, [r#"metadata.labels["bad"]"#, "status.addresses[3].address"]);
    }
}
