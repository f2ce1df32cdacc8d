//! Reads JSON into a tree of only the fields we use, whatever shape they have.
//!
//! A derived struct fails a whole list when one leaf of one object has the wrong type; a full tree keeps managedFields and
//! annotations, often most of an object. This keeps the named fields as they are, skips the rest without an allocation, and
//! leaves judging the values to [`parse`](crate::parse), which can name the field.
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Which part of a document is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep<'a> {
    /// Everything.
    All,
    /// Of a map these fields; anything that is no map as it is.
    Fields(&'a [(&'a str, Keep<'a>)]),
    /// Of a list each element reduced by this; anything that is no list as it is.
    Each(&'a Keep<'a>),
}

impl Keep<'_> {
    fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Fields(fields) => fields.iter().find(|(field, _)| *field == name).map(|(_, keep)| *keep),
            Self::All => Some(Self::All),
            Self::Each(_) => None,
        }
    }

    fn element(self) -> Option<Self> {
        match self {
            Self::Each(keep) => Some(*keep),
            Self::All => Some(Self::All),
            Self::Fields(_) => None,
        }
    }

    /// Reads one JSON document.
    ///
    /// # Errors
    /// When the bytes are not exactly one JSON document.
    pub(crate) fn read(self, json: &[u8]) -> Result<Value, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = self.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        match self.element() {
            Some(keep) => {
                while let Some(element) = list.next_element_seed(keep)? {
                    kept.push(element);
                }
            }
            None => while list.next_element::<IgnoredAny>()?.is_some() {},
        }
        Ok(Value::Array(kept))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.field(&name) {
                Some(keep) => drop(kept.insert(name, map.next_value_seed(keep)?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const KEEP: Keep<'static> =
        Keep::Fields(&[("name", Keep::All), ("ports", Keep::Each(&Keep::Fields(&[("port", Keep::All)])))]);

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
            ("no map", json!("x"), json!("x")),
        ] {
            assert_eq!(KEEP.read(given.to_string().as_bytes()).unwrap(), want, "case: {name}");
        }
        assert!(KEEP.read(br#"{"name": "a"} x"#).is_err(), "trailing bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, texty in "[\\[\\]{}\",:a-z0-9 ]{0,60}") {
            let _ = (KEEP.read(&bytes), KEEP.read(texty.as_bytes()));
        }
    }
}
