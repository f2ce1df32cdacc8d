//! A synthetic cluster of any shape, and how it changes: the one thing every dataplane starts from.
//!
//! Nothing is drawn at random while it runs: which Service a round changes follows from the seed, the operation and the round
//! alone, so every dataplane sees the same changes, each in a process of its own.
mod addresses;
mod edit;
mod sizes;

pub use addresses::{ENDPOINTS, NETWORK, NODE_ADDR, PODS};
pub(crate) use addresses::{ENDPOINTS_MAX, SERVICES_MAX};
pub use edit::{Edit, ROLLING_BACKENDS, ROLLING_STEPS, after, before, edits};
pub(crate) use sizes::{NODE_PORTS_MAX, Sizes, endpoints, node_ports};

use crate::record::Shape;
use sheave_core::{
    Desired, DetectLocal, Endpoint, EndpointSlice, Event, Family, Index, Kind, Node, Object, ObjectName, Port,
    Protocol, ProxyConfig, Service, ServiceName, ServicePort, SliceName, SlicePort, Touched,
};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Endpoints of one slice: what the EndpointSlice controller puts into one unless it is told otherwise
/// (kubernetes/kubernetes, `maxEndpointsPerSlice`).
const SLICE_MAX: usize = 100;
const NODE: &str = "node";
/// The port clients dial, and the one backends listen on.
const PORT: u16 = 80;
/// Where backends listen.
pub const TARGET_PORT: u16 = 8080;

/// The cluster as it is now, and what this node should serve of it.
#[derive(Debug)]
pub struct Cluster {
    sizes: Sizes,
    index: Index,
    desired: Desired,
    /// Endpoints that are at their other address, by Service.
    moved: HashMap<u32, BTreeSet<u32>>,
}

/// A change, as a dataplane sees it and as a client can tell that it is in force.
#[derive(Debug)]
pub struct Step {
    /// What a plan has to look at.
    pub touched: Touched,
    /// What a client may dial then, to see the change.
    pub frontend: SocketAddr,
    /// Who may answer; nobody, when it was the last step of a Service.
    pub answers: BTreeSet<IpAddr>,
}

impl Cluster {
    /// All Services of a shape, with all their endpoints.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let sizes = Sizes::new(shape);
        let mut cluster =
            Self { sizes, index: Index::new(NODE), desired: Desired::new(config()), moved: HashMap::new() };
        let count = shape.services;
        let node =
            Node { name: NODE.into(), zone: None, addresses: vec![NODE_ADDR], pod_cidrs: Vec::new(), leaving: None };
        let services = (0..count).map(|number| Object::Service(cluster.service(number))).collect();
        let slices = (0..count).flat_map(|number| cluster.slices(number)).map(Object::EndpointSlice).collect();
        for (kind, objects) in [
            (Kind::Node, vec![Object::Node(node)]),
            (Kind::ServiceCidr, Vec::new()),
            (Kind::Service, services),
            (Kind::EndpointSlice, slices),
        ] {
            cluster.index.apply(Event::Listed { kind, objects, kept: Vec::new() });
        }
        cluster.settle();
        cluster
    }

    /// What this node should serve.
    #[must_use]
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// A Service as it stands: what a dataplane is asked whether it can carry it.
    #[must_use]
    pub fn sample(&self) -> Vec<Service> {
        let count = self.sizes.shape().services;
        // NodePorts are spread evenly, so a hundred Services have all kinds that there are.
        (0..count.min(100)).map(|number| self.service(number)).collect()
    }

    /// How a client sees a Service that is there and does not change.
    #[must_use]
    pub fn view(&self, service: u32) -> Step {
        self.step(service, Touched::default())
    }

    /// Makes a change.
    pub fn apply(&mut self, edit: &Edit) -> Step {
        match edit {
            Edit::Replace(endpoints) => self.replace(endpoints),
            Edit::Add { backends } => {
                self.sizes.set_extra(Some(*backends));
                let number = self.sizes.extra();
                self.moved.remove(&number);
                self.index.apply(Event::Applied(Object::Service(self.service(number))));
                self.write_slices(number);
                self.settled(number)
            }
            Edit::Remove => {
                let number = self.sizes.extra();
                for slice in self.slices(number) {
                    self.index.apply(Event::Deleted(ObjectName::EndpointSlice(slice.name)));
                }
                self.index.apply(Event::Deleted(ObjectName::Service(name(number))));
                self.sizes.set_extra(None);
                self.settled(number)
            }
        }
    }

    fn replace(&mut self, endpoints: &[(u32, u32)]) -> Step {
        for (service, endpoint) in endpoints {
            let moved = self.moved.entry(*service).or_default();
            if !moved.remove(endpoint) {
                moved.insert(*endpoint);
            }
        }
        let services: BTreeSet<u32> = endpoints.iter().map(|(service, _)| *service).collect();
        services.iter().for_each(|service| self.write_slices(*service));
        self.settled(services.first().copied().unwrap_or(0))
    }

    fn write_slices(&mut self, service: u32) {
        for slice in self.slices(service) {
            self.index.apply(Event::Applied(Object::EndpointSlice(slice)));
        }
    }

    fn settle(&mut self) -> Touched {
        let changed = self.index.take_changed();
        self.desired.update(&self.index, &changed)
    }

    fn settled(&mut self, service: u32) -> Step {
        let touched = self.settle();
        self.step(service, touched)
    }

    fn step(&self, service: u32, touched: Touched) -> Step {
        let frontend = SocketAddr::new(addresses::vip(service), PORT);
        Step { touched, frontend, answers: self.addrs(service).collect() }
    }

    fn addrs(&self, service: u32) -> impl Iterator<Item = IpAddr> {
        let (first, moved) = (self.sizes.first(service), self.moved.get(&service));
        let is_moved = move |endpoint| moved.is_some_and(|moved| moved.contains(&endpoint));
        (0..self.sizes.of(service)).map(move |endpoint| addresses::pod(first + endpoint, is_moved(endpoint)))
    }

    fn service(&self, number: u32) -> Service {
        let node_port = self.sizes.node_port(number);
        let port = ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(PORT), node_port };
        Service {
            created_unix_s: 1_700_000_000 + i64::from(number),
            cluster_ips: vec![addresses::vip(number)],
            ports: vec![port],
            load_balancer_ips: self
                .sizes
                .has_load_balancer(number)
                .then(|| addresses::outside(number))
                .into_iter()
                .collect(),
            ..Service::new(name(number))
        }
    }

    fn slices(&self, service: u32) -> Vec<EndpointSlice> {
        let addrs: Vec<IpAddr> = self.addrs(service).collect();
        let slice = |(nth, addrs): (usize, &[IpAddr])| {
            let ServiceName { namespace, name } = name(service);
            EndpointSlice {
                name: SliceName { namespace: Arc::clone(&namespace), name: format!("{name}-{nth}").into() },
                service: ServiceName { namespace, name },
                family: Family::V4,
                ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(TARGET_PORT) }],
                endpoints: addrs.iter().copied().map(Endpoint::ready).collect(),
            }
        };
        addrs.chunks(SLICE_MAX).enumerate().map(slice).collect()
    }
}

