//! `conntrack` of `KubeProxyConfiguration`: sizes and time-outs of the kernel's connection tracking.
use std::time::Duration;

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
