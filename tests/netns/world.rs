//! Two nodes, a client's pod and servers' pods, and the agent of the first node.
use crate::agent;
use crate::manifests::{self, PortSpec, ServiceSpec};
use sheave_agent::config::SocketLb;
use sheave_bpf::counters::Counters;
use sheave_conformance::agent::Agent;
use sheave_lab::probe::{Answer, Client, Outcome, Server, Target};
use sheave_lab::{Cluster, Sandbox};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// For requests that are answered.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
/// For requests that nobody answers.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// In a guest without acceleration the kernel verifies the programs for half a minute.
const DEADLINE: Duration = Duration::from_secs(180);

pub(crate) const HTTP: PortSpec = PortSpec("http", "TCP", 80, 8080);
pub(crate) const DNS: PortSpec = PortSpec("dns", "UDP", 53, 5353);
/// The backends: one beside the client, two on the other node.
pub(crate) const BACKENDS: [&str; 3] = ["near", "far-1", "far-2"];

const PODS: [(&str, &str, &str, &str); 5] = [
    ("node-a", "client", "10.180.0.10", "fd18::10"),
    ("node-a", "near", "10.180.0.1", "fd18::1"),
    ("node-b", "far-1", "10.180.1.1", "fd18:0:0:1::1"),
    ("node-b", "far-2", "10.180.1.2", "fd18:0:0:1::2"),
    ("node-b", "stranger", "10.180.1.10", "fd18:0:0:1::10"),
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The world of a test. In the order of its end: agent, servers, namespaces.
pub(crate) struct World {
    agent: Option<Agent>,
    servers: BTreeMap<&'static str, Server>,
    manifests: TempDir,
    pub(crate) cluster: Cluster,
    socket_lb: SocketLb,
}

impl World {
    /// Without an agent and without Services.
    pub(crate) fn new(socket_lb: SocketLb) -> Self {
        let node =
            |name, addrs: [&str; 2], cidrs: [&str; 2]| (name, addrs.map(ip), cidrs.map(|cidr| cidr.parse().unwrap()));
        let nodes = [
            node("node-a", ["172.30.0.1", "fd30::1"], ["10.180.0.0/24", "fd18::/64"]),
            node("node-b", ["172.30.0.2", "fd30::2"], ["10.180.1.0/24", "fd18:0:0:1::/64"]),
        ];
        let builder = nodes
            .into_iter()
            .fold(Cluster::builder("netns"), |builder, (name, addrs, cidrs)| builder.node(name, addrs, cidrs));
        let mut cluster = builder.build().unwrap();
        for (node, pod, v4, v6) in PODS {
            cluster.add_pod(node, pod, &[ip(v4), ip(v6)]).unwrap();
        }
        let manifests = TempDir::new().unwrap();
        manifests::write_nodes(manifests.path(), cluster.nodes().map(|node| (node.name(), node.addrs())));
        let mut world = Self { agent: None, servers: BTreeMap::new(), manifests, cluster, socket_lb };
        BACKENDS.into_iter().for_each(|pod| world.serve(pod));
        world
    }

    /// With the agent running and one Service, which answers.
    pub(crate) fn serving(socket_lb: SocketLb, service: &ServiceSpec) -> Self {
        let mut world = Self::new(socket_lb);
        world.put(service);
        world.start_agent();
        world.until_served(service);
        world
    }

    /// Writes a Service's manifest.
    pub(crate) fn put(&self, service: &ServiceSpec) {
        manifests::write(self.manifests.path(), service);
    }

    /// Takes a Service's manifest away.
    pub(crate) fn remove(&self, service: &ServiceSpec) {
        manifests::remove(self.manifests.path(), service);
    }

    /// Where the manifests are.
    pub(crate) fn manifests(&self) -> &Path {
        self.manifests.path()
    }

    pub(crate) fn start_agent(&mut self) {
        let node = self.cluster.node("node-a").unwrap();
        self.agent = Some(agent::start(node, self.manifests.path(), self.socket_lb));
    }

    /// Starts the agent with another setting than before.
    pub(crate) fn start_agent_with(&mut self, socket_lb: SocketLb) {
        self.socket_lb = socket_lb;
        self.start_agent();
    }

    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().expect("the agent runs").stop().unwrap();
    }

    /// Starts the server of a pod, on the target ports of its addresses.
    pub(crate) fn serve(&mut self, pod: &'static str) {
        let place = self.cluster.pod(pod).unwrap();
        let both = |&addr| [Target::tcp(SocketAddr::new(addr, HTTP.3)), Target::udp(SocketAddr::new(addr, DNS.3))];
        let targets: Vec<Target> = place.addrs().iter().flat_map(both).collect();
        self.servers.insert(pod, Server::start(place.sandbox(), pod, &targets).unwrap());
    }

    pub(crate) fn stop_server(&mut self, pod: &str) {
        self.servers.remove(pod).expect("the server runs").stop();
    }

    /// A client in a pod or on a node.
    pub(crate) fn client(&self, place: &str) -> Client {
        let node = || self.cluster.node(place).unwrap().sandbox();
        Client::new(self.cluster.pod(place).map_or_else(node, |pod| pod.sandbox()), TIMEOUT)
    }

    /// The addresses of a pod or a node.
    pub(crate) fn addrs(&self, place: &str) -> &[IpAddr] {
        let node = || self.cluster.node(place).unwrap().addrs();
        self.cluster.pod(place).map_or_else(node, |pod| pod.addrs())
    }

    /// Waits until each of a Service's frontends answers a pod, which says that the agent is done with it.
    pub(crate) fn until_served(&self, service: &ServiceSpec) {
        let client = Client::new(self.cluster.pod("client").unwrap().sandbox(), SHORT);
        for target in targets(service) {
            eventually(&format!("{target} answers"), || {
                assert!(self.agent.as_ref().is_some_and(|agent| !agent.ended()), "the agent ended by itself");
                client.request(target).unwrap().is_ok()
            });
        }
    }

    /// Waits until requests of a pod are answered by these pods and no other.
    pub(crate) fn until_answered_only_by(&self, target: Target, pods: &[&str]) {
        let client = self.client("client");
        let want: BTreeSet<String> = pods.iter().map(|&pod| pod.to_owned()).collect();
        eventually(&format!("{target} is answered by {pods:?}"), || answering(&client, target, 40) == want);
    }
}