/// The detector that kube-proxy is given most often: by the pods' network (R5).
fn config() -> ProxyConfig {
    ProxyConfig { detect_local: DetectLocal::ClusterCidr(vec![PODS]), ..ProxyConfig::default() }
}

fn name(number: u32) -> ServiceName {
    ServiceName::new(&format!("team-{}", number % 100), &format!("service-{number}"))
}

fn port(number: u16) -> Port {
    Port::new(number).expect("invariant: ports of the cluster are not 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Backends, Percent, SyncOperation};
    use sheave_core::ServiceKey;

    fn cluster(services: u32, backends: Backends) -> Cluster {
        Cluster::new(Shape::new(services, backends))
    }

    fn sets(cluster: &Cluster) -> Vec<(ServiceKey, usize)> {
        let size = |key: &ServiceKey| cluster.desired().serving(key).unwrap().cluster.len();
        cluster.desired().keys().into_iter().map(|key| (key.clone(), size(&key))).collect()
    }

    #[test]
    fn a_shape_has_its_services_with_their_backends() {
        for (backends, want) in [(Backends::Each(1), 1), (Backends::Each(7), 7), (Backends::Each(250), 250)] {
            let cluster = cluster(20, backends);
            assert_eq!(sets(&cluster).len(), 20);
            assert!(sets(&cluster).iter().all(|(_, size)| *size == want), "{backends}");
        }
        let mix = sets(&cluster(328, Backends::LoadTestMix));
        for (size, want) in [(5, 300), (30, 25), (250, 3)] {
            assert_eq!(mix.iter().filter(|(_, of)| *of == size).count(), want, "Services of {size}");
        }
    }

    #[test]
    fn an_edit_changes_what_it_names_and_a_second_one_takes_it_back() {
        let mut cluster = cluster(50, Backends::Each(3));
        let before = cluster.desired().clone();
        let old = cluster.view(7).answers;
        let step = cluster.apply(&Edit::Replace(vec![(7, 1)]));
        assert_eq!(step.touched.keys.len(), 1);
        assert_eq!((step.answers.intersection(&old).count(), step.answers.len()), (2, 3));
        cluster.apply(&Edit::Replace(vec![(7, 1)]));
        assert!(*cluster.desired() == before);
        let added = cluster.apply(&Edit::Add { backends: 250 });
        assert_eq!((added.answers.len(), sets(&cluster).len()), (250, 51));
        let removed = cluster.apply(&Edit::Remove);
        assert_eq!((removed.answers.len(), removed.frontend), (0, added.frontend));
        assert!(*cluster.desired() == before);
    }

    #[test]
    fn a_round_makes_the_same_edits_whoever_asks() {
        let shape = Shape::new(1000, Backends::Each(10));
        for operation in [SyncOperation::EndpointChanged, SyncOperation::Churn, SyncOperation::RollingUpdate] {
            let of = |round| edits(shape, 7, operation, round);
            assert_eq!(of(3), of(3));
            assert_ne!(of(3), of(4), "{operation:?}");
        }
        let replaced = |edits: &[Edit]| {
            edits.iter().map(|edit| if let Edit::Replace(all) = edit { all.len() } else { 0 }).sum::<usize>()
        };
        assert_eq!(replaced(&edits(shape, 7, SyncOperation::Churn, 0)), 100, "1 % of 10,000");
        assert_eq!(replaced(&edits(shape, 7, SyncOperation::RollingUpdate, 0)), 250);
        assert_eq!(replaced(&edits(Shape::new(1, Backends::Each(1)), 7, SyncOperation::Churn, 0)), 1, "at least one");
    }

    #[test]
    fn a_share_of_the_services_has_a_node_port_and_half_of_those_a_load_balancer() {
        let share = Percent::try_from(20).unwrap();
        let cluster = Cluster::new(Shape::new(100, Backends::Each(1)).with_node_ports(share));
        let services = cluster.sample();
        assert_eq!(services.iter().filter(|service| service.ports[0].node_port.is_some()).count(), 20);
        assert_eq!(services.iter().filter(|service| !service.load_balancer_ips.is_empty()).count(), 10);
    }
}
