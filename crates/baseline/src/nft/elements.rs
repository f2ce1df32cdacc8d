//! Elements of sets and maps, of which only what differs is written.
use super::transaction::Transaction;
use std::collections::BTreeMap;
use std::fmt;

/// What stands behind a key: nothing in a set, data or a verdict in a map; and a comment, which may be empty.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Value {
    /// Data or verdict.
    pub(crate) data: String,
    /// Comment.
    pub(crate) comment: String,
}

impl Value {
    /// Without a comment.
    pub(crate) fn of(data: String) -> Self {
        Self { data, comment: String::new() }
    }
}

/// Elements by set, of type `S`, and key.
pub(crate) struct Elements<S>(BTreeMap<(S, String), Value>);

impl<S> Default for Elements<S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<S: Copy + Ord + fmt::Display> Elements<S> {
    /// Puts one in, in place of the one with that key.
    pub(crate) fn put(&mut self, set: S, key: String, value: Value) {
        self.0.insert((set, key), value);
    }

    /// Writes those that are not as they were. A comment alone makes no difference.
    pub(crate) fn ensure(&self, transaction: &mut Transaction, before: &Self) {
        for (at, value) in &self.0 {
            let (set, key) = at;
            match before.0.get(at) {
                Some(held) if held.data == value.data => continue,
                Some(_) => transaction.delete_element(set, key),
                None => {}
            }
            transaction.element(set, Element(key, value));
        }
    }

    /// Takes away those that are no more.
    pub(crate) fn clean_up(&self, transaction: &mut Transaction, after: &Self) {
        for (set, key) in self.0.keys().filter(|at| !after.0.contains_key(at)) {
            transaction.delete_element(set, key);
        }
    }

    /// Adds those of another.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}

struct Element<'a>(&'a str, &'a Value);

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, Value { comment, data }) = self;
        f.write_str(key)?;
        if !comment.is_empty() {
            write!(f, " comment \"{comment}\"")?;
        }
        if data.is_empty() { Ok(()) } else { write!(f, " : {data}") }
    }
}
