//! Whether the API server is reached without a Service: a proxy that needs a ClusterIP to learn of ClusterIPs cannot begin on a node
//! that was just started.
use super::{Finding, Level};
use crate::config::Config;
use crate::login;
use sheave_bpf::read_back::read_back_live;
use sheave_core::Realized as _;
use std::net::IpAddr;

/// What the kubelet tells every container of the Service `default/kubernetes`, also where `KUBERNETES_SERVICE_HOST` says something
/// else (`pkg/kubelet/envvars/envvars.go`).
const CLUSTER_IP: &str = "KUBERNETES_PORT_443_TCP_ADDR";

/// Where the API server is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiServer {
    /// Name or address, as the configuration or the environment has it.
    pub host: String,
    /// Addresses that are known to be ClusterIPs.
    pub cluster_ips: Vec<IpAddr>,
}

impl ApiServer {
    /// `None` if the source is no API server, or nothing here says which.
    pub(super) fn read(config: &Config) -> Option<Self> {
        let host = host(config)?;
        let told = std::env::var(CLUSTER_IP).ok().and_then(|addr| addr.parse().ok());
        let held = read_back_live(&config.bpffs).map(|(image, _)| image.vips()).unwrap_or_default();
        Some(Self { host, cluster_ips: told.into_iter().chain(held).collect() })
    }

    pub(super) fn finding(&self) -> Finding {
        let (name, host) = ("api-server", &self.host);
        let addr = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_cluster_ip = addr.is_some_and(|addr| self.cluster_ips.contains(&addr));
        let by_dns = ["kubernetes.default", "kubernetes.default.svc"].iter().any(|name| host == name)
            || host.starts_with("kubernetes.default.svc.");
        if !is_cluster_ip && !by_dns {
            return Finding::ok(name, format!("{host}, no ClusterIP that is known here"));
        }
        let found = format!("{host} is the Service of the API server: nobody serves it yet when this node starts");
        let remedy = "set `server`, or KUBERNETES_SERVICE_HOST of the DaemonSet, to an address of the API server itself: \
                      kubectl get endpointslices -n default -l kubernetes.io/service-name=kubernetes";
        Finding::bad(Level::Warning, name, found, remedy)
    }
}

/// Of the server that the agent would ask. Nothing is sent.
fn host(config: &Config) -> Option<String> {
    if config.source != "kube" {
        return None;
    }
    let config = config.clone().resolve().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let client = runtime.block_on(login::of(&config).connect()).ok()?;
    client.server().host().map(str::to_owned)
}
