//! Reads protobuf by the same tables as JSON: named fields are kept, unknown ones skipped, nothing is copied.
//!
//! Not generated structs: they would be a second description of each object beside the tables, and a copy of every text of
//! it (docs/decisions/0012-protobuf.md). The encoding is small: <https://protobuf.dev/programming-guides/encoding/>.
use crate::raw::Raw;
use crate::shape::{Field, Shape};
use std::borrow::Cow;

/// Not what the Kubernetes API sends as protobuf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("protobuf that ends within a field")]
    Truncated,
    #[error("a protobuf number of more than 64 bits")]
    Overlong,
    #[error("a protobuf field of number {number} and wire type {wire_type}, which the API does not send")]
    Field { number: u64, wire_type: u64 },
    #[error("protobuf without the envelope of the Kubernetes API (`k8s`, 0)")]
    Envelope,
}

/// What comes before each object and each list.
const MAGIC: &[u8] = b"k8s\0";
/// `Unknown.raw`, the object itself, and `Unknown.contentEncoding`, which nobody uses (apimachinery, runtime/generated.proto).
const RAW: u32 = 2;
const CONTENT_ENCODING: u32 = 3;

/// The object in an envelope (`runtime.Unknown`).
pub(crate) fn unwrapped(bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(Malformed::Envelope)?;
    let mut object: &[u8] = &[];
    while let Some((number, value)) = next(&mut rest)? {
        match (number, value) {
            (RAW, Value::Bytes(bytes)) => object = bytes,
            (CONTENT_ENCODING, Value::Bytes(encoding)) if !encoding.is_empty() => return Err(Malformed::Envelope),
            _ => {}
        }
    }
    Ok(object)
}

/// Type and object of an event of a watch (`meta/v1.WatchEvent`); the object is in an envelope of its own.
pub(crate) fn watch_event(mut message: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Malformed> {
    let (mut of_type, mut object) = (Cow::default(), &[][..]);
    while let Some((number, value)) = next(&mut message)? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => of_type = String::from_utf8_lossy(bytes),
            // `runtime.RawExtension`, whose only field has the number 1.
            (2, Value::Bytes(mut extension)) => {
                while let Some((number, value)) = next(&mut extension)? {
                    if let (1, Value::Bytes(bytes)) = (number, value) {
                        object = bytes;
                    }
                }
            }
            _ => {}
        }
    }
    Ok((of_type, object))
}

/// A message with these fields.
pub(crate) fn read<'a>(fields: &[Field<'_>], message: &'a [u8]) -> Result<Raw<'a>, Malformed> {
    let (mut rest, mut kept) = (message, Vec::new());
    while let Some((number, value)) = next(&mut rest)? {
        if let Some(field) = fields.iter().find(|field| field.number == number) {
            keep(field, value, &mut kept)?;
        }
    }
    Ok(Raw::Map(kept))
}

type Kept<'a> = Vec<(Cow<'a, str>, Raw<'a>)>;

fn keep<'a>(field: &Field<'_>, value: Value<'a>, kept: &mut Kept<'a>) -> Result<(), Malformed> {
    let name = Cow::Borrowed(field.name);
    match (field.shape, value) {
        (Shape::List(element), value) => {
            let element = single(field.number, *element, value)?;
            match kept.iter_mut().find(|(held, _)| *held == name) {
                Some((_, Raw::List(list))) => list.extend(element),
                _ => kept.push((name, Raw::List(element.into_iter().collect()))),
            }
        }
        (Shape::Keys(keys), Value::Bytes(entry)) => {
            let (key, value) = entry_of_map(entry)?;
            let entry = keys.contains(&&*key).then_some((key, Raw::Text(value)));
            match kept.iter_mut().find(|(held, _)| *held == name) {
                Some((_, Raw::Map(map))) => map.extend(entry),
                _ => kept.push((name, Raw::Map(entry.into_iter().collect()))),
            }
        }
        (shape, value) => kept.extend(single(field.number, shape, value)?.map(|value| (name, value))),
    }
    Ok(())
}

