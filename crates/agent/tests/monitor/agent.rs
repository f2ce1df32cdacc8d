//! An agent without a kernel: a monitor, and a sync loop over the fake dataplane that tells it what happens.
use crate::client::DEADLINE;
use sheave_agent::config::Config;
use sheave_agent::monitor::Monitor;
use sheave_agent::sync::Syncer;
use sheave_core::{
    Endpoint, EndpointSlice, Event, Family, Kind, Node, NodePortAddresses, Object, Port, Protocol, Service,
    ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};
use sheave_dataplane::{Dataplane, Fake};
use sheave_kube_source::events::Recorder;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NODE: &str = "node-a";

pub(crate) struct Agent<D = Fake> {
    pub(crate) monitor: Monitor,
    pub(crate) syncer: Syncer<D>,
    pub(crate) healthz: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

/// An address of loopback that nobody has at the moment.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Both servers on loopback; NodePorts, and so health checks, at 127.0.0.1.
pub(crate) fn config() -> Config {
    let mut config = Config { node_name: NODE.to_owned(), ..Config::default() };
    config.kube_proxy.healthz_bind = Some(free_address());
    config.kube_proxy.metrics_bind = Some(free_address());
    let loopback = ["127.0.0.1/32", "2001:db8::/128"].map(|cidr| cidr.parse().unwrap());
    config.kube_proxy.node_port_addresses = NodePortAddresses::Cidrs(loopback.to_vec());
    config
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self::of(&config(), Fake::default(), None)
    }

    /// An agent that has seen an empty cluster.
    pub(crate) fn synced() -> Self {
        let mut agent = Self::new();
        agent.hear(empty());
        agent
    }
}

impl<D: Dataplane> Agent<D> {
    pub(crate) fn of(config: &Config, dataplane: D, recorder: Option<Recorder>) -> Self {
        let counters = Arc::new(|| vec![("flow_new", 7), ("drop_no_route", 1)]);
        let monitor = Monitor::start(config, counters, recorder).unwrap();
        let syncer = Syncer::new(NODE, config.proxy(), dataplane).since(1_000_000_000);
        let (healthz, metrics) = (config.kube_proxy.healthz_bind.unwrap(), config.kube_proxy.metrics_bind.unwrap());
        Self { monitor, syncer, healthz, metrics }
    }

    /// A turn of the loop.
    pub(crate) fn hear(&mut self, events: Vec<Event>) {
        self.observe(events);
        self.sync();
    }

    pub(crate) fn observe(&mut self, events: Vec<Event>) {
        let before = self.syncer.waiting();
        self.syncer.observe(events);
        self.monitor.queued(before, self.syncer.waiting());
    }

    pub(crate) fn sync(&mut self) {
        let mut synced = self.syncer.sync();
        self.monitor.synced(&self.syncer, &mut synced, Duration::from_millis(3));
        self.monitor.rooms(self.syncer.dataplane().rooms());
        if let Some(diagnostics) = self.syncer.changed_diagnostics() {
            self.monitor.diagnosed(&diagnostics);
        }
    }

    /// Goes on with the loop until health checks that failed were tried again.
    pub(crate) async fn checks_tried_again(&mut self) {
        tokio::time::timeout(DEADLINE, self.monitor.checks_due()).await.expect("tried again");
        self.monitor.try_checks_again();
    }
}

/// What the sources say of a cluster with nothing but this node.
pub(crate) fn empty() -> Vec<Event> {
    let listed = |kind| {
        let objects = if kind == Kind::Node { vec![Object::Node(node())] } else { Vec::new() };
        Event::Listed { kind, objects, kept: Vec::new() }
    };
    Kind::ALL.map(listed).into_iter().chain([Event::LocalAddresses(BTreeSet::new())]).collect()
}

pub(crate) fn node() -> Node {
    Node { name: NODE.into(), zone: None, addresses: Vec::new(), pod_cidrs: Vec::new(), leaving: None }
}

/// A LoadBalancer Service with policy Local.
pub(crate) fn service(name: &str, vip: u8, check: u16) -> Service {
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: Port::new(80).unwrap(),
        node_port: Port::new(30_000 + u16::from(vip)),
    };
    Service {
        cluster_ips: vec![[10, 96, 0, vip].into()],
        ports: vec![port],
        external_policy: TrafficPolicy::Local,
        health_check_node_port: Port::new(check),
        ..Service::new(ServiceName::new("shop", name))
    }
}

pub(crate) fn applied(service: Service) -> Event {
    Event::Applied(Object::Service(service))
}

/// The slice of a Service with so many endpoints here, and as many elsewhere.
pub(crate) fn slice(service: &str, here: u8, elsewhere: u8) -> EndpointSlice {
    let endpoint = |n: u8, node: &str| Endpoint { node: Some(node.into()), ..Endpoint::ready([10, 244, 0, n].into()) };
    let here = (0..here).map(|n| endpoint(n, NODE));
    EndpointSlice {
        name: SliceName::new("shop", &format!("{service}-1")),
        service: ServiceName::new("shop", service),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(8080).unwrap() }],
        endpoints: here.chain((0..elsewhere).map(|n| endpoint(100 + n, "node-b"))).collect(),
    }
}
