//! A document as it came, before anything is made of it: the one form in which [`parse`](mod@crate::parse) meets JSON, YAML and
//! protobuf. Texts are borrowed from the answer wherever they can be.
use serde_json::{Number, Value};
use std::borrow::Cow;

/// A value of a document.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Raw<'a> {
    Null,
    Flag(bool),
    Number(Number),
    /// A time in protobuf, seconds since 1970; JSON has a text.
    Time(i64),
    Text(Cow<'a, str>),
    List(Vec<Raw<'a>>),
    /// In the order of the document. Of a name that stands there twice the last counts, as in every reader of JSON.
    Map(Vec<(Cow<'a, str>, Raw<'a>)>),
}

impl Raw<'_> {
    /// A field of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(fields) => fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A value within maps; what is missing is null.
    pub(crate) fn at(&self, path: &[&str]) -> &Self {
        path.iter().try_fold(self, |value, name| value.get(name)).unwrap_or(&Raw::Null)
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn as_number(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    pub(crate) fn as_flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    pub(crate) fn as_time(&self) -> Option<i64> {
        if let Self::Time(unix_s) = self { Some(*unix_s) } else { None }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }
}

impl<'a> From<&'a Value> for Raw<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Map(map.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value.into())).collect())
            }
        }
    }
}
