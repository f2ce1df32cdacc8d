//! What a world means, said a second time: from scratch, slowly, and without the code under test.
use crate::world::World;
use sheave_core::{Backend, Family, Frontend, ServiceKey, ServicePortName, Serving};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What should be served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) serving: BTreeMap<ServiceKey, Serving>,
    pub(crate) holders: BTreeMap<Frontend, ServiceKey>,
    pub(crate) vips: BTreeSet<IpAddr>,
}

pub(crate) fn expected(world: &World) -> Expected {
    let mut expected = Expected::default();
    let mut services: Vec<_> = world.services.values().collect();
    // X1: the older one claims first, then namespace/name.
    services.sort_by_key(|service| (service.created_unix_s, service.name.clone()));
    for service in services {
        let mut ports = service.ports.clone();
        ports.sort_by_key(|port| (port.name.clone(), port.protocol));
        for addr in &service.cluster_ips {
            expected.vips.insert(*addr);
            for port in &ports {
                let name =
                    ServicePortName { service: service.name.clone(), port: port.name.clone(), protocol: port.protocol };
                let key = ServiceKey { port: name, family: Family::of(*addr) };
                let (pick, keep) = usable(world, &key);
                let serving =
                    expected.serving.entry(key.clone()).or_insert(Serving { pick, keep, ..Serving::default() });
                let frontend = Frontend { addr: *addr, port: port.port, protocol: port.protocol };
                if expected.holders.entry(frontend).or_insert_with(|| key.clone()) == &key {
                    serving.frontends.insert(frontend);
                }
            }
        }
    }
    expected
}

/// E1, E3, W6, W9, L2.
fn usable(world: &World, key: &ServiceKey) -> (BTreeSet<Backend>, BTreeSet<Backend>) {
    let mut reports: BTreeMap<Backend, Vec<(bool, bool, bool)>> = BTreeMap::new();
    for slice in world.slices.values().filter(|s| s.service == key.port.service && s.family == key.family) {
        for port in slice.ports.iter().filter(|p| p.name == key.port.port && p.protocol == key.port.protocol) {
            for e in &slice.endpoints {
                let backend = Backend { addr: e.addr, port: port.port };
                reports.entry(backend).or_default().push((e.ready, e.serving, e.terminating));
            }
        }
    }
    let (mut ready, mut draining, mut serving) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (backend, mut entries) in reports {
        if entries.iter().any(|(_, _, terminating)| !terminating) {
            entries.retain(|(_, _, terminating)| !terminating);
        }
        if entries.iter().any(|(is_ready, _, _)| *is_ready) {
            ready.insert(backend);
        } else if entries.iter().any(|(_, is_serving, _)| *is_serving) {
            serving.insert(backend);
            if entries.iter().all(|(_, _, terminating)| *terminating) {
                draining.insert(backend);
            }
        }
    }
    let pick = if ready.is_empty() { draining } else { ready };
    let keep = serving.difference(&pick).copied().collect();
    (pick, keep)
}
