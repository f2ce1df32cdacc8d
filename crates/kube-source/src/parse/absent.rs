//! Why an object gives no rules although there is nothing wrong with it.
use sheave_core::ServiceName;
use std::fmt;
use std::net::IpAddr;

/// Why an object is not for us: the same as if it did not exist.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Absent {
    /// A Service left to another proxy by the label `service.kubernetes.io/service-proxy-name` (W1).
    OtherProxy {
        /// Its ClusterIPs, as far as they can be read: whoever dials one finds no rule here.
        cluster_ips: Vec<IpAddr>,
    },
    /// A Service with `clusterIP: None` (W2).
    Headless,
    /// A Service without a ClusterIP: the API server has not allocated one (W2).
    NoClusterIp,
    /// A Service of type ExternalName (W3).
    ExternalName,
    /// A slice of a headless Service, by its label `service.kubernetes.io/headless` (W2).
    HeadlessSlice {
        /// That Service.
        service: ServiceName,
    },
    /// A slice whose endpoints are host names (W4).
    FqdnSlice {
        /// The Service it belongs to.
        service: ServiceName,
    },
    /// A slice whose label names no Service (W5).
    NoService,
}

impl Absent {
    /// The rule that leaves the object out.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::OtherProxy { .. } => "W1",
            Self::Headless | Self::NoClusterIp | Self::HeadlessSlice { .. } => "W2",
            Self::ExternalName => "W3",
            Self::FqdnSlice { .. } => "W4",
            Self::NoService => "W5",
        }
    }

    /// The Service that a slice would belong to.
    #[must_use]
    pub fn of_service(&self) -> Option<&ServiceName> {
        match self {
            Self::HeadlessSlice { service } | Self::FqdnSlice { service } => Some(service),
            _ => None,
        }
    }
}

impl fmt::Display for Absent {
    /// A sentence about the object, without a full stop and without the rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherProxy { .. } => "its label service.kubernetes.io/service-proxy-name leaves it to another proxy",
            Self::Headless => "it is headless (clusterIP: None): clients look its endpoints up in DNS and dial them",
            Self::NoClusterIp => "it has no clusterIP, which the API server allocates when it creates a Service",
            Self::ExternalName => "its type is ExternalName: it is a DNS alias and carries no traffic",
            Self::HeadlessSlice { .. } => {
                "its label service.kubernetes.io/headless says that it belongs to a headless Service"
            }
            Self::FqdnSlice { .. } => "its addressType is FQDN: its endpoints are host names, not addresses",
            Self::NoService => "its label kubernetes.io/service-name names no Service",
        })
    }
}
