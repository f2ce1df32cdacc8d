//! An object as it is held: serialised once, when it changes, and sent as it is to every client.
use crate::protobuf;
use crate::resource::Resource;
use crate::schema;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Namespace (empty for cluster-wide resources) and name. Lists are in this order.
pub(crate) type Key = (String, String);

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) key: Key,
    pub(crate) version: u64,
    pub(crate) labels: BTreeMap<String, String>,
    cluster_ip: String,
    service_type: String,
    /// The JSON of the object without `kind`, `apiVersion` and the opening brace: a list's items have no kind, events have.
    rest: Bytes,
    /// Its protobuf, without the envelope: made when a client first asks for it.
    message: OnceLock<Bytes>,
}

impl Stored {
    /// What field selectors may name.
    pub(crate) const FIELDS: [&'static str; 4] = ["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"];

    /// Takes an object with its metadata complete but for the version.
    pub(crate) fn new(resource: &Resource, mut object: Value, version: u64) -> Self {
        object["metadata"]["resourceVersion"] = version.to_string().into();
        if let Some(object) = object.as_object_mut() {
            object.remove("kind");
            object.remove("apiVersion");
        }
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = if resource.namespaced { text(&metadata["namespace"]) } else { String::new() };
        let labels = metadata["labels"].as_object().into_iter().flatten();
        Self {
            key: (namespace, text(&metadata["name"])),
            version,
            labels: labels.map(|(key, value)| (key.clone(), text(value))).collect(),
            cluster_ip: text(&object["spec"]["clusterIP"]),
            service_type: text(&object["spec"]["type"]),
            rest: Bytes::from(object.to_string().split_off(1)),
            message: OnceLock::new(),
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        Some(match name {
            "metadata.name" => &self.key.1,
            "metadata.namespace" => &self.key.0,
            "spec.clusterIP" => &self.cluster_ip,
            "spec.type" => &self.service_type,
            _ => return None,
        })
    }

    /// The object as a document, with kind and apiVersion.
    pub(crate) fn document(&self, resource: &Resource) -> Value {
        let mut json = BytesMut::new();
        self.write(resource, &mut json);
        serde_json::from_slice(&json).expect("invariant: what was serialised is JSON")
    }

    /// The object as a protobuf message, without its envelope. Empty for kinds that have no protobuf.
    pub(crate) fn message(&self, resource: &Resource) -> &Bytes {
        self.message.get_or_init(|| {
            let fields = schema::of_kind(resource.kind).unwrap_or_default();
            protobuf::message(fields, &self.document(resource)).into()
        })
    }

    /// Appends the object with kind and apiVersion.
    pub(crate) fn write(&self, resource: &Resource, out: &mut BytesMut) {
        let head = format!(r#"{{"kind":"{}","apiVersion":"{}","#, resource.kind, resource.api_version());
        out.put_slice(head.as_bytes());
        out.put_slice(&self.rest);
    }

    /// Appends the object as a list's item: without kind and apiVersion.
    pub(crate) fn write_item(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        out.put_slice(&self.rest);
    }
}

/// Makes metadata complete: what the API server fills in, kept from the previous version where there is one.
pub(crate) fn complete_metadata(resource: &Resource, object: &mut Value, before: Option<&Value>, serial: u64) {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    let changed = before.is_none_or(|before| is_changed(before, object));
    let metadata = &mut object["metadata"];
    if resource.namespaced && metadata["namespace"].as_str().unwrap_or_default().is_empty() {
        metadata["namespace"] = "default".into();
    }
    if let (None, Some(prefix)) = (metadata["name"].as_str(), metadata["generateName"].as_str()) {
        metadata["name"] = format!("{prefix}{serial:05x}").into();
    }
    let kept = before.map(|before| &before["metadata"]);
    for (field, fresh) in [
        ("uid", json!(format!("00000000-0000-4000-8000-{serial:012x}"))),
        ("creationTimestamp", json!(format!("{:.0}", jiff::Timestamp::now()))),
    ] {
        let given = metadata.get(field).filter(|value| !value.is_null()).cloned();
        metadata[field] = kept.map(|kept| kept[field].clone()).or(given).unwrap_or(fresh);
    }
    if resource.kind == "EndpointSlice" {
        let generation = kept.and_then(|kept| kept["generation"].as_u64()).unwrap_or(0);
        metadata["generation"] = (generation + u64::from(changed)).into();
    }
}

/// Whether a slice's generation moves on: with its content and its labels, not with its annotations, as recorded.
fn is_changed(before: &Value, after: &Value) -> bool {
    let content = |object: &Value| {
        let mut content = object.clone();
        content["metadata"] = content["metadata"]["labels"].take();
        content["kind"] = Value::Null;
        content["apiVersion"] = Value::Null;
        content
    };
    content(before) != content(after)
}
