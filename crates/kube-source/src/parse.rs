//! From a document to a core object: pure, and the same for files and for the API.
//!
//! Parse, don't validate: after this nobody looks at a document again. One field that cannot be used becomes a diagnostic and
//! the rest of the object is served; a document of which nothing can be used is [`Outcome::Unreadable`], and what is held
//! of the object stays in force.
mod absent;
mod cidr;
mod node;
mod service;
mod slice;

pub use absent::Absent;
pub(crate) use service::SERVICE_PROXY_NAME;
pub(crate) use slice::HEADLESS;

use crate::field::{Field, Findings, Shown};
use crate::raw::Raw;
use crate::shape::{self, Shape, field};
use serde_json::Value;
use sheave_core::{Diagnostic, Kind, Object, ObjectName, ObjectRef, ServiceName, SliceName, Stamp};

/// What a document says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The object's name.
    pub name: ObjectName,
    /// What it means for this node.
    pub outcome: Outcome,
    /// What is wrong with it; empty when all is well.
    pub diagnostics: Vec<Diagnostic>,
    /// Which version of the object it is.
    pub stamp: Stamp,
}

/// What a document means for this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The object, as far as it can be used.
    Object(Object),
    /// Not for us: the same as if it did not exist.
    Absent(Absent),
    /// Nothing of it can be used; the last good version stays.
    Unreadable,
}

/// The document has no name, or a namespace, that an object cannot have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} without a usable metadata.{field}{found}: names are 1 to {max} letters, digits, dots and dashes")]
pub struct Nameless {
    /// The kind that was expected.
    pub kind: &'static str,
    /// `name` or `namespace`.
    pub field: &'static str,
    /// What stands there, in parentheses; empty where nothing does.
    pub found: String,
    /// How many characters it may have.
    pub max: usize,
}

/// Reads one document of a kind.
///
/// # Errors
/// [`Nameless`]: nothing can be said of an object that has no name.
pub fn parse(kind: Kind, document: &Value) -> Result<Parsed, Nameless> {
    read(kind, &Raw::from(document))
}

/// The same of a document in whatever form.
pub(crate) fn read(kind: Kind, document: &Raw<'_>) -> Result<Parsed, Nameless> {
    let root = Field::root(document);
    let name = name(kind, document)?;
    let mut findings = Findings::of(object_ref(&name));
    let outcome = match &name {
        ObjectName::Service(name) => service::parse(&root, name, &mut findings),
        ObjectName::EndpointSlice(name) => slice::parse(&root, name, &mut findings),
        ObjectName::Node(name) => node::parse(&root, name, &mut findings),
        ObjectName::ServiceCidr(name) => cidr::parse(&root, name, &mut findings),
    };
    Ok(Parsed { name, outcome, diagnostics: findings.into_diagnostics(), stamp: stamp(kind, document) })
}

/// Versions and triggers are for waiting and for metrics: one that cannot be read is none, without a diagnostic.
fn stamp(kind: Kind, document: &Raw<'_>) -> Stamp {
    let version = document.at(&["metadata", "resourceVersion"]).as_text();
    let triggered = document.at(&["metadata", "annotations", TRIGGERED]).as_text();
    let triggered = triggered.filter(|_| kind == Kind::EndpointSlice);
    let unix_ns = |text: &str| i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok();
    Stamp {
        version: version.and_then(|version| version.parse().ok()).unwrap_or_default(),
        triggered_unix_ns: triggered.and_then(unix_ns),
    }
}

/// How diagnostics name an object.
#[must_use]
pub fn object_ref(name: &ObjectName) -> ObjectRef {
    let text = match name {
        ObjectName::Service(name) => name.to_string(),
        ObjectName::EndpointSlice(name) => name.to_string(),
        ObjectName::Node(name) | ObjectName::ServiceCidr(name) => name.to_string(),
    };
    ObjectRef::new(name.kind().as_str(), &text)
}