/// A value that stands by itself; `None` for one that JSON would leave out.
fn single<'a>(number: u32, shape: Shape<'_>, value: Value<'a>) -> Result<Option<Raw<'a>>, Malformed> {
    Ok(match (shape, value) {
        (Shape::Text, Value::Bytes([])) => None,
        (Shape::Text | Shape::TextOrEmpty, Value::Bytes(bytes)) => Some(Raw::Text(String::from_utf8_lossy(bytes))),
        // Negative numbers are sent as what they are in 64 bits.
        (Shape::Number, Value::Varint(value)) => Some(Raw::Number(value.cast_signed().into())),
        (Shape::Flag, Value::Varint(value)) => Some(Raw::Flag(value != 0)),
        (Shape::Time, Value::Bytes(message)) => unix_s(message)?.map(Raw::Time),
        (Shape::Map(fields), Value::Bytes(message)) => Some(read(fields, message)?),
        (_, value) => return Err(Malformed::Field { number: number.into(), wire_type: value.wire_type() }),
    })
}

/// An entry of a `map<string, string>`: a message of key and value.
fn entry_of_map(mut message: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Malformed> {
    let (mut key, mut text) = (Cow::default(), Cow::default());
    while let Some((number, value)) = next(&mut message)? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = String::from_utf8_lossy(bytes),
            (2, Value::Bytes(bytes)) => text = String::from_utf8_lossy(bytes),
            _ => {}
        }
    }
    Ok((key, text))
}

/// `meta/v1.Time`: seconds and nanoseconds. One that is not set has neither.
fn unix_s(mut message: &[u8]) -> Result<Option<i64>, Malformed> {
    let mut seconds = None;
    while let Some((number, value)) = next(&mut message)? {
        if let (1, Value::Varint(value)) = (number, value) {
            seconds = Some(value.cast_signed());
        }
    }
    Ok(seconds)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32,
    Fixed64,
}

impl Value<'_> {
    fn wire_type(self) -> u64 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64 => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32 => 5,
        }
    }
}

