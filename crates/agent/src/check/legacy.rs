//! The tables of iptables-legacy, which no netlink message shows: its own tools are asked, where the node has them.
use std::process::{Command, Stdio};

/// What lists a family's tables, the file that names those there are, and the family as nft(8) names it.
const FAMILIES: [(&str, &str, &str); 2] = [
    ("iptables-legacy-save", "/proc/self/net/ip_tables_names", "ip"),
    ("ip6tables-legacy-save", "/proc/self/net/ip6_tables_names", "ip6"),
];

/// What of it concerns a proxy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Legacy {
    /// Chains that drop what is forwarded and no rule accepts.
    pub(super) forward_drops: Vec<String>,
    /// Tables with kube-proxy's chain.
    pub(super) kube_proxy: Vec<String>,
    /// Tools that are missing, or fail, although there are tables.
    pub(super) unread: Vec<&'static str>,
}

impl Legacy {
    pub(super) fn read() -> Self {
        let mut legacy = Self::default();
        for (program, names, family) in FAMILIES {
            // The tool makes the tables that it looks at; where there are none, there shall be none.
            if std::fs::read_to_string(names).unwrap_or_default().trim().is_empty() {
                continue;
            }
            match saved(program) {
                Some(saved) => legacy.add(family, &saved),
                None => legacy.unread.push(program),
            }
        }
        legacy
    }

    /// Takes what `iptables-save` prints.
    fn add(&mut self, family: &str, saved: &str) {
        let mut table = "";
        for line in saved.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some(":FORWARD"), Some("DROP")) => {
                    self.forward_drops.push(format!("{family} {table} FORWARD (legacy)"));
                }
                (Some(":KUBE-SERVICES"), _) => self.kube_proxy.push(format!("{family} {table}")),
                (Some(word), _) => table = word.strip_prefix('*').unwrap_or(table),
                (None, _) => {}
            }
        }
    }
}

fn saved(program: &str) -> Option<String> {
    let output = Command::new(program).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_kube_proxys_chains_are_found_in_every_table() {
        let filter =
            |policy: &str| format!("# Generated\n*filter\n:INPUT DROP [0:0]\n:FORWARD {policy} [9:1]\nCOMMIT\n");
        let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n";
        let mangle = "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n";
        for (case, saved, drops, proxies) in [
            ("nothing", String::new(), &[][..], &[][..]),
            ("accepts", filter("ACCEPT"), &[], &[]),
            ("drops", filter("DROP"), &["ip filter FORWARD (legacy)"], &[]),
            ("kube-proxy", format!("{}{nat}", filter("ACCEPT")), &[], &["ip nat"]),
            ("another table", format!("{nat}{mangle}"), &["ip mangle FORWARD (legacy)"], &["ip nat"]),
        ] {
            let mut legacy = Legacy::default();
            legacy.add("ip", &saved);
            assert_eq!(legacy.forward_drops, drops, "case: {case}");
            assert_eq!(legacy.kube_proxy, proxies, "case: {case}");
        }
    }
}