/// The fields of a kind that are read.
pub(crate) fn fields(kind: Kind) -> &'static [shape::Field<'static>] {
    match kind {
        Kind::Service => service::FIELDS,
        Kind::EndpointSlice => slice::FIELDS,
        Kind::Node => node::FIELDS,
        Kind::ServiceCidr => cidr::FIELDS,
    }
}

/// Of a bookmark: the end of the initial list (KEP-3157).
pub(crate) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// When what last moved the endpoints of a slice happened, by the controller's account.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Numbers: apimachinery, meta/v1/generated.proto, `ObjectMeta`.
const METADATA: Shape<'static> = Shape::Map(&[
    field(1, "name", Shape::Text),
    field(3, "namespace", Shape::Text),
    field(6, "resourceVersion", Shape::Text),
    field(8, "creationTimestamp", Shape::Time),
    field(9, "deletionTimestamp", Shape::Time),
    field(11, "labels", Shape::Keys(&[SERVICE_PROXY_NAME, slice::SERVICE_NAME, HEADLESS, node::ZONE])),
    field(12, "annotations", Shape::Keys(&[INITIAL_EVENTS_END, TRIGGERED])),
]);

/// The most characters of a namespace, a Service and a port (RFC 1123 and RFC 1035 labels, as the API has them). Three of
/// them fit the kernel's table of names; longer ones would collide there.
const LABEL_MAX: usize = 63;
/// The most characters of any other name (RFC 1123 subdomain).
const SUBDOMAIN_MAX: usize = 253;

fn name(kind: Kind, document: &Raw<'_>) -> Result<ObjectName, Nameless> {
    let metadata = document.at(&["metadata"]);
    let usable = |field, max| {
        let value = metadata.at(&[field]);
        let nameless = || {
            let found = if value.is_null() { String::new() } else { format!(" ({})", Shown(value)) };
            Nameless { kind: kind.as_str(), field, found, max }
        };
        value.as_text().filter(|text| is_name(text, max)).ok_or_else(nameless)
    };
    // A manifest without a namespace goes to `default`, as kubectl sends it; to the API an empty one is none.
    let namespace = || match metadata.at(&["namespace"]) {
        Raw::Null => Ok("default"),
        Raw::Text(text) if text.is_empty() => Ok("default"),
        _ => usable("namespace", LABEL_MAX),
    };
    Ok(match kind {
        Kind::Service => ObjectName::Service(ServiceName::new(namespace()?, usable("name", LABEL_MAX)?)),
        Kind::EndpointSlice => ObjectName::EndpointSlice(SliceName::new(namespace()?, usable("name", SUBDOMAIN_MAX)?)),
        Kind::Node => ObjectName::Node(usable("name", SUBDOMAIN_MAX)?.into()),
        Kind::ServiceCidr => ObjectName::ServiceCidr(usable("name", SUBDOMAIN_MAX)?.into()),
    })
}

/// Wide enough for every name the API takes, and free of what separates names in keys and paths.
fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// What a text that an object refers to is the name of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named {
    /// An RFC 1123 subdomain, as the API has it.
    Node,
    /// The value of a label: the API holds the zones of hints to the same.
    Zone,
}

