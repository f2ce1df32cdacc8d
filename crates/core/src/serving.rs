//! What one [`ServiceKey`](crate::ServiceKey) serves: the common language of desired state, plan and dataplanes.
use crate::flat::{FlatMap, FlatSet, beyond};
use crate::net::{Backend, Family, Frontend};
use crate::object::{Affinity, Service, TrafficPolicy};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// By what right a frontend is a Service's, the strongest first: one that is listed earlier beats a later one (X1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FrontendKind {
    /// An address the API allocates (A1).
    ClusterIp,
    /// A port the API allocates, on addresses of the node (A4). It never meets another kind: its frontend has the wildcard
    /// address.
    NodePort,
    /// An address from the Service's status (A7).
    LoadBalancer,
    /// An address from the Service's spec (A10).
    ExternalIp,
}

impl FrontendKind {
    /// As Kubernetes users know it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "ExternalIP",
        }
    }
}

/// What one family of one Service port serves.
///
/// Wanted in `Desired`, held in a dataplane. Equal means nothing to write (I2). Which of the two sets a new flow picks from
/// follows from the frontend's kind, the policies and the source: [`treat`](crate::treatment::treat).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Serving {
    /// Where clients dial. A frontend that lost to another Service (X1) is not in it.
    pub frontends: FlatMap<Frontend, FrontendKind>,
    /// The policy of its ClusterIPs (E4).
    pub internal: TrafficPolicy,
    /// The policy of its other frontends (E5).
    pub external: TrafficPolicy,
    /// What new flows may pick from all of the cluster, uniformly at random (E1, E9). Empty: no endpoint is usable anywhere
    /// (E11).
    pub cluster: FlatSet<Backend>,
    /// What new flows may pick on this node (E2). Empty where neither policy is Local.
    pub local: FlatSet<Backend>,
    /// Serving, but in neither set: flows that already name one of these go on (L2).
    pub keep: FlatSet<Backend>,
    /// New flows of one client go where its last one went (E10).
    pub affinity: Option<Affinity>,
    /// Who may dial its LoadBalancer addresses (R8); `None` = everyone.
    pub sources: Option<Arc<Sources>>,
}

impl Serving {
    /// The set a policy picks from.
    #[must_use]
    pub fn set(&self, policy: TrafficPolicy) -> &FlatSet<Backend> {
        match policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.local,
        }
    }

    /// The policy that governs a kind of frontend: internal for ClusterIPs (E4), external for the others (E5).
    #[must_use]
    pub fn policy(&self, kind: FrontendKind) -> TrafficPolicy {
        match kind {
            FrontendKind::ClusterIp => self.internal,
            FrontendKind::NodePort | FrontendKind::LoadBalancer | FrontendKind::ExternalIp => self.external,
        }
    }

    /// Every backend that flows may be on: in a set, or kept.
    pub fn members(&self) -> impl Iterator<Item = &Backend> {
        let local = self.local.keys().filter(|backend| !self.cluster.contains(backend));
        self.cluster.keys().chain(local).chain(self.keep.keys())
    }

    /// Those of [`Self::members`] that none of these has, in one pass over each set; one that is in both sets comes twice.
    pub fn members_beyond<'a, const N: usize, V>(
        &'a self,
        known: [&'a FlatMap<Backend, V>; N],
    ) -> impl Iterator<Item = &'a Backend> {
        self.sets().into_iter().flat_map(move |set| beyond(set.keys(), known))
    }

    /// What [`Self::members`] are in.
    #[must_use]
    pub fn sets(&self) -> [&FlatSet<Backend>; 3] {
        [&self.cluster, &self.local, &self.keep]
    }
}

/// loadBalancerSourceRanges of one family (R8): who may dial its LoadBalancer addresses.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sources {
    /// Sources inside one of these may dial. Sorted; neither empty nor everything.
    pub ranges: Vec<IpNet>,
}

impl Sources {
    /// Of a Service in one family; `None` where nothing is restricted: there is no range of the family, or one that takes
    /// everything in. If the node's primary address is inside, the LoadBalancer addresses may themselves be sources, since
    /// the node uses them as such when it takes them for its own (kube-proxy's `allowFromNode`).
    #[must_use]
    pub fn of(service: &Service, family: Family, node: Option<IpAddr>) -> Option<Self> {
        let of_family = |range: &&IpNet| Family::of(range.addr()) == family;
        let mut ranges: Vec<IpNet> = service.source_ranges.iter().filter(of_family).copied().collect();
        if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
            return None;
        }
        if node.is_some_and(|node| ranges.iter().any(|range| range.contains(&node))) {
            let vips = service.load_balancer_ips.iter().filter(|vip| Family::of(**vip) == family);
            ranges.extend(vips.map(|vip| IpNet::from(*vip)));
        }
        ranges.sort_unstable();
        ranges.dedup();
        Some(Self { ranges })
    }

    /// Whether `source` may dial.
    #[must_use]
    pub fn allow(&self, source: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Port;

    fn backends(hosts: &[u8]) -> FlatSet<Backend> {
        let port = Port::new(80).expect("not 0");
        hosts.iter().map(|host| Backend { addr: [10, 0, 0, *host].into(), port }).collect()
    }

    fn hosts<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Vec<String> {
        backends.into_iter().map(|backend| backend.addr.to_string()).collect()
    }

    #[test]
    fn members_are_those_of_both_sets_and_the_kept_ones_each_once() {
        let serving = Serving {
            cluster: backends(&[1, 3]),
            local: backends(&[2, 3]),
            keep: backends(&[4]),
            ..Serving::default()
        };
        assert_eq!(hosts(serving.members()), ["10.0.0.1", "10.0.0.3", "10.0.0.2", "10.0.0.4"]);
        let other = Serving { local: backends(&[1, 4]), keep: backends(&[3]), ..Serving::default() };
        assert_eq!(hosts(serving.members_beyond(other.sets())), ["10.0.0.2"]);
        assert_eq!(hosts(other.members_beyond(serving.sets())), Vec::<String>::new());
        let has = |host| serving.members().any(|backend| backends(&[host]).contains(backend));
        assert_eq!([1, 2, 3, 4, 5].map(has), [true, true, true, true, false]);
        assert_eq!(hosts(serving.set(TrafficPolicy::Cluster).keys()), ["10.0.0.1", "10.0.0.3"]);
        assert_eq!(hosts(serving.set(TrafficPolicy::Local).keys()), ["10.0.0.2", "10.0.0.3"]);
    }

    #[test]
    fn each_policy_governs_its_kinds_of_frontend() {
        use FrontendKind::{ClusterIp, ExternalIp, LoadBalancer, NodePort};
        use TrafficPolicy::{Cluster, Local};
        for (internal, external) in [(Cluster, Local), (Local, Cluster)] {
            let serving = Serving { internal, external, ..Serving::default() };
            let governs = [ClusterIp, NodePort, LoadBalancer, ExternalIp].map(|kind| serving.policy(kind));
            assert_eq!(governs, [internal, external, external, external], "E4, E5");
        }
    }
}
