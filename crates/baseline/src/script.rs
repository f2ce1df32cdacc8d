//! What a sync hands to a tool, and what is in it.
use crate::tool::Tool;
use std::fmt;

/// Input for one run of one tool: a whole sync, applied at once or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Who reads it.
    pub tool: Tool,
    /// The text for standard input.
    pub text: String,
    /// What is in the text.
    pub counts: Counts,
    /// What kube-proxy asks the kernel in the course of this sync, before it writes. The text is made without: a baseline
    /// knows what it wrote. So a measurement that leaves them out flatters the peer.
    pub reads: Vec<Read>,
}

/// A run of a tool that only reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// Who is run.
    pub tool: Tool,
    /// With these arguments.
    pub args: Vec<String>,
}

/// What a script makes and takes away. Everything is counted as it is written: what a script writes anew counts again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Lines of text.
    pub lines: usize,
    /// Chains made, or emptied to be written anew; base chains of nftables too.
    pub chains: usize,
    /// Rules in all tables, without `hooks`.
    pub rules: usize,
    /// Rules in the table nat of iptables; part of `rules`, and what `kubeproxy_sync_proxy_rules_iptables_total` counts.
    pub nat_rules: usize,
    /// Rules in the built-in chains of iptables that lead to the proxy's; kube-proxy makes them by other commands.
    pub hooks: usize,
    /// Named sets and maps of nftables.
    pub sets: usize,
    /// Elements of named sets and maps.
    pub elements: usize,
    /// Chains, sets and elements taken away.
    pub deletions: usize,
}

/// Text under construction, a line at a time.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    pub(crate) text: String,
    pub(crate) count: usize,
}

impl Lines {
    /// Adds one line.
    pub(crate) fn push(&mut self, line: fmt::Arguments<'_>) {
        use fmt::Write as _;
        self.text.write_fmt(line).expect("invariant: a String takes all that is written to it");
        self.text.push('\n');
        self.count += 1;
    }
}

/// `push!(lines, "format", …)`: one line.
macro_rules! push {
    ($lines:expr, $($format:tt)*) => { $lines.push(format_args!($($format)*)) };
}
pub(crate) use push;
