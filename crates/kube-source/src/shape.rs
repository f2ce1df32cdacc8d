//! Which fields of an object are read, and where JSON and protobuf have them: one table for both.
//!
//! A derived struct fails a whole list when one leaf of one object has the wrong type; a full tree keeps managedFields and
//! annotations, often most of an object. Here the named fields are kept as they are, the rest is skipped without an
//! allocation, and judging the values is left to [`parse`](mod@crate::parse), which can name the field.
use crate::raw::Raw;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::borrow::Cow;
use std::fmt;

/// What stands in a field by the API's schema. JSON is not held to it: whatever stands there is kept for a diagnostic, and
/// of maps and lists only what is named here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    /// A text that is not there when it is empty: protobuf sends it all the same (gogoproto, `nullable=false`).
    Text,
    /// A text that may be there and be empty: a pointer in the API's Go types, or an element of a list.
    TextOrEmpty,
    Number,
    Flag,
    Time,
    /// A map of texts, of which only these keys are read.
    Keys(&'a [&'a str]),
    /// A map with fields of its own.
    Map(&'a [Field<'a>]),
    List(&'a Shape<'a>),
}

/// A field that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Its name in JSON.
    pub(crate) name: &'static str,
    /// Its number in protobuf.
    pub(crate) number: u32,
    pub(crate) shape: Shape<'a>,
}

/// A row of a table of fields.
pub(crate) const fn field<'a>(number: u32, name: &'static str, shape: Shape<'a>) -> Field<'a> {
    Field { name, number, shape }
}

impl Shape<'_> {
    /// Reads one JSON document.
    ///
    /// # Errors
    /// When the bytes are not exactly one JSON document.
    pub(crate) fn read_json<'de>(self, json: &'de [u8]) -> Result<Raw<'de>, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }

    /// What is kept of a field of a map that stands here.
    fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Map(fields) => fields.iter().find(|field| field.name == name).map(|field| field.shape),
            Self::Keys(keys) => keys.contains(&name).then_some(Self::Text),
            Self::List(_) => None,
            leaf => Some(leaf),
        }
    }

    /// What is kept of each element of a list that stands here.
    fn element(self) -> Option<Self> {
        match self {
            Self::List(element) => Some(*element),
            Self::Map(_) | Self::Keys(_) => None,
            leaf => Some(leaf),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Raw<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw<'de>, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw<'de>, E> {
        Ok(Number::from_f64(value).map_or(Raw::Null, Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Text(Cow::Borrowed(value)))
    }

    fn visit_unit<E>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw<'de>, A::Error> {
        let mut kept = Vec::new();
        match self.element() {
            Some(element) => {
                while let Some(element) = list.next_element_seed(element)? {
                    kept.push(element);
                }
            }
            None => while list.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Raw::List(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        let mut kept = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            match self.field(&name) {
                Some(shape) => kept.push((name, map.next_value_seed(shape)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Raw::Map(kept))
    }
}

/// The name of a field, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const SHAPE: Shape<'static> = Shape::Map(&[
        field(1, "name", Shape::Text),
        field(2, "ports", Shape::List(&Shape::Map(&[field(1, "port", Shape::Number)]))),
        field(3, "labels", Shape::Keys(&["a"])),
    ]);

    #[test]
    fn named_fields_are_kept_in_whatever_shape_they_have() {
        for (name, given, want) in [
            ("the rest is dropped", json!({"name": "a", "managedFields": [{"x": 1}]}), json!({"name": "a"})),
            ("lists", json!({"ports": [{"port": 1, "x": 2}, 5, null]}), json!({"ports": [{"port": 1}, 5, null]})),
            (
                "wrong shapes stay",
                json!({"name": {"a": [1.5, true]}, "ports": "x"}),
                json!({"name": {"a": [1.5, true]}, "ports": "x"}),
            ),
            ("a map for a list", json!({"ports": {"port": 1}}), json!({"ports": {}})),
            ("keys", json!({"labels": {"a": "", "b": "c"}}), json!({"labels": {"a": ""}})),
            ("escapes", json!({"name": "a\u{0}\"b"}), json!({"name": "a\u{0}\"b"})),
            ("no map", json!("x"), json!("x")),
        ] {
            assert_eq!(SHAPE.read_json(given.to_string().as_bytes()).unwrap(), Raw::from(&want), "case: {name}");
        }
        assert!(SHAPE.read_json(br#"{"name": "a"} x"#).is_err(), "trailing bytes");
        let twice = SHAPE.read_json(br#"{"name": "a", "name": "b"}"#).unwrap();
        assert_eq!(twice.at(&["name"]).as_text(), Some("b"), "the last counts");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, texty in "[\\[\\]{}\",:a-z0-9 ]{0,60}") {
            let _ = (SHAPE.read_json(&bytes), SHAPE.read_json(texty.as_bytes()));
        }
    }
}
