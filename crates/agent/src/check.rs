//! Preflight of this node: what the kernel and its mounts lack, each finding with its remedy. Changes nothing.
mod api_server;
mod cgroup;
mod conntrack;
mod legacy;
mod network;

pub use api_server::ApiServer;
pub use cgroup::Cgroup;
pub use conntrack::Tracking;
pub use network::Network;

use crate::config::{Config, SocketLb};
use crate::mounts::{self, Mount};
use network::sysctl;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// sheave runs, with less than it could do, or the check could not look.
    Warning,
    /// sheave cannot serve this node.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at; stable, for scripts.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; `None` when nothing is to be done.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), remedy: None }
    }

    fn bad(level: Level, name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level, found: found.into(), remedy: Some(remedy.into()) }
    }
}

/// What the checks look at, read once, so that each check is a pure function of it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Kernel release, `6.1.0-13-amd64`.
    pub release: String,
    /// Effective capabilities, a bit set (capabilities(7)).
    pub capabilities: u64,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Where maps and links are to be pinned, without symbolic links.
    pub bpffs: PathBuf,
    /// The configured cgroup, if one is, without symbolic links.
    pub cgroup: Option<PathBuf>,
    /// What stands at that cgroup, or else at the one that would be taken; `None` if nothing is to be attached.
    pub attachment: Option<Cgroup>,
    /// The API server, if there is one to ask.
    pub api_server: Option<ApiServer>,
    /// The kernel's connection tracking, if it tracks any.
    pub tracking: Option<Tracking>,
    /// Whether the kernel describes its types.
    pub btf: bool,
    /// `net.core.bpf_jit_enable`, if it can be read.
    pub jit: Option<String>,
    /// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`, if they can be read.
    pub forwarding: [Option<String>; 2],
    /// Devices, rules and programs.
    pub network: Network,
}

