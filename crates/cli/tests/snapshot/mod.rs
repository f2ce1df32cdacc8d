//! What a host is like, as far as sheave could have changed it: everything a command of sheave touches, seen from outside.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tools that show one thing each of the network that asks. Counters and ages are none of it.
const OF_NETWORK: &[(&str, &[&str])] = &[
    ("links", &["ip", "-d", "link", "show"]),
    ("IPv4 addresses", &["ip", "-4", "addr", "show"]),
    ("IPv6 addresses", &["ip", "-6", "addr", "show", "scope", "global"]),
    ("IPv4 routes", &["ip", "-4", "route", "show", "table", "all"]),
    ("IPv6 routes", &["ip", "-6", "route", "show", "table", "all"]),
    ("IPv4 rules", &["ip", "-4", "rule", "show"]),
    ("IPv6 rules", &["ip", "-6", "rule", "show"]),
    ("neighbours that stay", &["ip", "neigh", "show", "nud", "permanent"]),
    ("queueing", &["tc", "qdisc", "show"]),
    ("nftables", &["nft", "-s", "list", "ruleset"]),
    // These show the tables that there are, and make none, as asking for one would.
    ("iptables", &["iptables-legacy-save"]),
    ("ip6tables", &["ip6tables-legacy-save"]),
    ("ipset", &["ipset", "save"]),
];
/// The same of the machine.
const OF_MACHINE: &[(&str, &[&str])] = &[
    ("BPF programs", &["bpftool", "prog", "show"]),
    ("BPF maps", &["bpftool", "map", "show"]),
    ("BPF links", &["bpftool", "link", "show"]),
];
/// What the kernel counts or draws by itself.
const RESTLESS: &[&str] = &["conntrack_count", "expect_count", "ns_last_pid", "random", "uuid", "nr_", "route/flush"];

/// By what was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// The network and the mounts that this thread sees: what others do elsewhere meanwhile is none of it.
    pub(crate) fn of_namespaces() -> Self {
        let mut seen = shown_by(OF_NETWORK);
        settings(Path::new("/proc/sys/net"), &mut seen);
        seen.insert("mounts".to_owned(), fs::read_to_string("/proc/thread-self/mountinfo").unwrap());
        seen.insert("pins".to_owned(), listed("/sys/fs/bpf", |_| true));
        Self(seen)
    }

    /// The whole machine, for a test that is alone on it.
    pub(crate) fn of_machine() -> Self {
        let Self(mut seen) = Self::of_namespaces();
        seen.append(&mut shown_by(OF_MACHINE));
        settings(Path::new("/proc/sys/kernel"), &mut seen);
        let cgroups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|root| listed(root, Path::is_dir));
        seen.insert("cgroups".to_owned(), cgroups.concat());
        seen.insert("named namespaces".to_owned(), listed("/run/netns", |_| true));
        Self(seen)
    }

    /// What differs afterwards: what was looked at, with the lines that came and went.
    pub(crate) fn differences(&self, after: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(after.0.keys().filter(|key| !self.0.contains_key(*key)));
        let changed = keys.filter(|key| self.0.get(*key) != after.0.get(*key));
        changed.map(|key| format!("{key}:{}", lines(self.0.get(key), after.0.get(key)))).collect()
    }
}

fn lines(before: Option<&String>, after: Option<&String>) -> String {
    let of = |text: Option<&String>| {
        text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let (before, after) = (of(before), of(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("\n  - {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("\n  + {line}"));
    gone.chain(new).collect()
}

fn shown_by(tools: &[(&str, &[&str])]) -> BTreeMap<String, String> {
    tools.iter().map(|(what, command)| ((*what).to_owned(), shown(command))).collect()
}

/// What a tool says; a tool that is not there shows nothing, before and after.
fn shown(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // Of a program only what it is, not when it was loaded or how often it ran; iptables-save says the time.
    let lasting = |line: &&str| !line.starts_with('#') && !line.trim_start().starts_with("valid_lft");
    text.lines().filter(lasting).map(|line| format!("{line}\n")).collect()
}

/// Every kernel setting below a directory.
fn settings(directory: &Path, seen: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.display().to_string();
        if RESTLESS.iter().any(|restless| name.contains(restless)) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => settings(&path, seen),
            _ => drop(fs::read_to_string(&path).map(|value| seen.insert(name, value))),
        }
    }
}

fn listed(directory: &str, is_meant: impl Fn(&Path) -> bool) -> String {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let paths: BTreeSet<PathBuf> = paths.filter(|path| is_meant(path)).collect();
    paths.into_iter().map(|path| format!("{}\n", path.display())).collect()
}