/// Takes the next field off a message; `None` at its end.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u32, Value<'a>)>, Malformed> {
    if rest.is_empty() {
        return Ok(None);
    }
    let key = varint(rest)?;
    let (number, wire_type) = (key >> 3, key & 7);
    let value = match wire_type {
        0 => Value::Varint(varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed64)?,
        2 => {
            let length = varint(rest)?;
            Value::Bytes(take(rest, usize::try_from(length).unwrap_or(usize::MAX))?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed32)?,
        _ => return Err(Malformed::Field { number, wire_type }),
    };
    // 0 is no number of a field, and the largest is 2^29 - 1.
    match u32::try_from(number) {
        Ok(number @ 1..0x2000_0000) => Ok(Some((number, value))),
        _ => Err(Malformed::Field { number, wire_type }),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    rest.split_off(..length).ok_or(Malformed::Truncated)
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first().ok_or(Malformed::Truncated)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(Malformed::Overlong);
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed::Overlong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::field;
    use proptest::prelude::*;
    use serde_json::json;

    const FIELDS: &[Field<'static>] = &[
        field(1, "name", Shape::Text),
        field(2, "mode", Shape::TextOrEmpty),
        field(3, "port", Shape::Number),
        field(4, "ready", Shape::Flag),
        field(5, "labels", Shape::Keys(&["a"])),
        field(6, "inner", Shape::Map(&[field(1, "name", Shape::Text)])),
        field(7, "addresses", Shape::List(&Shape::TextOrEmpty)),
        field(8, "created", Shape::Time),
    ];

    #[test]
    fn named_fields_are_kept_and_the_others_skipped() {
        for (name, bytes, want) in [
            ("nothing", &b""[..], json!({})),
            ("a text", b"\x0a\x01x", json!({"name": "x"})),
            ("an empty text that JSON leaves out", b"\x0a\x00", json!({})),
            ("an empty text that JSON has", b"\x12\x00", json!({"mode": ""})),
            ("no UTF-8", b"\x0a\x01\xff", json!({"name": "\u{fffd}"})),
            ("numbers", b"\x18\xbb\x03\x20\x01", json!({"port": 443, "ready": true})),
            ("a negative one", b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", json!({"port": -1})),
            ("a key", b"\x2a\x06\x0a\x01a\x12\x01b\x2a\x06\x0a\x01x\x12\x01y", json!({"labels": {"a": "b"}})),
            ("a key without a value", b"\x2a\x03\x0a\x01a", json!({"labels": {"a": ""}})),
            ("no key of ours", b"\x2a\x03\x0a\x01x", json!({"labels": {}})),
            ("a message", b"\x32\x03\x0a\x01y\x32\x00", json!({"inner": {}})),
            ("a list", b"\x3a\x01a\x0a\x01x\x3a\x00\x3a\x01b", json!({"addresses": ["a", "", "b"], "name": "x"})),
            ("a time that is not set", b"\x42\x00", json!({})),
            ("unknown fields", b"\x78\x01\x79abcdefgh\x7a\x02ab\x7dabcd\x0a\x01x", json!({"name": "x"})),
        ] {
            let got = read(FIELDS, bytes).unwrap_or_else(|error| panic!("case: {name}: {error}"));
            for field in ["name", "mode", "port", "ready", "labels", "inner", "addresses", "created"] {
                assert_eq!(*got.at(&[field]), *Raw::from(&want).at(&[field]), "case: {name}: {field}");
            }
        }
        assert_eq!(read(FIELDS, b"\x42\x02\x08\x07").unwrap().at(&["created"]), &Raw::Time(7));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (name, bytes, want) in [
            ("no length", &b"\x0a"[..], Malformed::Truncated),
            ("a length beyond the end", b"\x0a\x05x", Malformed::Truncated),
            ("a length beyond all memory", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", Malformed::Truncated),
            ("an unknown field beyond the end", b"\x7dabc", Malformed::Truncated),
            ("a number without an end", b"\x18\xff", Malformed::Truncated),
            ("too large a number", b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", Malformed::Overlong),
            ("a number for a text", b"\x08\x01", Malformed::Field { number: 1, wire_type: 0 }),
            ("a text for a number", b"\x1a\x01x", Malformed::Field { number: 3, wire_type: 2 }),
            ("a group", b"\x0b", Malformed::Field { number: 1, wire_type: 3 }),
            ("field 0", b"\x02\x00", Malformed::Field { number: 0, wire_type: 2 }),
            ("within a message", b"\x32\x02\x0a\x05", Malformed::Truncated),
        ] {
            assert_eq!(read(FIELDS, bytes), Err(want), "case: {name}");
        }
    }

    #[test]
    fn an_envelope_begins_with_its_magic_number() {
        for (name, bytes, want) in [
            ("the object", &b"k8s\x00\x0a\x00\x12\x02ab\x1a\x00\x22\x00"[..], Ok(&b"ab"[..])),
            ("an empty one", b"k8s\x00\x12\x00", Ok(b"")),
            ("no magic number", b"k9s\x00\x12\x00", Err(Malformed::Envelope)),
            ("nothing", b"", Err(Malformed::Envelope)),
            ("an encoding of its own", b"k8s\x00\x12\x01a\x1a\x01z", Err(Malformed::Envelope)),
            ("cut off", b"k8s\x00\x12\x05a", Err(Malformed::Truncated)),
        ] {
            assert_eq!(unwrapped(bytes), want, "case: {name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = (read(FIELDS, &bytes), unwrapped(&bytes));
        }
    }
}
