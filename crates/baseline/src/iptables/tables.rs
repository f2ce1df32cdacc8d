//! The text of a restore: two tables, in each first the chains, then the rules.
use super::names::Chain;
use crate::script::{Counts, Lines, push};
use std::collections::BTreeSet;
use std::fmt;

/// What goes into one restore.
#[derive(Default)]
pub(super) struct Tables {
    filter_chains: Lines,
    pub(super) filter: Lines,
    nat_chains: Lines,
    pub(super) nat: Lines,
    filter_hooks: Lines,
    nat_hooks: Lines,
    filter_deletions: usize,
    nat_deletions: usize,
}

/// One of the two tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Filter,
    Nat,
}

impl Tables {
    /// Makes a chain, or empties it.
    pub(super) fn chain(&mut self, table: Table, chain: impl fmt::Display) {
        let chains = match table {
            Table::Filter => &mut self.filter_chains,
            Table::Nat => &mut self.nat_chains,
        };
        push!(chains, ":{chain} - [0:0]");
    }

    /// Adds a line that puts a rule into a built-in chain or takes it out.
    pub(super) fn hook(&mut self, table: Table, line: fmt::Arguments<'_>) {
        match table {
            Table::Filter => self.filter_hooks.push(line),
            Table::Nat => self.nat_hooks.push(line),
        }
    }

    /// Empties the chain and takes it away.
    pub(super) fn delete_chain(&mut self, table: Table, chain: impl fmt::Display + Copy) {
        self.chain(table, chain);
        let (rules, deletions) = match table {
            Table::Filter => (&mut self.filter, &mut self.filter_deletions),
            Table::Nat => (&mut self.nat, &mut self.nat_deletions),
        };
        push!(rules, "-X {chain}");
        *deletions += 1;
    }

    /// Takes chains of Service ports away.
    pub(super) fn delete(&mut self, chains: &BTreeSet<Chain>) {
        for chain in chains {
            self.delete_chain(Table::Nat, *chain);
        }
    }

    /// The input of `iptables-restore`. Hooks come after the chains, which they lead to, and before deletions.
    pub(super) fn text(&self) -> String {
        let tables = [
            ("*filter\n", &self.filter_chains, &self.filter_hooks, &self.filter),
            ("*nat\n", &self.nat_chains, &self.nat_hooks, &self.nat),
        ];
        let length = tables.iter().map(|(head, a, b, c)| head.len() + a.text.len() + b.text.len() + c.text.len() + 7);
        let mut text = String::with_capacity(length.sum());
        for (head, chains, hooks, rules) in tables {
            text.push_str(head);
            for lines in [chains, hooks, rules] {
                text.push_str(&lines.text);
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    /// A chain that is taken away stands among the chains, to be emptied, and once more among the rules.
    pub(super) fn counts(&self) -> Counts {
        let deletions = self.filter_deletions + self.nat_deletions;
        let chains = self.filter_chains.count + self.nat_chains.count;
        let hooks = self.filter_hooks.count + self.nat_hooks.count;
        let nat_rules = self.nat.count - self.nat_deletions;
        Counts {
            lines: chains + hooks + self.filter.count + self.nat.count + 4,
            chains: chains - deletions,
            rules: nat_rules + self.filter.count - self.filter_deletions,
            nat_rules,
            hooks,
            deletions,
            ..Counts::default()
        }
    }
}
