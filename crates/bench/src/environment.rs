//! Finds out where a run is made.
use crate::record::{Environment, Load};
use crate::run::tools;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs;
use std::thread::available_parallelism;

/// Settings that bear on what is measured.
const SYSCTLS: [&str; 6] = [
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_buckets",
    "net.ipv4.ip_forward",
    "kernel.unprivileged_bpf_disabled",
];

/// The machine as it is now.
pub(crate) fn found() -> Environment {
    let uname = |file: &str| read(&format!("/proc/sys/kernel/{file}")).unwrap_or_else(|| "unknown".to_owned());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Environment {
        date: Timestamp::now(),
        sheave: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: format!("{} {}", uname("osrelease"), uname("version")),
        arch: std::env::consts::ARCH.to_owned(),
        cpu_model: cpuinfo_field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
        cpus: available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_bytes: crate::usage::meminfo("MemTotal").unwrap_or(0),
        virtualisation: virtualisation(&cpuinfo),
        tools: tools().collect(),
        sysctls: SYSCTLS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), sysctl(name)?)))
            .collect::<BTreeMap<_, _>>(),
        load_before: load().unwrap_or(Load(0.0, 0.0, 0.0)),
        load_after: None,
    }
}

/// Load averages now.
pub(crate) fn load() -> Option<Load> {
    let text = read("/proc/loadavg")?;
    let mut values = text.split_whitespace().map_while(|value| value.parse().ok());
    Some(Load(values.next()?, values.next()?, values.next()?))
}

fn sysctl(name: &str) -> Option<String> {
    read(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn cpuinfo_field(cpuinfo: &str, name: &str) -> Option<String> {
    let value = |line: &str| Some(line.split_once(':').filter(|(field, _)| field.trim() == name)?.1.trim().to_owned());
    cpuinfo.lines().find_map(value)
}

/// What a guest can tell of its host: the kind of hypervisor, or that there is one.
fn virtualisation(cpuinfo: &str) -> Option<String> {
    let flags = cpuinfo_field(cpuinfo, "flags").unwrap_or_default();
    let is_guest = flags.split_whitespace().any(|flag| flag == "hypervisor");
    let kind = read("/sys/hypervisor/type").or_else(|| read("/sys/class/dmi/id/sys_vendor"));
    let product = read("/sys/class/dmi/id/product_name");
    match (is_guest, kind, product) {
        (false, None, _) => None,
        (false, ..) if read("/sys/hypervisor/type").is_none() => None,
        (_, Some(vendor), Some(product)) => Some(format!("{vendor} {product}")),
        (_, Some(kind), None) => Some(kind),
        (..) => Some("a virtual machine".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_of_itself_is_recorded() {
        let found = found();
        assert!(found.cpus >= 1 && found.memory_bytes > 0);
        assert!(!found.kernel.contains("unknown"), "{}", found.kernel);
        let cpuinfo = "processor\t: 0\nmodel name\t: Example CPU @ 2 GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(cpuinfo_field(cpuinfo, "model name").as_deref(), Some("Example CPU @ 2 GHz"));
        assert!(virtualisation(cpuinfo).is_some());
        assert_eq!(cpuinfo_field(cpuinfo, "model"), None);
    }
}