impl Host {
    /// Reads what an unprivileged process may read of this host and of the places the configuration names.
    #[must_use]
    pub fn read(config: &Config) -> Self {
        // What does not exist, or is not ours to look at, is judged by its name.
        let real = |path: &PathBuf| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or(path.clone());
        let cgroup = config.cgroup.as_ref().map(real);
        let taken = cgroup.clone().or_else(mounts::cgroup2_root).filter(|_| config.socket_lb != SocketLb::Off);
        Self {
            release: sysctl("kernel/osrelease").unwrap_or_default(),
            capabilities: effective_capabilities().unwrap_or(0),
            mounts: mounts::mounts(),
            bpffs: real(&config.bpffs),
            attachment: taken.map(|path| Cgroup::read(&path)),
            api_server: ApiServer::read(config),
            tracking: Tracking::read(),
            cgroup,
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            jit: sysctl("net/core/bpf_jit_enable"),
            forwarding: [sysctl("net/ipv4/ip_forward"), sysctl("net/ipv6/conf/all/forwarding")],
            network: Network::read(),
        }
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// Whether programs can be loaded and attached from here.
    #[must_use]
    pub fn privileged(&self) -> bool {
        self.has(CAP_SYS_ADMIN) || (self.has(CAP_BPF) && self.has(CAP_NET_ADMIN))
    }
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

fn effective_capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// What is tried rather than looked at. None of it is called without the privileges for it.
pub struct Trials<Load, Reach> {
    /// Loads the kernel programs, or says why that fails.
    pub load: Load,
    /// Whether a program at a cgroup sees a connect() of this process, or why that cannot be told.
    pub reach: Reach,
}

/// Looks at everything.
#[must_use]
pub fn check<Load, Reach>(host: &Host, trials: Trials<Load, Reach>) -> Vec<Finding>
where
    Load: FnOnce() -> Result<(), String>,
    Reach: FnOnce(&Path) -> Result<bool, String>,
{
    let mut findings = vec![privileges(host)];
    findings.extend(kernel(host));
    findings.push(btf(host));
    findings.push(jit(host));
    findings.push(bpffs(host));
    findings.push(cgroup2(host));
    findings.extend(host.attachment.as_ref().map(|cgroup| cgroup.finding(host.privileged(), trials.reach)));
    findings.extend(forwarding(host));
    findings.extend(network::findings(&host.network));
    findings.extend(host.api_server.as_ref().map(ApiServer::finding));
    findings.extend(host.tracking.map(Tracking::finding));
    findings.push(programs(host, trials.load));
    findings
}

/// The worst level found.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

fn privileges(host: &Host) -> Finding {
    if host.privileged() {
        return Finding::ok("privileges", "may load and attach programs");
    }
    let found = "neither CAP_SYS_ADMIN nor CAP_BPF with CAP_NET_ADMIN";
    Finding::bad(Level::Warning, "privileges", found, "run `sudo sheave check` to try the rest as well")
}

/// The first two numbers of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kernel(host: &Host) -> Vec<Finding> {
    let release = &host.release;
    let Some(version) = version(release) else {
        let found = format!("release {release:?} is not understood");
        return vec![Finding::bad(Level::Warning, "kernel", found, "check that the kernel is Linux 5.10 or newer")];
    };
    let first = if version < (5, 10) {
        Finding::bad(Level::Failure, "kernel", format!("Linux {release}"), "use Linux 5.10 or newer")
    } else {
        Finding::ok("kernel", format!("Linux {release}"))
    };
    let tcx = if version < (6, 6) {
        Finding::ok("device-entrance", "clsact (tcx comes with Linux 6.6)")
    } else {
        Finding::ok("device-entrance", "tcx")
    };
    let refuse = if version < (5, 18) {
        let found = "bpf_set_retval is missing (Linux 5.18): refusals are sent by the device entrance";
        Finding::bad(Level::Warning, "socket-refusal", found, "use Linux 5.18 or newer for ECONNREFUSED at connect()")
    } else {
        Finding::ok("socket-refusal", "ECONNREFUSED at connect()")
    };
    vec![first, tcx, refuse]
}

fn btf(host: &Host) -> Finding {
    if host.btf {
        return Finding::ok("btf", "/sys/kernel/btf/vmlinux");
    }
    let remedy = "use a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian's kernels are, from 5.10 on)";
    Finding::bad(Level::Failure, "btf", "/sys/kernel/btf/vmlinux is missing", remedy)
}

fn jit(host: &Host) -> Finding {
    match host.jit.as_deref() {
        Some("0") => {
            let remedy = "sysctl -w net.core.bpf_jit_enable=1";
            Finding::bad(Level::Warning, "jit", "programs are interpreted: several times slower", remedy)
        }
        Some(_) => Finding::ok("jit", "on"),
        None => Finding::ok("jit", "not visible from here"),
    }
}

fn bpffs(host: &Host) -> Finding {
    let shown = host.bpffs.display();
    if mounts::mount_of(&host.mounts, &host.bpffs).is_some_and(|mount| mount.fs_type == "bpf") {
        return Finding::ok("bpffs", shown.to_string());
    }
    let remedy = format!("mount -t bpf bpf {shown}");
    Finding::bad(Level::Failure, "bpffs", format!("no BPF file system at {shown}"), remedy)
}

fn cgroup2(host: &Host) -> Finding {
    if let Some(path) = &host.cgroup {
        return configured_cgroup(host, path);
    }
    let Some(mount) = mounts::cgroup2(&host.mounts) else {
        let remedy = "mount -t cgroup2 none /sys/fs/cgroup (systemd does it; see systemd.unified_cgroup_hierarchy)";
        return Finding::bad(Level::Failure, "cgroup2", "not mounted", remedy);
    };
    let shown = mount.path.display().to_string();
    if mount.levels_above().is_some() {
        return Finding::ok("cgroup2", shown);
    }
    let found = format!("{shown} shows only {}: processes outside of it would not be served at the socket", mount.root);
    Finding::bad(Level::Warning, "cgroup2", found, "mount the host's cgroup2 root into the container (hostPath)")
}

fn configured_cgroup(host: &Host, path: &Path) -> Finding {
    let shown = path.display();
    if mounts::mount_of(&host.mounts, path).is_some_and(|mount| mount.fs_type == "cgroup2") {
        return Finding::ok("cgroup2", format!("{shown}, as configured"));
    }
    let remedy = "set `cgroup` to the root of the cgroup2 mount, or leave it out";
    Finding::bad(Level::Failure, "cgroup2", format!("the configured {shown} is on no cgroup2 file system"), remedy)
}

fn forwarding(host: &Host) -> Vec<Finding> {
    let names = [("forwarding-ipv4", "net.ipv4.ip_forward"), ("forwarding-ipv6", "net.ipv6.conf.all.forwarding")];
    names
        .into_iter()
        .zip(&host.forwarding)
        .filter_map(|((name, key), value)| match value.as_deref() {
            Some("0") => {
                let remedy = format!("sysctl -w {key}=1");
                Some(Finding::bad(Level::Warning, name, format!("{key} is 0: pods' packets are not forwarded"), remedy))
            }
            Some(_) => Some(Finding::ok(name, "on")),
            None => None, // A node without IPv6 works (A14).
        })
        .collect()
}

fn programs(host: &Host, load: impl FnOnce() -> Result<(), String>) -> Finding {
    if !host.privileged() {
        let remedy = "run `sudo sheave check`";
        return Finding::bad(Level::Warning, "programs", "not tried: no privileges", remedy);
    }
    match load() {
        Ok(()) => Finding::ok("programs", "the verifier accepts them"),
        Err(reason) => {
            let remedy = "see docs/operating.md, \"The programs do not load\"; report the text with `uname -r`";
            Finding::bad(Level::Failure, "programs", reason, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The finding, its level, and what has to be missing for it.
    type Lack = (&'static str, Level, fn(&mut Host));

    fn good() -> Host {
        let mount = |path: &str, fs_type: &str| Mount { path: path.into(), root: "/".into(), fs_type: fs_type.into() };
        Host {
            release: "6.12.5-amd64".into(),
            capabilities: u64::MAX,
            mounts: vec![mount("/sys/fs/bpf", "bpf"), mount("/sys/fs/cgroup", "cgroup2")],
            bpffs: "/sys/fs/bpf".into(),
            cgroup: None,
            attachment: Some(Cgroup { path: "/sys/fs/cgroup".into(), id: Some(1), pods: false }),
            api_server: Some(ApiServer { host: "192.0.2.1".into(), cluster_ips: vec!["10.96.0.1".parse().unwrap()] }),
            tracking: Some(Tracking { count: 10, max: 262_144, early_drops: 0 }),
            btf: true,
            jit: Some("1".into()),
            forwarding: [Some("1".into()), Some("1".into())],
            network: Network { forward_drops: Some(Vec::new()), ..Network::default() },
        }
    }

    /// A kernel that takes the programs, and this process in a cgroup of `/sys/fs/cgroup`.
    fn tried(host: &Host) -> Vec<Finding> {
        let reach = |cgroup: &Path| match cgroup.to_str() {
            Some("/sys/fs/cgroup") => Ok(true),
            Some("/elsewhere") => Ok(false),
            _ => Err("no such cgroup".to_owned()),
        };
        check(host, Trials { load: || Ok(()), reach })
    }

    #[test]
    fn each_lack_is_found_under_its_name_with_a_remedy_and_nothing_else_changes() {
        use Level::{Failure, Warning};
        let lacks: [Lack; 23] = [
            ("privileges", Warning, |h| h.capabilities = 0),
            ("kernel", Failure, |h| h.release = "5.4.0".into()),
            ("socket-refusal", Warning, |h| h.release = "5.10.0-1".into()),
            ("kernel", Warning, |h| h.release = "plan9".into()),
            ("btf", Failure, |h| h.btf = false),
            ("jit", Warning, |h| h.jit = Some("0".into())),
            ("bpffs", Failure, |h| h.mounts.retain(|m| m.fs_type != "bpf")),
            ("bpffs", Failure, |h| h.bpffs = "/run/sheave".into()),
            ("cgroup2", Failure, |h| h.cgroup = Some("/run/pods".into())),
            ("cgroup2", Failure, |h| h.mounts.retain(|m| m.fs_type != "cgroup2")),
            ("cgroup2", Warning, |h| h.mounts[1].root = "/pod".into()),
            ("forwarding-ipv6", Warning, |h| h.forwarding[1] = Some("0".into())),
            ("reverse-path", Warning, |h| {
                h.network.uplinks = vec!["eth0".into(), "eth1.7".into()];
                h.network.strict = vec!["eth1.7".into(), "cni0".into()];
            }),
            ("other-programs", Warning, |h| h.network.foreign = vec!["XDP program 7 at eth0".into()]),
            ("forward-policy", Warning, |h| h.network.forward_drops = Some(vec!["ip filter FORWARD".into()])),
            ("cgroup-attachment", Warning, |h| h.attachment.as_mut().unwrap().id = Some(4711)),
            ("cgroup-attachment", Warning, |h| h.attachment.as_mut().unwrap().path = "/elsewhere".into()),
            ("cgroup-attachment", Warning, |h| h.attachment.as_mut().unwrap().path = "/unknown".into()),
            ("connection-tracking", Warning, |h| h.tracking = Some(Tracking { count: 95, max: 100, early_drops: 0 })),
            ("api-server", Warning, |h| h.api_server.as_mut().unwrap().host = "10.96.0.1".into()),
            ("api-server", Warning, |h| {
                h.api_server.as_mut().unwrap().host = "kubernetes.default.svc.cluster.local".into();
            }),
            ("forward-policy", Warning, |h| h.network.legacy_unread = vec!["iptables-legacy-save"]),
            ("other-proxies", Warning, |h| h.network.proxies = vec!["the device kube-ipvs0".into()]),
        ];
        let findings = tried(&good());
        assert_eq!(worst(&findings), Level::Ok, "{findings:?}");
        for (name, level, lack) in lacks {
            let mut host = good();
            lack(&mut host);
            let findings = tried(&host);
            let finding = findings.iter().find(|f| f.name == name && f.level == level);
            assert!(finding.is_some_and(|f| f.remedy.is_some()), "{name}: {findings:?}");
        }
    }

    #[test]
    fn a_strict_reverse_path_filter_hurts_only_where_there_is_another_way_out() {
        for (case, uplinks, strict, level) in [
            ("one uplink", &["eth0"][..], &["eth0", "cni0"][..], Level::Ok),
            ("two, neither strict", &["eth0", "eth1"], &["cni0"], Level::Ok),
            ("two, one strict", &["eth0", "eth1.7"], &["eth1.7"], Level::Warning),
        ] {
            let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let network = Network { uplinks: named(uplinks), strict: named(strict), ..good().network };
            let findings = tried(&Host { network, ..good() });
            let finding = findings.iter().find(|finding| finding.name == "reverse-path").unwrap();
            assert_eq!(finding.level, level, "case: {case}");
            if level == Level::Warning {
                assert_eq!(finding.remedy.as_deref(), Some("sysctl -w net.ipv4.conf.eth1/7.rp_filter=2"));
            }
        }
    }

    #[test]
    fn a_place_below_the_right_file_system_will_do() {
        let host =
            Host { bpffs: "/sys/fs/bpf/tenant".into(), cgroup: Some("/sys/fs/cgroup/kubepods.slice".into()), ..good() };
        assert_eq!(worst(&tried(&host)), Level::Ok);
    }

    #[test]
    fn a_load_that_fails_is_a_failure_and_is_not_tried_without_privileges() {
        let refused = Trials { load: || Err("the verifier says no".into()), reach: |_: &Path| Ok(true) };
        assert_eq!(worst(&check(&good(), refused)), Level::Failure);
        let never = Trials { load: || panic!("tried"), reach: |_: &Path| panic!("tried") };
        let findings = check(&Host { capabilities: 0, ..good() }, never);
        assert_eq!(worst(&findings), Level::Warning);
    }
}
