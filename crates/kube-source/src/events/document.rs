//! An Event as JSON, within what the API server allows (kubernetes pkg/apis/core/validation/events.go).
use super::{Note, Severity, Witness};
use jiff::Timestamp;
use serde_json::{Value, json};
use sheave_core::ObjectRef;

/// `NoteLengthLimit`, `ReportingInstanceLengthLimit` in bytes.
const NOTE_MAX: usize = 1024;
const INSTANCE_MAX: usize = 128;
/// A name is a DNS subdomain.
const NAME_MAX: usize = 253;
/// Who writes, as a qualified name.
const CONTROLLER: &str = "sheave.dev/agent";

/// Where a series is: namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Place {
    /// The same on every node for what every node sees, so that the second one to come finds the series there; with the
    /// node's own name in it for the rest. Events of objects without a namespace stand in `default`.
    pub(super) fn of(note: &Note, node: &str) -> Self {
        let (namespace, object) = split(&note.regarding);
        let witness = match note.witness {
            Witness::Node => node,
            Witness::Cluster => "",
        };
        let hash = fnv(&[&note.regarding.kind, &note.regarding.name, note.reason, witness]);
        let suffix = format!(".{hash:016x}");
        let object = cut(object, NAME_MAX - suffix.len()).trim_end_matches(['.', '-']);
        Self { namespace: namespace.unwrap_or("default").to_owned(), name: format!("{object}{suffix}") }
    }

    /// Where new ones are posted to.
    pub(super) fn collection(&self) -> String {
        format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace)
    }

    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

/// The document of a series that begins.
pub(super) fn created(note: &Note, place: &Place, node: &str, now: Timestamp) -> Value {
    let (namespace, name) = split(&note.regarding);
    let mut regarding =
        json!({"kind": &*note.regarding.kind, "apiVersion": api_version(&note.regarding.kind), "name": name});
    match namespace {
        Some(namespace) => regarding["namespace"] = namespace.into(),
        // The kubelet and kube-proxy name a Node so; `kubectl describe node` looks for it.
        None => regarding["uid"] = name.into(),
    }
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": place.namespace, "name": place.name},
        "eventTime": micros(now),
        "reportingController": CONTROLLER,
        "reportingInstance": cut(&format!("sheave-{node}"), INSTANCE_MAX),
        "action": note.action,
        "reason": note.reason,
        "regarding": regarding,
        "note": cut(&note.message, NOTE_MAX),
        "type": match note.severity { Severity::Normal => "Normal", Severity::Warning => "Warning" },
    })
}

/// What a series that goes on is patched with.
pub(super) fn counted(count: u64, now: Timestamp) -> Value {
    json!({"series": {"count": count.clamp(2, i32::MAX as u64), "lastObservedTime": micros(now)}})
}

/// How often the series was observed, by the server's word: once, if it never went on.
pub(super) fn count_of(event: &Value) -> u64 {
    event["series"]["count"].as_u64().unwrap_or(1)
}

/// As `MicroTime` is written: always six digits.
fn micros(time: Timestamp) -> String {
    format!("{time:.6}")
}

fn split(object: &ObjectRef) -> (Option<&str>, &str) {
    match object.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, &object.name),
    }
}

fn api_version(kind: &str) -> &'static str {
    if kind == "EndpointSlice" { "discovery.k8s.io/v1" } else { "v1" }
}

/// The longest beginning of so many bytes that is whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// FNV-1a, 64 bits: the same in every version of sheave, which nodes of one cluster may differ in. Texts end where they end.
fn fnv(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: &str, name: &str, witness: Witness) -> Note {
        Note {
            regarding: ObjectRef::new(kind, name),
            reason: "Conflict",
            action: "Serve",
            severity: Severity::Warning,
            message: "ä".repeat(1000),
            witness,
        }
    }

    /// H9
    #[test]
    fn a_series_has_one_name_on_all_nodes_unless_only_one_sees_it() {
        let place = |note: &Note, node| Place::of(note, node);
        let cluster = note("Service", "shop/web", Witness::Cluster);
        assert_eq!(place(&cluster, "a"), place(&cluster, "b"));
        assert_eq!(place(&cluster, "a").namespace, "shop");
        assert!(place(&cluster, "a").name.starts_with("web."));
        let own = note("Service", "shop/web", Witness::Node);
        assert_ne!(place(&own, "a"), place(&own, "b"));
        assert_ne!(place(&own, "a"), place(&cluster, "a"));
        let other = Note { reason: "Capacity", ..cluster.clone() };
        assert_ne!(place(&other, "a"), place(&cluster, "a"), "another reason");
        let node = note("Node", &"n".repeat(253), Witness::Node);
        assert_eq!((place(&node, "a").namespace.as_str(), place(&node, "a").name.len()), ("default", NAME_MAX));
    }

    /// H9
    #[test]
    fn a_document_keeps_to_the_limits_of_the_api() {
        let now: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let note = note("Service", "shop/web", Witness::Cluster);
        let document = created(&note, &Place::of(&note, "a"), &"n".repeat(253), now);
        assert_eq!(document["eventTime"], "2026-11-22T08:00:00.000000Z");
        assert_eq!(document["note"].as_str().unwrap().len(), NOTE_MAX);
        assert_eq!(document["reportingInstance"].as_str().unwrap().len(), INSTANCE_MAX);
        let regarding = json!({"kind": "Service", "apiVersion": "v1", "namespace": "shop", "name": "web"});
        assert_eq!(document["regarding"], regarding);
        assert_eq!(document["metadata"]["namespace"], "shop", "that of the object, or the server refuses it");
        assert_eq!(counted(1, now)["series"]["count"], 2, "a series begins with the second one");
    }
}
