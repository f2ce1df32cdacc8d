//! What kube-proxy has left on the node: found, and removed without breaking a flow (H10).
use serde::Serialize;
use sheave_core::Family;
use sheave_node::keep_nat::{self, Kept};
use sheave_node::kube_proxy::{Leftovers, OwnedChain, legacy, sets};
use sheave_node::survey;
use std::io;
use std::path::Path;

/// kube-proxy's device of its IPVS mode.
const IPVS_DEVICE: &str = "kube-ipvs0";

/// What was found, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Tables of nftables mode, as nft(8) names them.
    pub tables: Vec<String>,
    /// Chains of iptables mode, by table: `ip nat` and so on.
    pub chains: Vec<(String, usize)>,
    /// Rules of others' chains that led there.
    pub jumps: usize,
    /// ipsets of IPVS mode.
    pub sets: Vec<String>,
    /// What is still there, and why or what to do.
    pub left: Vec<String>,
    /// The table whose empty nat chain keeps translating flows that are under way; gone when they are.
    pub kept_nat: Option<&'static str>,
}

/// Nothing was removed, or not all.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    /// kube-proxy runs.
    #[error(
        "kube-proxy is running here (process {0}) and would write its rules again: delete its DaemonSet, or stop it, first; \
         --force removes them all the same"
    )]
    Running(u32),
    /// nftables.
    #[error("cannot change nftables: {0}; what was unhooked stays so: run cleanup again")]
    NfTables(io::Error),
    /// ipset.
    #[error("cannot remove the ipsets of kube-proxy: {0}; its chains are gone: run cleanup again")]
    Sets(io::Error),
    /// iptables-legacy.
    #[error(transparent)]
    Legacy(#[from] legacy::LegacyError),
}

/// What to do with what is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Removal {
    /// Name it.
    DryRun,
    /// Remove it, unless kube-proxy runs.
    Careful,
    /// Remove it.
    Forced,
}

/// Looks for kube-proxy's leftovers in this network namespace, and removes them.
///
/// # Errors
/// See [`LeftoversError`]. A node without nftables has none there.
pub fn clean_up(removal: Removal) -> Result<Report, LeftoversError> {
    if removal == Removal::Careful
        && let Some(process) = running(Path::new("/proc"))
    {
        return Err(LeftoversError::Running(process));
    }
    let found = Leftovers::find().map_err(LeftoversError::NfTables)?;
    let mut report = report(&found);
    if removal != Removal::DryRun {
        let left = found.remove().map_err(LeftoversError::NfTables)?;
        report.left.extend(left.into_iter().map(|chain| {
            let OwnedChain { family, table, name, .. } = chain;
            format!(
                "chain {name} of {} {table}: rules of others lead there; it is empty now and decides nothing. Take them away, as \
                 by leaving `externalSetMarkChain` out of the settings of the CNI plug-in portmap, and run cleanup again",
                nft_family(family)
            )
        }));
    }
    add_legacy(&mut report, removal)?;
    add_sets(&mut report, removal).map_err(LeftoversError::Sets)?;
    if survey().is_ok_and(|survey| survey.links.values().any(|link| link.name == IPVS_DEVICE)) {
        report.left.push(format!(
            "{IPVS_DEVICE} and the IPVS table: connections of IPVS mode end with them; when few are left, run \
             `kube-proxy --cleanup` from kube-proxy's own image on this node"
        ));
    }
    report.kept_nat = keep_nat::is_kept().map_err(LeftoversError::NfTables)?.then_some(keep_nat::TABLE);
    Ok(report)
}

/// Takes away the nat chain that was kept for kube-proxy's flows, if they need it no more. False when they do.
///
/// # Errors
/// The kernel does not say.
pub fn release_nat() -> io::Result<bool> {
    Ok(keep_nat::release()? != Kept::Needed)
}

fn report(found: &Leftovers) -> Report {
    let mut chains: Vec<(String, usize)> = Vec::new();
    for OwnedChain { family, table, .. } in &found.chains {
        let name = format!("{} {table}", nft_family(*family));
        match chains.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => chains.push((name, 1)),
        }
    }
    let tables = found.tables.iter().map(|family| format!("{} kube-proxy", nft_family(*family)));
    Report { tables: tables.collect(), chains, jumps: found.jumps(), ..Report::default() }
}

/// Without its tools the older variant is named and left: what is in nftables has been removed by then.
fn add_legacy(report: &mut Report, removal: Removal) -> Result<(), LeftoversError> {
    let found = match legacy::find() {
        Err(missing @ legacy::LegacyError::Missing { .. }) => {
            report.left.push(missing.to_string());
            return Ok(());
        }
        found => found?,
    };
    for legacy in found {
        let name = format!("{} (iptables-legacy)", nft_family(legacy.family));
        report.chains.push((name, legacy.chains.len()));
        report.jumps += legacy.jumps.len();
        if removal != Removal::DryRun {
            legacy.remove()?;
        }
    }
    Ok(())
}

/// Its sets, after all rules that look at them.
fn add_sets(report: &mut Report, removal: Removal) -> io::Result<()> {
    let found = sets::find()?;
    let used = if removal == Removal::DryRun { Vec::new() } else { sets::remove(&found)? };
    report.left.extend(used.iter().map(|set| format!("ipset {set}: rules of others look at it")));
    report.sets = found.into_iter().filter(|set| !used.contains(set)).collect();
    Ok(())
}

fn nft_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// A process called kube-proxy, if one is to be seen: in a container of its own process namespace none is.
fn running(proc: &Path) -> Option<u32> {
    let processes = std::fs::read_dir(proc).ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|number| {
        let name = std::fs::read_to_string(proc.join(number.to_string()).join("comm"));
        name.is_ok_and(|name| name.trim_end() == "kube-proxy")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kube_proxy_that_runs_is_seen_by_its_name() {
        let place = tempfile::tempdir().unwrap();
        for (process, name) in [("7", "kubelet\n"), ("self", "kube-proxy\n"), ("12", "kube-proxy-old\n")] {
            std::fs::create_dir(place.path().join(process)).unwrap();
            std::fs::write(place.path().join(process).join("comm"), name).unwrap();
        }
        assert_eq!(running(place.path()), None);
        std::fs::write(place.path().join("7/comm"), "kube-proxy\n").unwrap();
        assert_eq!(running(place.path()), Some(7));
        assert_eq!(running(&place.path().join("nowhere")), None);
    }
}
