//! `conntrack` of `KubeProxyConfiguration`: sizes and time-outs of the kernel's connection tracking.
use super::fields::{BadValue, Fields};
use super::value::Located;
use std::time::Duration;

/// Fields of Go's type int32, which kube-proxy wants to be 0 at least.
const ENTRIES_MAX: u32 = i32::MAX as u32;

/// What is asked of the kernel's connection tracking. Zero leaves a value of the kernel as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conntrack {
    /// `maxPerCore`: entries for each CPU.
    pub max_per_core: u32,
    /// `min`: entries at least, if `maxPerCore` asks for any.
    pub min: u32,
    /// `tcpEstablishedTimeout`.
    pub tcp_established: Duration,
    /// `tcpCloseWaitTimeout`.
    pub tcp_close_wait: Duration,
    /// `tcpBeLiberal`: segments outside of the window are not invalid. `false` leaves the kernel's value as it is.
    pub tcp_be_liberal: bool,
    /// `udpTimeout`, of flows without a reply.
    pub udp: Duration,
    /// `udpStreamTimeout`, of flows with replies.
    pub udp_stream: Duration,
}

/// kube-proxy's defaults (`pkg/proxy/apis/config/v1alpha1/defaults.go`).
impl Default for Conntrack {
    fn default() -> Self {
        Self {
            max_per_core: 32 * 1024,
            min: 128 * 1024,
            tcp_established: Duration::from_secs(24 * 3600),
            tcp_close_wait: Duration::from_secs(3600),
            tcp_be_liberal: false,
            udp: Duration::ZERO,
            udp_stream: Duration::ZERO,
        }
    }
}

impl Conntrack {
    pub(super) fn read(fields: &mut Fields) -> Result<Self, BadValue> {
        let default = Self::default();
        let entries = |located: &Located| located.integer(0..=ENTRIES_MAX);
        Ok(Self {
            max_per_core: fields.read("conntrack.maxPerCore", entries)?.unwrap_or(default.max_per_core),
            min: fields.read("conntrack.min", entries)?.unwrap_or(default.min),
            tcp_established: fields
                .read("conntrack.tcpEstablishedTimeout", Located::duration)?
                .unwrap_or(default.tcp_established),
            tcp_close_wait: fields
                .read("conntrack.tcpCloseWaitTimeout", Located::duration)?
                .unwrap_or(default.tcp_close_wait),
            tcp_be_liberal: fields.read("conntrack.tcpBeLiberal", Located::boolean)?.unwrap_or_default(),
            udp: fields.read("conntrack.udpTimeout", Located::duration)?.unwrap_or_default(),
            udp_stream: fields.read("conntrack.udpStreamTimeout", Located::duration)?.unwrap_or_default(),
        })
    }
}
