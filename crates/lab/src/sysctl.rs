//! Kernel settings of a network namespace.
use std::io;
use std::path::Path;

/// A setting could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot set /proc/sys/{key} to {value}: {source}; /proc/sys has to be writable")]
pub struct SysctlError {
    /// Its path below `/proc/sys`.
    pub key: &'static str,
    /// The value that was wanted.
    pub value: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

const PROC_SYS: &str = "/proc/sys";
const IPV6: &str = "net/ipv6/";

type Settings = &'static [(&'static str, &'static str)];

/// For every namespace: addresses are usable at once, and nobody asks for routers that do not exist.
const EVERYWHERE: Settings = &[
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

/// A node forwards between its pods and its uplink. The reverse path filter is strict: the harder case for a dataplane that
/// rewrites addresses.
const FORWARDING: Settings = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "1"),
    ("net/ipv4/conf/default/rp_filter", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/forwarding", "1"),
];

/// What a namespace is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Host,
    Router,
}

/// Whether the kernel has IPv6; with `ipv6.disable=1` it has none of its settings.
pub(crate) fn ipv6_available() -> bool {
    Path::new(PROC_SYS).join(IPV6).exists()
}

/// Sets up the namespace of the calling thread, before its first device: devices copy the defaults.
pub(crate) fn apply(role: Role) -> Result<(), SysctlError> {
    let forwarding = if role == Role::Router { FORWARDING } else { &[] };
    let ipv6 = ipv6_available();
    let settings = EVERYWHERE.iter().chain(forwarding).filter(|(key, _)| ipv6 || !key.starts_with(IPV6));
    settings.copied().try_for_each(|(key, value)| set(key, value))
}

/// Makes one setting of the namespace of the calling thread.
pub(crate) fn set(key: &'static str, value: &'static str) -> Result<(), SysctlError> {
    std::fs::write(Path::new(PROC_SYS).join(key), value).map_err(|source| SysctlError { key, value, source })
}