/// The name of a node or zone; an empty one is none. One that nothing can have is a finding, and none: it is shown to users and
/// in logs as it stands.
fn named<'a>(field: &Field<'a>, what: Named, findings: &mut Findings) -> Option<&'a str> {
    let text = field.text(findings).filter(|text| !text.is_empty())?;
    let (max, called) = match what {
        Named::Node => (SUBDOMAIN_MAX, "node"),
        Named::Zone => (LABEL_MAX, "zone"),
    };
    if is_name(text, max) {
        return Some(text);
    }
    let message = format!(
        "{} is no name of a {called}, so it counts as none; use 1 to {max} letters, digits, dots, dashes and underscores",
        field.shown()
    );
    findings.invalid(field, message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    /// Values of any shape, with the names and texts that mean something.
    fn values() -> impl Strategy<Value = Value> {
        let names = "metadata name namespace labels creationTimestamp spec type clusterIP clusterIPs ports port protocol \
            nodePort externalIPs internalTrafficPolicy externalTrafficPolicy sessionAffinity sessionAffinityConfig clientIP \
            timeoutSeconds loadBalancerSourceRanges status loadBalancer ingress ip ipMode addressType endpoints addresses \
            address conditions ready serving terminating nodeName hints forNodes forZones podCIDR podCIDRs cidrs \
            kubernetes.io/service-name topology.kubernetes.io/zone";
        let names = prop::sample::select(names.split_whitespace().collect::<Vec<_>>());
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..100_000).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop_oneof![texts(), Just("")].prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            let entries = prop::collection::vec((names.clone(), inner.clone()), 0..6);
            let map = |entries: Vec<(&str, Value)>| {
                entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>()
            };
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::from),
                entries.prop_map(move |e| map(e).into())
            ]
        })
    }

    /// Texts that mean something somewhere.
    fn texts() -> impl Strategy<Value = &'static str> {
        let texts = "None|web|IPv4|IPv6|10.0.0.1|fd00::1|0.0.0.0|TCP|SCTP|10.0.0.0/8| fd00::/8 |NodePort|ExternalName|Local|\
            ClientIP|Proxy|VIP|InternalIP|\u{0}";
        prop::sample::select(texts.split('|').collect::<Vec<_>>())
    }

    /// A document of each kind in which every field that is read has a value.
    fn full(kind: Kind) -> Value {
        match kind {
            Kind::Service => json!({
                "metadata": {"name": "x", "creationTimestamp": "2026-11-21T21:40:20Z", "labels": {"a": "b"}},
                "spec": {
                    "type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
                    "ports": [{"name": "a", "port": 1, "nodePort": 3}, {"name": "b", "port": 2, "protocol": "UDP"}],
                    "externalIPs": ["192.0.2.1", "192.0.2.2"], "internalTrafficPolicy": "Local",
                    "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
                    "loadBalancerSourceRanges": ["192.0.2.0/24", "198.51.100.0/24"],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.8", "ipMode": "VIP"}, {"ip": "192.0.2.9"}]}},
            }),
            Kind::EndpointSlice => json!({
                "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "x"}}, "addressType": "IPv4",
                "ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "UDP"}],
                "endpoints": [
                    {"addresses": ["10.0.0.1"], "nodeName": "n", "conditions": {"ready": true}},
                    {"addresses": ["10.0.0.2", "10.0.0.3"], "hints": {"forNodes": [{"name": "n"}], "forZones": [{"name": "z"}]},
                     "conditions": {"ready": false, "serving": true, "terminating": true}},
                ],
            }),
            Kind::Node => json!({
                "metadata": {"name": "x", "labels": {"topology.kubernetes.io/zone": "z"}},
                "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]},
                "status": {"addresses": [
                    {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "192.0.2.2"},
                ]},
            }),
            Kind::ServiceCidr => json!({"metadata": {"name": "x"}, "spec": {"cidrs": ["10.0.0.0/8", "fd00::/64"]}}),
        }
    }

    /// Puts a value in the place of the `at`-th one, counted through the document, its name left out.
    fn replace(document: &mut Value, at: &mut usize, with: &Value) -> bool {
        let children: Vec<&mut Value> = match document {
            Value::Object(map) => map.iter_mut().filter(|(name, _)| *name != "name").map(|(_, value)| value).collect(),
            Value::Array(list) => list.iter_mut().collect(),
            _ => Vec::new(),
        };
        for child in children {
            if *at == 0 {
                *child = with.clone();
                return true;
            }
            *at -= 1;
            if replace(child, at, with) {
                return true;
            }
        }
        false
    }

    /// Each value that is neither map nor list, but for names and times.
    fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
        match value {
            Value::Object(map) => {
                let fields = map.iter_mut().filter(|(name, _)| *name != "name" && *name != "creationTimestamp");
                fields.for_each(|(_, value)| leaves(value, found));
            }
            Value::Array(list) => list.iter_mut().for_each(|value| leaves(value, found)),
            Value::Null => {}
            leaf => found.push(leaf),
        }
    }

    fn parsed_pruned_and_whole(kind: Kind, document: &Value) -> [Result<Parsed, Nameless>; 2] {
        let text = document.to_string();
        let pruned = Shape::Map(fields(kind)).read_json(text.as_bytes()).unwrap();
        // Numbers are compared as they are after one round through text.
        let whole = serde_json::from_str(&text).unwrap();
        [read(kind, &pruned), parse(kind, &whole)]
    }

    proptest! {
        #[test]
        fn any_document_is_parsed_without_panic_and_pruning_changes_nothing(mut document in values()) {
            if let Some(document) = document.as_object_mut() {
                let name = json!({"name": "x", "labels": document.get("labels").cloned().unwrap_or_default()});
                document.insert("metadata".to_owned(), name);
            }
            for kind in Kind::ALL {
                let [pruned, whole] = parsed_pruned_and_whole(kind, &document);
                prop_assert_eq!(pruned, whole, "{:?}", kind);
            }
        }

        #[test]
        fn any_value_anywhere_in_a_document_is_parsed_without_panic_and_pruning_changes_nothing(
            kind in prop::sample::select(Kind::ALL.to_vec()), at in 0_usize..50, value in values(),
        ) {
            let mut document = full(kind);
            replace(&mut document, &mut at.clone(), &value);
            let [pruned, whole] = parsed_pruned_and_whole(kind, &document);
            prop_assert_eq!(pruned, whole);
        }

        /// What a real server may send: the API's types, whatever the values.
        #[test]
        fn protobuf_means_what_json_means(
            kind in prop::sample::select(Kind::ALL.to_vec()),
            changes in prop::collection::vec((0_usize..40, texts(), any::<i32>(), any::<bool>()), 0..6),
        ) {
            let mut document = full(kind);
            document["kind"] = kind.as_str().into();
            document["metadata"]["resourceVersion"] = "7".into();
            document["metadata"]["annotations"] = json!({TRIGGERED: "2026-11-21T21:40:00.123456789Z"});
            for (at, text, number, flag) in changes {
                let mut leaves_of = Vec::new();
                leaves(&mut document, &mut leaves_of);
                let count = leaves_of.len();
                let leaf = &mut leaves_of[at % count];
                **leaf = match leaf {
                    Value::String(_) => text.into(),
                    Value::Number(_) => number.into(),
                    _ => flag.into(),
                };
            }
            // A text in the place of the kind gives no protobuf.
            document["kind"] = kind.as_str().into();
            let protobuf = sheave_apistub::to_protobuf(&document).unwrap();
            let raw = crate::wire::read(fields(kind), crate::wire::unwrapped(&protobuf).unwrap()).unwrap();
            prop_assert_eq!(read(kind, &raw), parse(kind, &document));
        }

        /// W11, W6, W8, A4, A7, A10, R8: lists are read element by element.
        #[test]
        fn a_bad_element_of_a_list_never_hides_the_one_before_it(value in values()) {
            for (kind, list) in [
                (Kind::Service, "/spec/ports"), (Kind::Service, "/spec/externalIPs"),
                (Kind::Service, "/spec/loadBalancerSourceRanges"), (Kind::Service, "/status/loadBalancer/ingress"),
                (Kind::EndpointSlice, "/ports"), (Kind::EndpointSlice, "/endpoints"),
                (Kind::Node, "/spec/podCIDRs"), (Kind::Node, "/status/addresses"), (Kind::ServiceCidr, "/spec/cidrs"),
            ] {
                let mut document = full(kind);
                document.pointer_mut(list).unwrap()[1] = value.clone();
                let outcome = parse(kind, &document).unwrap().outcome;
                prop_assert!(holds_the_first(&outcome), "{} of {:?}", list, outcome);
            }
        }
    }

    /// Whether the first element of each list of [`full`] is there.
    fn holds_the_first(outcome: &Outcome) -> bool {
        let Outcome::Object(object) = outcome else { return false };
        match object {
            Object::Service(service) => {
                service.ports[0].node_port.is_some()
                    && service.external_ips[0].to_string() == "192.0.2.1"
                    && service.source_ranges[0].to_string() == "192.0.2.0/24"
                    && service.load_balancer_ips[0].to_string() == "192.0.2.8"
            }
            Object::EndpointSlice(slice) => &*slice.ports[0].name == "a" && slice.endpoints[0].node.is_some(),
            Object::Node(node) => {
                node.addresses.iter().any(|addr| addr.to_string() == "192.0.2.1")
                    && node.pod_cidrs[0].to_string() == "10.0.0.0/24"
            }
            Object::ServiceCidr(cidr) => cidr.cidrs[0].to_string() == "10.0.0.0/8",
        }
    }

    #[test]
    fn an_object_without_a_usable_name_or_namespace_is_refused() {
        let long = "a".repeat(64);
        for (kind, metadata, want) in [
            (Kind::Service, json!({}), "Service without a usable metadata.name: names are 1 to 63"),
            (
                Kind::Service,
                json!({"name": "a/b"}),
                "Service without a usable metadata.name (\"a/b\"): names are 1 to 63",
            ),
            (Kind::Service, json!({"name": 7}), "Service without a usable metadata.name (7): names are 1 to 63"),
            (Kind::Service, json!({"name": long}), "Service without a usable metadata.name (\"aaaa"),
            (Kind::Node, json!({"name": "a".repeat(254)}), "Node without a usable metadata.name (\"aaaa"),
            (
                Kind::Service,
                json!({"name": "a", "namespace": 1234}),
                "Service without a usable metadata.namespace (1234): names are 1 to 63",
            ),
            (
                Kind::EndpointSlice,
                json!({"name": "a", "namespace": "a/b"}),
                "EndpointSlice without a usable metadata.namespace (\"a/b\"): names are 1 to 63",
            ),
            (
                Kind::Service,
                json!({"name": "a", "namespace": long}),
                "Service without a usable metadata.namespace (\"aaaa",
            ),
        ] {
            let error = parse(kind, &json!({"metadata": metadata})).unwrap_err().to_string();
            assert!(error.starts_with(want), "{error:?} for {metadata}");
            assert!(error.ends_with(" letters, digits, dots and dashes"), "{error:?}");
            assert!(error.len() < 200, "{error:?}");
        }
    }

    #[test]
    fn an_object_without_a_namespace_is_in_default_and_the_longest_names_are_read() {
        let (label, subdomain) = ("a".repeat(LABEL_MAX), "a".repeat(SUBDOMAIN_MAX));
        for (kind, metadata, want) in [
            (Kind::Service, json!({"name": "a"}), "Service default/a"),
            (Kind::Service, json!({"name": "a", "namespace": null}), "Service default/a"),
            (Kind::Service, json!({"name": "a", "namespace": ""}), "Service default/a"),
            (Kind::Service, json!({"name": label, "namespace": label}), &format!("Service {label}/{label}")),
            (
                Kind::EndpointSlice,
                json!({"name": subdomain, "namespace": "b"}),
                &format!("EndpointSlice b/{subdomain}"),
            ),
            (Kind::Node, json!({"name": subdomain, "namespace": 7}), &format!("Node {subdomain}")),
        ] {
            let parsed = parse(kind, &json!({"metadata": metadata})).unwrap();
            assert_eq!(object_ref(&parsed.name).to_string(), want);
        }
    }
}
