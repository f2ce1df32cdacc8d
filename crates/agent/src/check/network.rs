//! What of the node's network gets into the way of Service traffic, or shares it.
use super::legacy::Legacy;
use super::{Finding, Level};
use sheave_bpf::attach::{foreign_programs, is_own_filter};
use sheave_node::{Chain, Link, Survey, chains, filters, serves, survey};
use std::path::Path;

/// More would hide the rest.
const NAMED_MAX: usize = 4;

/// What there is to know of a node's network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Devices that lead out of the node.
    pub uplinks: Vec<String>,
    /// Devices at which the kernel drops what it would not answer by the same device: `rp_filter` is 1.
    pub strict: Vec<String>,
    /// `net.bridge.bridge-nf-call-iptables`, where bridges are known.
    pub bridge_netfilter: Option<String>,
    /// Programs and filters of others at devices that sheave serves, each with its place.
    pub foreign: Vec<String>,
    /// Chains that drop what is forwarded and no rule accepts; `None` if they cannot be read.
    pub forward_drops: Option<Vec<String>>,
    /// Tools of iptables-legacy that could not be asked, although it has tables.
    pub legacy_unread: Vec<&'static str>,
    /// Traces of another proxy.
    pub proxies: Vec<String>,
}

impl Network {
    /// Reads what this process may read. What cannot be read is taken for absent, save where a finding says so.
    #[must_use]
    pub fn read() -> Self {
        let survey = survey().unwrap_or_default();
        let chains = chains().ok();
        let drops = |chains: &Vec<Chain>| {
            let drops = chains.iter().filter(|chain| chain.drops_forwarded);
            drops.map(|Chain { family, table, name, .. }| format!("{family} {table} {name}")).collect()
        };
        let legacy = Legacy::read();
        Self {
            uplinks: survey.uplinks().map(|link| link.name.clone()).collect(),
            strict: survey.links.values().filter(|link| is_strict(&link.name)).map(|link| link.name.clone()).collect(),
            bridge_netfilter: sysctl("net/bridge/bridge-nf-call-iptables"),
            foreign: survey.links.values().filter(|link| serves(link)).flat_map(foreign_at).collect(),
            proxies: proxies(&survey, chains.as_deref().unwrap_or_default(), &legacy),
            forward_drops: chains.as_ref().map(drops).map(|drops: Vec<String>| [drops, legacy.forward_drops].concat()),
            legacy_unread: legacy.unread,
        }
    }
}

pub(super) fn sysctl(name: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok().map(|text| text.trim().to_owned())
}

/// The kernel takes the larger one of a device's own value and that for all (Documentation/networking/ip-sysctl.rst): 2, loose,
/// beats 1, strict.
fn is_strict(device: &str) -> bool {
    let of = |device: &str| sysctl(&format!("net/ipv4/conf/{device}/rp_filter")).and_then(|value| value.parse().ok());
    of("all").max(of(device)) == Some(1_u8)
}

fn foreign_at(link: &Link) -> Vec<String> {
    let xdp = link.xdp_program.map(|id| format!("XDP program {id}"));
    let filters = filters(link.index).unwrap_or_default().into_iter();
    let filters = filters.filter(|filter| !is_own_filter(filter.priority, filter.handle));
    let filters = filters.map(|filter| format!("clsact filter {}", filter.what));
    let all = xdp.into_iter().chain(foreign_programs(&link.name)).chain(filters);
    all.map(|what| format!("{what} at {}", link.name)).collect()
}

/// kube-proxy: the device of its IPVS mode, the table of its nftables mode, the chain of its iptables mode in either variant.
fn proxies(survey: &Survey, chains: &[Chain], legacy: &Legacy) -> Vec<String> {
    let ipvs = survey.links.values().any(|link| link.name == "kube-ipvs0");
    let ipvs = ipvs.then(|| "the device kube-ipvs0 of its IPVS mode".to_owned());
    let nftables = chains.iter().find(|chain| chain.table == "kube-proxy");
    let nftables = nftables.map(|chain| format!("the table {} kube-proxy of its nftables mode", chain.family));
    let iptables = chains.iter().find(|chain| chain.name == "KUBE-SERVICES");
    let iptables = iptables.map(|chain| format!("the chain {} KUBE-SERVICES of its iptables mode", chain.table));
    let legacy = legacy.kube_proxy.first();
    let legacy = legacy.map(|table| format!("the chain {table} KUBE-SERVICES of its iptables mode (iptables-legacy)"));
    [ipvs, nftables, iptables, legacy].into_iter().flatten().collect()
}

