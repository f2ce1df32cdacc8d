//! The fields of a document by their path, such as `conntrack.min`: which are there, which were read, which are left over.
use super::value::{Located, Place, Refusal, Value};
use std::collections::BTreeMap;

/// More would hide the rest of a message.
const NAMED_MAX: usize = 20;

/// A value cannot be used.
#[derive(Debug)]
pub(super) struct BadValue {
    pub(super) place: Place,
    pub(super) field: String,
    /// The value and what is allowed.
    pub(super) reason: String,
}

/// What a document says, field by field. Reading a field takes it out, so that what is left over is what nothing was done with.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: BTreeMap<String, Located>,
    origins: BTreeMap<&'static str, Place>,
}

impl Fields {
    /// Takes a document apart down to its `leaves`, which may be mappings themselves, and to what it does not know.
    pub(super) fn of(document: Located, is_leaf: impl Fn(&str) -> bool) -> Self {
        let mut fields = Self::default();
        fields.take_apart(document, String::new(), &is_leaf);
        fields
    }

    fn take_apart(&mut self, located: Located, path: String, is_leaf: &impl Fn(&str) -> bool) {
        match located.value {
            Value::Map(map) if !is_leaf(&path) => {
                for (name, value) in map {
                    self.take_apart(value, below(&path, &name), is_leaf);
                }
            }
            value => drop(self.values.insert(path, Located { value, ..located })),
        }
    }

    /// Puts a value of the command line in place of what the document says.
    pub(super) fn set(&mut self, field: &str, flag: &'static str, word: String) {
        let value = Located { place: Place::Flag(flag), value: Value::Word(word) };
        self.values.insert(field.to_owned(), value);
    }

    /// Reads a field; `None` if it is absent or `null`, as in Go.
    pub(super) fn read<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&Located) -> Result<T, Refusal>,
    ) -> Result<Option<T>, BadValue> {
        let Some(located) = self.values.remove(field).filter(|located| located.value != Value::Null) else {
            return Ok(None);
        };
        if !located.is_empty() {
            self.origins.insert(field, located.place);
        }
        let refused = |(place, reason)| BadValue { place, field: field.to_owned(), reason };
        read(&located).map(Some).map_err(refused)
    }

    /// What was read of a field says no more than its default.
    pub(super) fn disregard(&mut self, field: &'static str) {
        self.origins.remove(field);
    }

    /// Looks at a field that stays left over.
    pub(super) fn peek(&self, field: &str) -> Option<&Located> {
        self.values.get(field).filter(|located| located.value != Value::Null)
    }

    /// Whether nothing was said at all.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What has not been read.
    pub(super) fn left_over(&self) -> impl Iterator<Item = (&str, &Located)> {
        self.values.iter().map(|(path, located)| (path.as_str(), located))
    }

    /// Where each field stood that was read.
    pub(super) fn origins(self) -> BTreeMap<&'static str, Place> {
        self.origins
    }
}

/// A name with a dot in it is no path.
fn below(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_/".contains(c));
    let name = if plain { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Whether something of `known` lies below this path.
pub(super) fn is_section<'a>(path: &str, mut known: impl Iterator<Item = &'a str>) -> bool {
    known.any(|name| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// Names, not too many of them.
pub(super) fn named(fields: &[String]) -> String {
    let more = fields.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    fields.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
}
