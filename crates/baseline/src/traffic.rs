//! Which sets of endpoints a Service port needs on this node. Both modes of kube-proxy share these rules
//! (kubernetes/kubernetes, `pkg/proxy/topology.go` and `pkg/proxy/serviceport.go`).
use crate::ruleset::ServedPort;
use sheave_core::{Backend, TrafficPolicy};
use std::borrow::Cow;
use std::collections::BTreeSet;

impl ServedPort {
    /// Whether it can be dialled at anything but its ClusterIP.
    pub(crate) fn externally_accessible(&self) -> bool {
        self.node_port.is_some() || !self.load_balancer_ips.is_empty() || !self.external_ips.is_empty()
    }

    /// Whether any endpoint is usable, wherever it runs.
    pub(crate) fn has_endpoints(&self) -> bool {
        !self.cluster.is_empty() || !self.local.is_empty()
    }

    /// Whether traffic to the ClusterIP has somewhere to go.
    pub(crate) fn has_internal_endpoints(&self) -> bool {
        self.has_endpoints() && (self.internal == TrafficPolicy::Cluster || !self.local.is_empty())
    }

    /// Whether traffic from outside has somewhere to go.
    pub(crate) fn has_external_endpoints(&self) -> bool {
        self.has_endpoints() && (self.external == TrafficPolicy::Cluster || !self.local.is_empty())
    }

    /// Whether the set of the policy Cluster is used. An external policy Local needs it too: what comes from this node is
    /// short-circuited to it.
    pub(crate) fn uses_cluster(&self) -> bool {
        (self.internal == TrafficPolicy::Cluster || self.externally_accessible()) && !self.cluster.is_empty()
    }

    /// Whether the set of the policy Local is used.
    pub(crate) fn uses_local(&self) -> bool {
        let external = self.external == TrafficPolicy::Local && self.externally_accessible();
        (self.internal == TrafficPolicy::Local || external) && !self.local.is_empty()
    }

    /// Whether there is a chain for traffic from outside.
    pub(crate) fn uses_external(&self) -> bool {
        self.has_endpoints() && self.externally_accessible()
    }

    /// Whether sources are restricted at the load balancer's addresses.
    pub(crate) fn restricts_sources(&self) -> bool {
        !self.load_balancer_ips.is_empty() && !self.source_ranges.is_empty()
    }

    /// Every endpoint that a chain of this port leads to, in order.
    pub(crate) fn reachable(&self) -> Cow<'_, [Backend]> {
        match (self.uses_cluster(), self.uses_local()) {
            (true, false) => Cow::Borrowed(&self.cluster),
            (false, true) => Cow::Borrowed(&self.local),
            (false, false) => Cow::Borrowed(&[]),
            (true, true) => {
                let both: BTreeSet<Backend> = self.cluster.iter().chain(&*self.local).copied().collect();
                Cow::Owned(both.into_iter().collect())
            }
        }
    }
}
