//! From what this node should serve to what a baseline is asked to serve, so that every dataplane starts from the same.
//!
//! A port whose ClusterIP another Service has (X1) is left out: kube-proxy would let the two fight. Desired state has no port
//! for the load balancer's health checks, so none comes from here.
use crate::ruleset::{Ruleset, ServedPort};
use ipnet::IpNet;
use sheave_core::{
    Backend, Desired, Family, FlatSet, FrontendKind, ServiceKey, ServiceName, Serving, Sources, Touched,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

impl Ruleset {
    /// All that should be served of one family.
    #[must_use]
    pub fn of(desired: &Desired, family: Family) -> Self {
        let mut rules = Self::new(family);
        for key in desired.keys() {
            rules.take_over(desired, &key);
        }
        rules
    }

    /// Brings what an update touched up to date; names the Services of the family that it touched.
    pub fn update(&mut self, desired: &Desired, touched: &Touched) -> BTreeSet<ServiceName> {
        let of_family = touched.keys.iter().filter(|key| key.family == self.family());
        let keys: Vec<_> = of_family.collect();
        keys.iter().for_each(|key| self.take_over(desired, key));
        keys.into_iter().map(|key| key.port.service.clone()).collect()
    }

    fn take_over(&mut self, desired: &Desired, key: &ServiceKey) {
        if key.family != self.family() {
            return;
        }
        match desired.serving(key).and_then(|serving| served(key, serving)) {
            Some(port) => self.insert(port),
            None => self.remove_port(&key.port),
        }
    }
}

fn served(key: &ServiceKey, serving: &Serving) -> Option<ServedPort> {
    let of_kind = |wanted| {
        let frontends = serving.frontends.iter().filter(move |(_, kind)| **kind == wanted);
        frontends.map(|(frontend, _)| *frontend)
    };
    let addrs = |kind| of_kind(kind).map(|frontend| frontend.addr).collect::<Vec<IpAddr>>();
    let cluster = of_kind(FrontendKind::ClusterIp).next()?;
    let load_balancer_ips = addrs(FrontendKind::LoadBalancer);
    Some(ServedPort {
        name: key.port.clone(),
        cluster_ip: cluster.addr,
        port: cluster.port,
        node_port: of_kind(FrontendKind::NodePort).next().map(|frontend| frontend.port),
        source_ranges: serving
            .sources
            .as_deref()
            .map(|sources| ranges(sources, &load_balancer_ips))
            .unwrap_or_default(),
        load_balancer_ips,
        external_ips: addrs(FrontendKind::ExternalIp),
        internal: serving.internal,
        external: serving.external,
        affinity: serving.affinity,
        health_check_node_port: None,
        cluster: backends(&serving.cluster),
        local: backends(&serving.local),
    })
}

fn backends(set: &FlatSet<Backend>) -> Arc<[Backend]> {
    set.keys().copied().collect()
}

/// The ranges as the Service has them: that the load balancer's own addresses may be sources is for the layout to say.
fn ranges(sources: &Sources, load_balancer_ips: &[IpAddr]) -> Vec<IpNet> {
    let own: Vec<IpNet> = load_balancer_ips.iter().copied().map(IpNet::from).collect();
    sources.ranges.iter().filter(|range| !own.contains(range)).copied().collect()
}
