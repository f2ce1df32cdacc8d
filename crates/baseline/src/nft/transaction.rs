//! The text of one transaction: commands about one table, a line each, as knftables writes them.
use crate::script::{Counts, Lines, push};
use sheave_core::Family;
use std::fmt;

/// Commands, performed together or not at all.
pub(crate) struct Transaction {
    /// Family and name of the table.
    table: String,
    lines: Lines,
    counts: Counts,
}

impl Transaction {
    pub(crate) fn new(family: Family, table: &str) -> Self {
        let table = format!("{} {table}", words(family).ip);
        Self { table, lines: Lines::default(), counts: Counts::default() }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.count == 0
    }

    /// The text, and what is in it.
    pub(crate) fn finish(mut self) -> (String, Counts) {
        self.counts.lines = self.lines.count;
        (self.lines.text, self.counts)
    }

    /// Makes the table if it is not there.
    pub(crate) fn table(&mut self, comment: &str) {
        push!(self.lines, "add table {} {{ comment \"{comment}\" ; }}", self.table);
    }

    /// Takes the table away with all that is in it.
    pub(crate) fn delete_table(&mut self) {
        push!(self.lines, "delete table {}", self.table);
        self.counts.deletions += 1;
    }

    /// Makes a chain if it is not there, and empties it.
    pub(crate) fn chain(&mut self, chain: impl fmt::Display, properties: &str) {
        push!(self.lines, "add chain {} {chain}{properties}", self.table);
        self.counts.chains += 1;
        self.flush_chain(chain);
    }

    /// Empties a chain.
    pub(crate) fn flush_chain(&mut self, chain: impl fmt::Display) {
        push!(self.lines, "flush chain {} {chain}", self.table);
    }

    /// Takes a chain away, which may not be there.
    pub(crate) fn delete_chain_if_any(&mut self, chain: &str) {
        push!(self.lines, "add chain {} {chain}", self.table);
        push!(self.lines, "delete chain {} {chain}", self.table);
    }

    /// Takes a chain away.
    pub(crate) fn delete_chain(&mut self, chain: impl fmt::Display) {
        push!(self.lines, "delete chain {} {chain}", self.table);
        self.counts.deletions += 1;
    }

    /// Adds a rule at the end of a chain.
    pub(crate) fn rule(&mut self, chain: impl fmt::Display, rule: fmt::Arguments<'_>) {
        push!(self.lines, "add rule {} {chain} {rule}", self.table);
        self.counts.rules += 1;
    }

    /// Makes a set or a map (`kind`) if it is not there.
    pub(crate) fn set(&mut self, kind: &str, name: impl fmt::Display, properties: fmt::Arguments<'_>) {
        push!(self.lines, "add {kind} {} {name} {{ {properties} ; }}", self.table);
        self.counts.sets += 1;
    }

    /// Takes a set away.
    pub(crate) fn delete_set(&mut self, name: impl fmt::Display) {
        push!(self.lines, "delete set {} {name}", self.table);
        self.counts.deletions += 1;
    }

    /// Adds an element to a set or map.
    pub(crate) fn element(&mut self, set: impl fmt::Display, element: impl fmt::Display) {
        push!(self.lines, "add element {} {set} {{ {element} }}", self.table);
        self.counts.elements += 1;
    }

    /// Takes an element away.
    pub(crate) fn delete_element(&mut self, set: impl fmt::Display, key: impl fmt::Display) {
        push!(self.lines, "delete element {} {set} {{ {key} }}", self.table);
        self.counts.deletions += 1;
    }
}

/// What is called differently in the two families.
pub(crate) struct Words {
    /// Family of the table, and the protocol whose addresses are matched.
    pub(crate) ip: &'static str,
    /// Type of an address.
    pub(crate) addr: &'static str,
}

/// The words of a family.
pub(crate) fn words(family: Family) -> Words {
    match family {
        Family::V4 => Words { ip: "ip", addr: "ipv4_addr" },
        Family::V6 => Words { ip: "ip6", addr: "ipv6_addr" },
    }
}

/// `rule!(transaction, chain, "matches and verdict", …)`: one rule.
macro_rules! rule {
    ($transaction:expr, $chain:expr, $($format:tt)*) => { $transaction.rule($chain, format_args!($($format)*)) };
}
pub(crate) use rule;
