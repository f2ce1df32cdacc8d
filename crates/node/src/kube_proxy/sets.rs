//! The ipsets of kube-proxy's IPVS mode. Its rules look addresses up in them, so they go after its chains.
use crate::attribute::inner;
use crate::dump::{ask, each};
use crate::nf_tables::uapi::{NFGENMSG_LEN, NFPROTO_IPV4};
use crate::nf_tables::{attribute, named};
use crate::notice::text;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// include/uapi/linux/netfilter/nfnetlink.h, ipset/ip_set.h
const NFNL_SUBSYS_IPSET: u16 = 6;
const IPSET_CMD_DESTROY: u16 = 3;
const IPSET_CMD_LIST: u16 = 7;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_FLAGS: u16 = 6;
/// `IPSET_PROTOCOL_MIN`, which every kernel with ipset speaks.
const IPSET_PROTOCOL: u8 = 6;
const IPSET_FLAG_LIST_SETNAME: u32 = 1 << 1;
const IPSET_ERR_BUSY: i32 = 4100;
/// `IPSET_MAXNAMELEN` without its last byte. kube-proxy cuts longer names.
const NAME_LEN_MAX: usize = 31;
/// There while the kernel has ipset. Asking it for sets would load the module.
const MODULE: &str = "/sys/module/ip_set";
/// Rules that were removed hold their sets until the kernel has freed them, which it does in passing.
const BUSY_MAX: Duration = Duration::from_secs(3);
const BUSY_POLL: Duration = Duration::from_millis(20);

/// `pkg/proxy/ipvs/ipset.go`. Others' sets begin alike, kube-router's `KUBE-SRC-` and `KUBE-DST-`.
const NAMES: [&str; 17] = [
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-EXTERNAL-IP-LOCAL",
    "KUBE-LOAD-BALANCER",
    "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-FW",
    "KUBE-LOAD-BALANCER-SOURCE-IP",
    "KUBE-LOAD-BALANCER-SOURCE-CIDR",
    "KUBE-NODE-PORT-TCP",
    "KUBE-NODE-PORT-LOCAL-TCP",
    "KUBE-NODE-PORT-UDP",
    "KUBE-NODE-PORT-LOCAL-UDP",
    "KUBE-NODE-PORT-SCTP-HASH",
    "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
];

/// Whether a set is kube-proxy's, of either family.
fn is_kube_proxys(set: &str) -> bool {
    let is = |name: &str| set == &name[..name.len().min(NAME_LEN_MAX)];
    NAMES.iter().any(|name| is(name) || is(&name.replacen("KUBE-", "KUBE-6-", 1)))
}

/// The sets of kube-proxy in the network namespace of the calling thread, by name.
///
/// # Errors
/// The kernel does not say: without `CAP_NET_ADMIN`.
pub fn find() -> io::Result<Vec<String>> {
    let mut sets = Vec::new();
    if !Path::new(MODULE).exists() {
        return Ok(sets);
    }
    let names_only = attribute(IPSET_ATTR_FLAGS, &IPSET_FLAG_LIST_SETNAME.to_be_bytes());
    each(NETLINK_NETFILTER, message_type(IPSET_CMD_LIST), &body(&names_only), |_, payload| {
        let name = payload.get(NFGENMSG_LEN..).and_then(|bytes| inner(bytes, IPSET_ATTR_SETNAME)).map(text);
        sets.extend(name.filter(|name| is_kube_proxys(name)));
        ControlFlow::Continue(())
    })?;
    sets.sort_unstable();
    Ok(sets)
}

/// Removes these sets; returns those that rules still look at.
///
/// # Errors
/// The kernel's objection. What came before it is gone.
pub fn remove(sets: &[String]) -> io::Result<Vec<String>> {
    let deadline = Instant::now() + BUSY_MAX;
    let mut left: Vec<&String> = sets.iter().collect();
    loop {
        let mut busy = Vec::new();
        for set in left {
            if !destroyed(set)? {
                busy.push(set);
            }
        }
        if busy.is_empty() || Instant::now() >= deadline {
            return Ok(busy.into_iter().cloned().collect());
        }
        left = busy;
        std::thread::sleep(BUSY_POLL);
    }
}

/// Whether a set is gone now; false while rules look at it.
fn destroyed(set: &str) -> io::Result<bool> {
    match ask(NETLINK_NETFILTER, message_type(IPSET_CMD_DESTROY), &body(&named(IPSET_ATTR_SETNAME, set))) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.raw_os_error() == Some(IPSET_ERR_BUSY) => Ok(false),
        Err(error) => Err(error),
    }
}

fn message_type(command: u16) -> u16 {
    NFNL_SUBSYS_IPSET << 8 | command
}

fn body(attributes: &[u8]) -> Vec<u8> {
    let header = [NFPROTO_IPV4, 0, 0, 0];
    [&header[..], &attribute(IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]), attributes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// H10
    #[test]
    fn sets_of_others_are_not_kube_proxys() {
        for (set, want) in [
            ("KUBE-CLUSTER-IP", true),
            ("KUBE-6-CLUSTER-IP", true),
            ("KUBE-6-LOAD-BALANCER-SOURCE-CID", true),
            ("KUBE-LOAD-BALANCER-SOURCE-CIDR", true),
            ("KUBE-LOAD-BALANCER-SOURCE-CID", false),
            ("KUBE-SRC-ABCDEFGHIJKLMNOP", false),
            ("KUBE-DST-ABCDEFGHIJKLMNOP", false),
            ("kube-router-node-ips", false),
            ("KUBE-", false),
        ] {
            assert_eq!(is_kube_proxys(set), want, "case: {set}");
        }
    }
}