/// The Service most tests need: both families, TCP and UDP.
pub(crate) fn web(backends: &[&str]) -> ServiceSpec {
    let of = |pod: &str| PODS.into_iter().find(|(_, name, ..)| *name == pod).expect("a pod of the world");
    let endpoints = backends.iter().flat_map(|pod| {
        let (node, _, v4, v6) = of(pod);
        [(ip(v4), node), (ip(v6), node)]
    });
    ServiceSpec {
        name: "web",
        vips: vec![ip("10.96.0.10"), ip("fd96::10")],
        ports: vec![HTTP, DNS],
        endpoints: endpoints.collect(),
    }
}

/// What a client dials.
pub(crate) fn targets(service: &ServiceSpec) -> Vec<Target> {
    let target = |(addr, port): (SocketAddr, PortSpec)| {
        if port.1 == "TCP" { Target::tcp(addr) } else { Target::udp(addr) }
    };
    service.frontends().into_iter().map(target).collect()
}

/// The answer to one request, made once.
pub(crate) fn answer(client: &Client, target: Target) -> Answer {
    client
        .request(target)
        .unwrap()
        .unwrap_or_else(|failure| panic!("{target} from {}: {failure}", client.sandbox().name()))
}

/// The pods that answer so many requests.
pub(crate) fn answering(client: &Client, target: Target, requests: usize) -> BTreeSet<String> {
    (0..requests).map(|_| answer(client, target).pod).collect()
}

/// The outcome of one request that may take long if nobody answers.
pub(crate) fn outcome(world: &World, place: &str, target: Target) -> Outcome {
    Client::new(world.client(place).sandbox(), SHORT).request(target).unwrap()
}

/// What the programs of a node have counted by this name.
pub(crate) fn counted(node: &Sandbox, name: &'static str) -> u64 {
    let read = || Counters::open(Path::new("/sys/fs/bpf")).unwrap().read().unwrap();
    node.run(read).unwrap().into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