/// All findings about the network.
pub(super) fn findings(network: &Network) -> Vec<Finding> {
    let mut findings = vec![reverse_path(network)];
    findings.extend(bridge_netfilter(network));
    findings.push(foreign(network));
    findings.push(forward_policy(network));
    findings.push(other_proxies(network));
    findings
}

/// A strict filter is harmless where there is one way out: what sheave translates goes back the way it came, and the kernel
/// sees it so. With several it drops what comes in by one and would be answered by another, before it is translated back.
fn reverse_path(Network { uplinks, strict, .. }: &Network) -> Finding {
    let hurt: Vec<&str> = uplinks.iter().filter(|uplink| strict.contains(uplink)).map(String::as_str).collect();
    if uplinks.len() < 2 || hurt.is_empty() {
        let found = if strict.is_empty() { "not strict" } else { "strict, and there is one way out of the node" };
        return Finding::ok("reverse-path", found);
    }
    let found = format!(
        "strict (rp_filter=1) at {}, and the node has {} uplinks: clients who come in by one and are routed back by \
         another are dropped",
        hurt.join(", "),
        uplinks.len()
    );
    let settings = hurt.iter().map(|device| format!("net.ipv4.conf.{}.rp_filter=2", device.replace('.', "/")));
    let remedy = format!("sysctl -w {}", settings.collect::<Vec<_>>().join(" "));
    Finding::bad(Level::Warning, "reverse-path", found, remedy)
}

/// Either value will do; it decides whether netfilter sees what pods of one bridge send each other by their own addresses.
fn bridge_netfilter(network: &Network) -> Option<Finding> {
    let value = network.bridge_netfilter.as_deref()?;
    Some(Finding::ok("bridge-netfilter", format!("bridge-nf-call-iptables is {value}; sheave works with either value")))
}

fn foreign(network: &Network) -> Finding {
    if network.foreign.is_empty() {
        return Finding::ok("other-programs", "none at the devices");
    }
    let found = format!("others have programs at the devices: {}", named(&network.foreign));
    let remedy = "make sure that they leave Service traffic alone (see `bpftool net`); those of another proxy must go";
    Finding::bad(Level::Warning, "other-programs", found, remedy)
}

/// kube-proxy accepts what it has translated and established (its chain KUBE-FORWARD); sheave puts no rule anywhere.
fn forward_policy(network: &Network) -> Finding {
    let name = "forward-policy";
    match &network.forward_drops {
        None => Finding::ok(name, "not visible from here: it needs CAP_NET_ADMIN"),
        Some(drops) if drops.is_empty() && !network.legacy_unread.is_empty() => {
            let found = "no chain of nftables drops what is forwarded; iptables-legacy is in use and cannot be asked";
            let remedy = format!("run it on the host, or look there: {}", network.legacy_unread.join("; "));
            Finding::bad(Level::Warning, name, found, remedy)
        }
        Some(drops) if drops.is_empty() => Finding::ok(name, "no chain drops what is forwarded"),
        Some(drops) => {
            let found = format!("what is forwarded is dropped unless a rule accepts it: {}", named(drops));
            let remedy = "see that the network plugin accepts what goes to and comes from pods, as most do, or set the \
                          policy to accept: iptables -P FORWARD ACCEPT";
            Finding::bad(Level::Warning, name, found, remedy)
        }
    }
}

fn other_proxies(network: &Network) -> Finding {
    if network.proxies.is_empty() {
        return Finding::ok("other-proxies", "no trace of kube-proxy");
    }
    // A12: what is on kube-ipvs0 does not keep a ClusterIP from being served.
    let found = format!("kube-proxy is here or has left {}; sheave decides before it", network.proxies.join(", "));
    let remedy = "stop kube-proxy, then run `sheave cleanup --kube-proxy`; flows go on";
    Finding::bad(Level::Warning, "other-proxies", found, remedy)
}

fn named(all: &[String]) -> String {
    let more = if all.len() > NAMED_MAX { format!(" and {} more", all.len() - NAMED_MAX) } else { String::new() };
    all.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
}
