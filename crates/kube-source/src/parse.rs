//! From a document to a core object: pure, and the same for files and for the API.
//!
//! Parse, don't validate: after this nobody looks at a document again. One field that cannot be used becomes a diagnostic and
//! the rest of the object is served; a document of which nothing can be used is [`Outcome::Unreadable`], and what is held
//! of the object stays in force.
mod cidr;
mod node;
mod service;
mod slice;

pub(crate) use service::SERVICE_PROXY_NAME;
pub(crate) use slice::HEADLESS;

use crate::field::{Field, Findings};
use crate::prune::Keep;
use serde_json::Value;
use sheave_core::{Diagnostic, Kind, Object, ObjectName, ObjectRef, ServiceName, SliceName};

/// What a document says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The object's name.
    pub name: ObjectName,
    /// What it means for this node.
    pub outcome: Outcome,
    /// What is wrong with it; empty when all is well.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a document means for this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The object, as far as it can be used.
    Object(Object),
    /// Not for us (W1, W2, W4, W5): the same as if it did not exist.
    Absent,
    /// Nothing of it can be used; the last good version stays.
    Unreadable,
}

/// The document has no `metadata.name` that an object can have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a {kind} without a usable metadata.name{}: names are 1 to 253 letters, digits, dots and dashes", shown(.name))]
pub struct Nameless {
    /// The kind that was expected.
    pub kind: &'static str,
    /// The name, if it has one.
    pub name: Option<String>,
}

fn shown(name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!(" ({name:?})"))
}

/// Reads one document of a kind.
///
/// # Errors
/// [`Nameless`]: nothing can be said of an object that has no name.
pub fn parse(kind: Kind, document: &Value) -> Result<Parsed, Nameless> {
    let root = Field::root(document);
    let name = name(kind, document)?;
    let mut findings = Findings::of(object_ref(&name));
    let outcome = match &name {
        ObjectName::Service(name) => service::parse(&root, name, &mut findings),
        ObjectName::EndpointSlice(name) => slice::parse(&root, name, &mut findings),
        ObjectName::Node(name) => node::parse(&root, name, &mut findings),
        ObjectName::ServiceCidr(name) => cidr::parse(&root, name, &mut findings),
    };
    Ok(Parsed { name, outcome, diagnostics: findings.into_diagnostics() })
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
pub(crate) fn keep(kind: Kind) -> Keep<'static> {
    match kind {
        Kind::Service => service::KEEP,
        Kind::EndpointSlice => slice::KEEP,
        Kind::Node => node::KEEP,
        Kind::ServiceCidr => cidr::KEEP,
    }
}

const METADATA: Keep<'static> = Keep::Fields(&[
    ("name", Keep::All),
    ("namespace", Keep::All),
    ("labels", Keep::All),
    ("creationTimestamp", Keep::All),
    ("resourceVersion", Keep::All),
    // Of a bookmark: the end of the initial list (KEP-3157).
    ("annotations", Keep::Fields(&[("k8s.io/initial-events-end", Keep::All)])),
]);

fn name(kind: Kind, document: &Value) -> Result<ObjectName, Nameless> {
    let metadata = &document["metadata"];
    let name = metadata["name"].as_str();
    let nameless = || Nameless { kind: kind.as_str(), name: name.map(ToOwned::to_owned) };
    let name = name.filter(|name| is_name(name)).ok_or_else(nameless)?;
    // A manifest without a namespace goes to `default`, as kubectl sends it.
    let namespace = metadata["namespace"].as_str().filter(|namespace| is_name(namespace)).unwrap_or("default");
    Ok(match kind {
        Kind::Service => ObjectName::Service(ServiceName::new(namespace, name)),
        Kind::EndpointSlice => ObjectName::EndpointSlice(SliceName::new(namespace, name)),
        Kind::Node => ObjectName::Node(name.into()),
        Kind::ServiceCidr => ObjectName::ServiceCidr(name.into()),
    })
}

/// Wide enough for every name the API takes, and free of what separates names in keys and paths.
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    /// Documents of the right fields with values of any shape.
    fn documents() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(vec![
            "metadata",
            "name",
            "namespace",
            "labels",
            "creationTimestamp",
            "spec",
            "clusterIP",
            "clusterIPs",
            "type",
            "ports",
            "port",
            "protocol",
            "addressType",
            "endpoints",
            "addresses",
            "conditions",
            "ready",
            "nodeName",
            "status",
            "cidrs",
            "kubernetes.io/service-name",
        ]);
        let texts = prop::sample::select(vec![
            "",
            "None",
            "web",
            "IPv4",
            "IPv6",
            "10.0.0.1",
            "fd00::1",
            "TCP",
            "10.0.0.0/8",
            "\u{0}",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            texts.prop_map(Value::from),
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

    proptest! {
        #[test]
        fn any_document_is_parsed_without_panic_and_pruning_changes_nothing(mut document in documents()) {
            if let Some(document) = document.as_object_mut() {
                let name = json!({"name": "x", "labels": document.get("labels").cloned().unwrap_or_default()});
                document.insert("metadata".to_owned(), name);
            }
            for kind in Kind::ALL {
                let pruned = keep(kind).read(document.to_string().as_bytes()).unwrap();
                let whole = serde_json::from_str(&document.to_string()).unwrap();
                prop_assert_eq!(parse(kind, &pruned), parse(kind, &whole), "{:?}", kind);
            }
        }
    }

    #[test]
    fn an_object_without_a_usable_name_is_refused() {
        for (name, want) in [
            (
                json!(null),
                "a Service without a usable metadata.name: names are 1 to 253 letters, digits, dots and dashes",
            ),
            (
                json!("a/b"),
                "a Service without a usable metadata.name (\"a/b\"): names are 1 to 253 letters, digits, dots and dashes",
            ),
        ] {
            let error = parse(Kind::Service, &json!({"metadata": {"name": name}})).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
        assert!(parse(Kind::Service, &json!({"metadata": {"name": "a".repeat(254)}})).is_err());
    }
}
