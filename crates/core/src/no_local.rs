//! How many Services cannot be reached through this node because a policy is Local and no endpoint is here (E4, E5), while
//! others are elsewhere: kube-proxy's metric `sync_proxy_rules_no_local_endpoints_total` (H7).
use crate::desired::Desired;
use crate::name::{ServiceKey, ServiceName};
use crate::net::Family;
use crate::object::TrafficPolicy;
use crate::serving::{FrontendKind, Serving};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};

/// From where a policy governs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// internalTrafficPolicy, of ClusterIPs.
    Internal,
    /// externalTrafficPolicy, of every other frontend.
    External,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Internal, Self::External];

    /// As the label `traffic_policy` has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }

    /// Whether nobody gets through by this policy, though an endpoint is usable elsewhere. A policy that governs no frontend
    /// keeps nobody out.
    fn is_stranded(self, serving: &Serving) -> bool {
        let (policy, governs): (_, fn(&FrontendKind) -> bool) = match self {
            Self::Internal => (serving.internal, |kind| *kind == FrontendKind::ClusterIp),
            Self::External => (serving.external, |kind| *kind != FrontendKind::ClusterIp),
        };
        policy == TrafficPolicy::Local
            && serving.local.is_empty()
            && !serving.cluster.is_empty()
            && serving.frontends.iter().any(|(_, kind)| governs(kind))
    }
}

/// The counts, kept up to date by what an update touched.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct NoLocalEndpoints {
    /// Keys that are counted, with the directions they are counted for.
    stranded: Table<ServiceKey, Vec<Direction>>,
    /// How many ports of each Service are.
    services: BTreeMap<(Family, Direction), BTreeMap<ServiceName, usize>>,
}

impl NoLocalEndpoints {
    /// Looks again at these keys. Costs as many look-ups.
    pub fn update(&mut self, desired: &Desired, touched: &BTreeSet<ServiceKey>) {
        for key in touched {
            let is_stranded =
                |serving: &Serving| Direction::ALL.into_iter().filter(|d| d.is_stranded(serving)).collect();
            let now: Vec<Direction> = desired.serving(key).map(|serving| is_stranded(serving)).unwrap_or_default();
            let before = match now.is_empty() {
                true => self.stranded.remove(key),
                false => self.stranded.insert(key.clone(), now.clone()),
            };
            before.into_iter().flatten().for_each(|direction| self.leave(key, direction));
            now.into_iter().for_each(|direction| *self.ports(key, direction) += 1);
        }
    }

    /// How many Services, in one family.
    #[must_use]
    pub fn count(&self, family: Family, direction: Direction) -> usize {
        self.services.get(&(family, direction)).map_or(0, BTreeMap::len)
    }

    fn ports(&mut self, key: &ServiceKey, direction: Direction) -> &mut usize {
        let services = self.services.entry((key.family, direction)).or_default();
        services.entry(key.port.service.clone()).or_default()
    }

    fn leave(&mut self, key: &ServiceKey, direction: Direction) {
        let ports = self.ports(key, direction);
        *ports -= 1;
        if *ports == 0
            && let Some(services) = self.services.get_mut(&(key.family, direction))
        {
            services.remove(&key.port.service);
        }
    }
}
