//! ServiceCIDRs (KEP-1880).
use super::{METADATA, Outcome};
use crate::address::parse_cidr;
use crate::field::{Field, Findings};
use crate::shape::{self, Shape, field};
use ipnet::IpNet;
use sheave_core::{Object, ServiceCidr};
use std::sync::Arc;

/// Numbers: api, networking/v1/generated.proto.
pub(super) const FIELDS: &[shape::Field<'static>] = &[
    field(1, "metadata", METADATA),
    field(2, "spec", Shape::Map(&[field(1, "cidrs", Shape::List(&Shape::TextOrEmpty))])),
];

pub(super) fn parse(root: &Field<'_>, name: &Arc<str>, findings: &mut Findings) -> Outcome {
    let spec = root.get("spec");
    let cidrs = spec.map(findings).get("cidrs");
    let fields: Vec<_> = cidrs.list(findings).collect();
    let cidrs = fields.iter().filter_map(|field| cidr(field, findings)).collect();
    Outcome::Object(Object::ServiceCidr(ServiceCidr { name: name.clone(), cidrs }))
}

fn cidr(field: &Field<'_>, findings: &mut Findings) -> Option<IpNet> {
    parse_cidr(field.text(findings)?).map_err(|error| findings.invalid(field, error)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;
    use serde_json::json;
    use sheave_core::Kind;

    #[test]
    fn a_bad_cidr_is_one_finding_and_the_others_count() {
        let doc = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.096.0.0/16", "fd00:96::/112", "10.0.0.0"]}});
        let parsed = parse(Kind::ServiceCidr, &doc).unwrap();
        let Outcome::Object(Object::ServiceCidr(cidr)) = parsed.outcome else { panic!("a ServiceCIDR") };
        assert_eq!(cidr.cidrs.iter().map(IpNet::to_string).collect::<Vec<_>>(), ["10.96.0.0/16", "fd00:96::/112"]);
        let found: Vec<_> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                r#"ServiceCIDR kubernetes: spec.cidrs[2]: "10.0.0.0" is not a CIDR; write ADDRESS/PREFIX, such as 10.96.0.0/16"#
            ]
        );
    }
}
