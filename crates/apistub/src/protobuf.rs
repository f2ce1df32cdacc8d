//! Writes documents as the API server's protobuf: byte for byte what Go's marshaller writes (gogoproto), which the recordings
//! show.
//!
//! A value of another type than the API's counts as not there: a document may say what a real server would have refused.
use crate::schema::{Field, LIST_METADATA, Shape};
use bytes::{BufMut, BytesMut};
use serde_json::Value;

/// What comes before each object and each list.
const MAGIC: &[u8] = b"k8s\0";

/// A document as a message.
pub(crate) fn message(fields: &[Field], document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, name, shape) in fields {
        field(*number, *shape, &document[*name], &mut out);
    }
    out
}

/// A message in its envelope (`runtime.Unknown`).
pub(crate) fn wrapped((api_version, kind): (&str, &str), message: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    bytes(1, api_version.as_bytes(), &mut type_meta);
    bytes(2, kind.as_bytes(), &mut type_meta);
    let mut out = MAGIC.to_vec();
    bytes(1, &type_meta, &mut out);
    bytes(2, message, &mut out);
    // The encoding and the type of the content, which are empty.
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

/// The message of a list.
pub(crate) fn list<'a>(metadata: &Value, items: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, &message(&LIST_METADATA, metadata), &mut out);
    items.for_each(|item| bytes(2, item, &mut out));
    out
}

/// Appends an event of a watch with its length before it; the object is in its envelope.
pub(crate) fn event(of_type: &str, object: &[u8], out: &mut BytesMut) {
    let (mut extension, mut event) = (Vec::new(), Vec::new());
    bytes(1, object, &mut extension);
    bytes(1, of_type.as_bytes(), &mut event);
    bytes(2, &extension, &mut event);
    out.put_u32(u32::try_from(event.len()).expect("invariant: objects are far smaller"));
    out.put_slice(&event);
}

fn field(number: u32, shape: Shape, value: &Value, out: &mut Vec<u8>) {
    match shape {
        Shape::Optional(shape) if fits(*shape, value) => field(number, *shape, value, out),
        Shape::Optional(_) => {}
        Shape::Text => bytes(number, value.as_str().unwrap_or_default().as_bytes(), out),
        Shape::Number => varint_field(number, value.as_i64().unwrap_or_default(), out),
        Shape::Flag => varint_field(number, value.as_bool().unwrap_or_default().into(), out),
        Shape::Time => bytes(number, &time(value), out),
        Shape::NumberOrText => bytes(number, &number_or_text(value), out),
        Shape::Json => {
            let mut json = Vec::new();
            bytes(1, value.to_string().as_bytes(), &mut json);
            bytes(number, &json, out);
        }
        Shape::Message(fields) => bytes(number, &message(fields, value), out),
        Shape::List(element) => {
            let elements = value.as_array().into_iter().flatten().filter(|value| fits(*element, value));
            elements.for_each(|value| field(number, *element, value, out));
        }
        Shape::Texts => {
            for (key, text) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(1, key.as_bytes(), &mut entry);
                bytes(2, text.as_str().unwrap_or_default().as_bytes(), &mut entry);
                bytes(number, &entry, out);
            }
        }
    }
}

/// Whether a value is of the type that stands in a field.
fn fits(shape: Shape, value: &Value) -> bool {
    match shape {
        Shape::Text | Shape::Time => value.is_string(),
        Shape::Number => value.is_i64(),
        Shape::Flag => value.is_boolean(),
        Shape::NumberOrText => value.is_i64() || value.is_string(),
        Shape::Message(_) | Shape::Texts => value.is_object(),
        Shape::List(_) => value.is_array(),
        Shape::Json | Shape::Optional(_) => !value.is_null(),
    }
}

/// Seconds and nanoseconds; one that is not set has neither.
fn time(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(time) = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        varint_field(1, time.as_second(), &mut out);
        varint_field(2, time.subsec_nanosecond().into(), &mut out);
    }
    out
}

fn number_or_text(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    varint_field(1, value.is_string().into(), &mut out);
    varint_field(2, value.as_i64().unwrap_or_default(), &mut out);
    bytes(3, value.as_str().unwrap_or_default().as_bytes(), &mut out);
    out
}

fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | 2), out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint_field(number: u32, value: i64, out: &mut Vec<u8>) {
    varint(u64::from(number << 3), out);
    varint(value.cast_unsigned(), out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("invariant: seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("invariant: seven bits"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::of_kind;
    use std::path::Path;

    fn recorded(name: &str) -> Vec<u8> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn shown(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }

    /// The same objects were recorded both ways, at one version of the list or at the next.
    #[test]
    fn lists_are_as_recorded_byte_for_byte() {
        for (name, kind, version) in
            [("services-list", "Service", "v1"), ("slices-list", "EndpointSlice", "discovery.k8s.io/v1")]
        {
            let mut document: Value = serde_json::from_slice(&recorded(&format!("{name}.body"))).unwrap();
            document["metadata"]["resourceVersion"] = "89".into();
            let fields = of_kind(kind).unwrap();
            let items: Vec<_> =
                document["items"].as_array().unwrap().iter().map(|item| message(fields, item)).collect();
            let message = list(&document["metadata"], items.iter().map(Vec::as_slice));
            let got = wrapped((version, &format!("{kind}List")), &message);
            assert_eq!(shown(&got), shown(&recorded(&format!("{name}-protobuf.body"))), "{name}");
        }
    }

    #[test]
    fn events_of_a_watch_are_as_recorded_byte_for_byte() {
        let events = |name: &str| -> Vec<Value> {
            let body = recorded(name);
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
        };
        // What followed that initial list was recorded as protobuf, too: it ended at the fifth event.
        let live = events("stream-list.body").split_off(5);
        for (name, events) in
            [("watch-protobuf.body", live), ("watch-too-old-protobuf.body", events("watch-too-old.body"))]
        {
            let mut got = BytesMut::new();
            for document in &events {
                let object = &document["object"];
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
                let object = wrapped((&version, &kind), &message(of_kind(&kind).unwrap(), object));
                event(&text(&document["type"]), &object, &mut got);
            }
            assert_eq!(shown(&got), shown(&recorded(name)), "{name}");
        }
    }

    #[test]
    fn what_has_another_type_counts_as_not_there() {
        let fields = of_kind("EndpointSlice").unwrap();
        let whole = |ports: Value| message(fields, &serde_json::json!({"ports": ports}));
        assert_eq!(whole(serde_json::json!([{"port": "x"}, 7])), whole(serde_json::json!([{}])));
        assert_eq!(whole(serde_json::json!("x")), whole(Value::Null));
    }
}
