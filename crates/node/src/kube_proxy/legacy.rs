//! kube-proxy's chains where iptables is the older variant, `iptables-legacy`. Its tables are exchanged whole, in a format of its own, so
//! this is left to its own tools, where the node has them.
use super::is_kube_proxys;
use super::rules::BUILT_IN;
use crate::keep_nat::keep;
use sheave_core::Family;
use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where administration programs lie, also when PATH does not say so.
const ALSO: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The older variant cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum LegacyError {
    /// It is in use, and its tools are not here.
    #[error(
        "the node uses iptables-legacy, and {program} is not here: run `kube-proxy --cleanup` from kube-proxy's own image \
         on this node; flows go on meanwhile"
    )]
    Missing {
        /// The program.
        program: &'static str,
    },
    /// A tool does not start.
    #[error("{program}: {source}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The chain that keeps flows translated cannot be put in.
    #[error("cannot put in the nat chain that keeps flows translated: {0}; nothing was removed")]
    Keep(io::Error),
    /// A tool failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it printed on standard error.
        said: String,
    },
}

/// What of kube-proxy's is in the tables of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegacyLeftovers {
    /// The family.
    pub family: Family,
    /// Chains: table, name. Those that rules of others lead to stay as they are.
    pub chains: Vec<(String, String)>,
    /// Rules that lead there: table, rule.
    pub jumps: Vec<(String, String)>,
}

/// Looks for them in the network namespace of the calling thread; one item for each family that has any.
///
/// # Errors
/// The older variant is in use and its tools are not here, or fail.
pub fn find() -> Result<Vec<LegacyLeftovers>, LegacyError> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        // Looking at its tables would make them: they are made when they are first looked at.
        if has_tables(family) {
            let saved = run(programs(family)[0], &[], "")?;
            found.push(leftovers(family, &saved));
        }
    }
    found.retain(|leftovers| !leftovers.chains.is_empty());
    Ok(found)
}

impl LegacyLeftovers {
    /// Removes them, table by table, each at once.
    ///
    /// # Errors
    /// The tool refuses, or the kernel has no nftables to keep flows translated with ([`crate::keep_nat`]).
    pub fn remove(&self) -> Result<(), LegacyError> {
        keep(self.family).map_err(LegacyError::Keep)?;
        run(programs(self.family)[1], &["-w", "5", "--noflush"], &self.script()).map(drop)
    }

    fn script(&self) -> String {
        let mut tables: Vec<&str> = self.chains.iter().map(|(table, _)| table.as_str()).collect();
        tables.dedup();
        let mut script = String::new();
        for table in tables {
            let of = |rows: &'_ [(String, String)]| -> Vec<String> {
                rows.iter().filter(|(of, _)| of == table).map(|(_, text)| text.clone()).collect()
            };
            let (chains, jumps) = (of(&self.chains), of(&self.jumps));
            // A chain that is named is emptied.
            let lines = [format!("*{table}")]
                .into_iter()
                .chain(chains.iter().map(|chain| format!(":{chain} - [0:0]")))
                .chain(jumps.iter().map(|jump| jump.replacen("-A", "-D", 1)))
                .chain(chains.iter().map(|chain| format!("-X {chain}")))
                .chain(["COMMIT".to_owned()]);
            lines.for_each(|line| {
                script.push_str(&line);
                script.push('\n');
            });
        }
        script
    }
}

/// Of what `iptables-save` prints.
fn leftovers(family: Family, saved: &str) -> LegacyLeftovers {
    let (mut table, mut chains, mut jumps) = (String::new(), Vec::new(), Vec::new());
    let mut used_by_others = BTreeSet::new();
    for line in saved.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(word) if word.starts_with('*') => table = word[1..].to_owned(),
            Some(word) if word.starts_with(':') && is_kube_proxys(&word[1..]) => {
                chains.push((table.clone(), word[1..].to_owned()));
            }
            Some("-A") => match (words.next().unwrap_or_default(), led_to(line)) {
                (from, Some(_)) if BUILT_IN.contains(&from) => jumps.push((table.clone(), line.to_owned())),
                (from, Some(chain)) if !is_kube_proxys(from) => {
                    used_by_others.insert((table.clone(), chain.to_owned()));
                }
                _ => {}
            },
            _ => {}
        }
    }
    chains.retain(|chain| !used_by_others.contains(chain));
    LegacyLeftovers { family, chains, jumps }
}

/// The chain of kube-proxy's that a rule leads to.
fn led_to(rule: &str) -> Option<&str> {
    let mut words = rule.split_whitespace().skip_while(|word| !matches!(*word, "-j" | "-g"));
    words.nth(1).filter(|chain| is_kube_proxys(chain))
}

fn has_tables(family: Family) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    std::fs::read_to_string(names).is_ok_and(|names| !names.trim().is_empty())
}

fn programs(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["iptables-legacy-save", "iptables-legacy-restore"],
        Family::V6 => ["ip6tables-legacy-save", "ip6tables-legacy-restore"],
    }
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, LegacyError> {
    let path = find_program(program).ok_or(LegacyError::Missing { program })?;
    let failed = |source| LegacyError::Start { program, source };
    let mut command = Command::new(path);
    let streams = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A tool that ends early closes the pipe; its status says why.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    });
    let output = output.map_err(failed)?;
    if !output.status.success() {
        return Err(LegacyError::Failed { program, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn find_program(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&paths).chain(ALSO.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "\
# Generated
*filter
:INPUT ACCEPT [1:2]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
:DOCKER - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A KUBE-SERVICES -d 10.96.0.10/32 -j KUBE-SVC-A
COMMIT
";

    /// H10
    #[test]
    fn a_saved_table_loses_kube_proxys_chains_and_what_leads_there_and_nothing_else() {
        let found = leftovers(Family::V4, SAVED);
        assert_eq!(
            found.script(),
            "*filter\n:KUBE-FORWARD - [0:0]\n\
             -D FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n-X KUBE-FORWARD\nCOMMIT\n\
             *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n\
             -D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -X KUBE-SERVICES\n-X KUBE-SVC-A\nCOMMIT\n"
        );
        assert!(leftovers(Family::V4, "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n").script().is_empty());
    }
}
