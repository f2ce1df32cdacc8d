//! A node with a Service of every kind of frontend, and sockets that are used by hand.
use crate::world::{SHORT, TIMEOUT, eventually};
use ipnet::IpNet;
use serde_json::{Value, json};
use sheave_agent::config::{Config, SocketLb};
use sheave_bpf::counters::Counters;
use sheave_conformance::agent::Agent;
use sheave_core::NodePortAddresses;
use sheave_lab::probe::{Client, Outcome, Server, Target};
use sheave_lab::{Cluster, Sandbox};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::{fs, io};
use tempfile::TempDir;

pub(super) const NODE: &str = "node-a";
const PODS: [(&str, &str, [&str; 2]); 3] = [
    (NODE, "client", ["10.180.0.10", "fd18::10"]),
    (NODE, "near", ["10.180.0.1", "fd18::1"]),
    ("node-b", "far", ["10.180.1.1", "fd18:0:0:1::1"]),
];
const HTTP_TARGET: u16 = 8080;
const DNS_TARGET: u16 = 5353;

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A Service `web` with TCP port 80, UDP port 53, NodePorts 30080 and 30053.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) pods: &'static [&'static str],
    /// Addresses of its status, in place of [`LOAD_BALANCERS`].
    pub(crate) ingress: Vec<&'static str>,
    /// Merged into its spec.
    pub(crate) spec: Value,
}

const CLUSTER_IPS: [&str; 2] = ["10.96.0.10", "fd96::10"];
const EXTERNAL_IPS: [&str; 2] = ["198.51.100.7", "2001:db8:51::7"];
const LOAD_BALANCERS: [&str; 2] = ["203.0.113.7", "2001:db8:203::7"];

impl Web {
    pub(crate) fn on(pods: &'static [&'static str]) -> Self {
        Self { pods, ingress: LOAD_BALANCERS.into(), spec: json!({}) }
    }

    fn items(&self) -> Value {
        let mut spec = json!({
            "type": "LoadBalancer", "clusterIP": CLUSTER_IPS[0], "clusterIPs": CLUSTER_IPS, "externalIPs": EXTERNAL_IPS,
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080},
                {"name": "dns", "protocol": "UDP", "port": 53, "nodePort": 30053},
            ],
        });
        let more = self.spec.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(more);
        let ingress: Vec<Value> = self.ingress.iter().map(|ip| json!({"ip": ip})).collect();
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "test"}, "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let slices = [("IPv4", 0), ("IPv6", 1)].map(|(family, of)| {
            let pods = PODS.iter().filter(|(_, pod, _)| self.pods.contains(pod));
            let endpoint =
                |(node, _, addrs): &(&str, &str, [&str; 2])| json!({"addresses": [addrs[of]], "nodeName": node});
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
                "metadata": {
                    "name": format!("web-{of}"), "namespace": "test", "labels": {"kubernetes.io/service-name": "web"},
                },
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": HTTP_TARGET},
                    {"name": "dns", "protocol": "UDP", "port": DNS_TARGET},
                ],
                "endpoints": pods.map(endpoint).collect::<Vec<_>>(),
            })
        });
        json!({"apiVersion": "v1", "kind": "List", "items": [service, slices[0], slices[1]]})
    }
}

/// In the order of its end: agent, servers, namespaces.
pub(crate) struct Node {
    agent: Option<Agent>,
    _servers: BTreeMap<&'static str, Server>,
    manifests: TempDir,
    config: Config,
    pub(super) cluster: Cluster,
}

impl Node {
    /// NodePorts are accepted at all addresses of the node.
    pub(crate) fn serving(web: &Web) -> Self {
        Self::configured(web, |_| {})
    }

    pub(crate) fn configured(web: &Web, configure: impl FnOnce(&mut Config)) -> Self {
        let cidrs = |cidrs: [&str; 2]| cidrs.map(|cidr| cidr.parse::<IpNet>().unwrap());
        let builder = Cluster::builder("sockets")
            .node(NODE, ["172.30.0.1", "fd30::1"].map(ip), cidrs(["10.180.0.0/24", "fd18::/64"]))
            .node("node-b", ["172.30.0.2", "fd30::2"].map(ip), cidrs(["10.180.1.0/24", "fd18:0:0:1::/64"]));
        let mut cluster = builder.build().unwrap();
        for (node, pod, addrs) in PODS {
            cluster.add_pod(node, pod, &addrs.map(ip)).unwrap();
        }
        let serve = |pod: &'static str| {
            let place = cluster.pod(pod).unwrap();
            let both = |&addr| [Target::tcp((addr, HTTP_TARGET).into()), Target::udp((addr, DNS_TARGET).into())];
            let targets: Vec<Target> = place.addrs().iter().flat_map(both).collect();
            (pod, Server::start(place.sandbox(), pod, &targets).unwrap())
        };
        let servers = ["near", "far"].into_iter().map(serve).collect();
        let manifests = TempDir::new().unwrap();
        let mut config = Config {
            source: manifests.path().to_str().unwrap().to_owned(),
            node_name: NODE.to_owned(),
            cgroup: Some(cluster.node(NODE).unwrap().sandbox().cgroup().unwrap().path().to_owned()),
            socket_lb: SocketLb::All,
            ..Config::default()
        };
        config.kube_proxy.node_port_addresses =
            NodePortAddresses::Cidrs(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        configure(&mut config);
        let mut node = Self { agent: None, _servers: servers, manifests, config, cluster };
        let itself = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "172.30.0.1"}, {"type": "InternalIP", "address": "fd30::1"},
            ]},
        });
        put(node.manifests.path(), "node", &json!({"apiVersion": "v1", "kind": "List", "items": [itself]}));
        node.put(web);
        node.start_agent();
        node.until_answered_by(web.pods);
        node
    }

    pub(super) fn put(&self, web: &Web) {
        put(self.manifests.path(), "web", &web.items());
    }

    pub(super) fn start_agent(&mut self) {
        self.agent = Some(Agent::start(self.cluster.node(NODE).unwrap(), self.config.clone()).unwrap());
    }

    pub(super) fn stop_agent(&mut self) {
        self.agent.take().expect("the agent runs").stop().unwrap();
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.cluster.node(NODE).unwrap().sandbox()
    }

    /// The pod that is a client.
    pub(crate) fn client(&self) -> &Sandbox {
        self.cluster.pod("client").unwrap().sandbox()
    }

    /// One request of the node, over a connected socket.
    pub(super) fn request(&self, target: Target) -> Outcome {
        Client::new(self.sandbox(), TIMEOUT).request(target).unwrap()
    }

    /// One request of a pod, which may stay without an answer.
    pub(super) fn request_of_pod(&self, target: Target) -> Outcome {
        Client::new(self.client(), SHORT).request(target).unwrap()
    }

    /// Waits until the node's new flows are answered by these pods and no other, or refused where there are none.
    pub(super) fn until_answered_by(&self, pods: &[&str]) {
        let of_protocol = |of: fn(SocketAddr) -> Target, port| CLUSTER_IPS.map(|vip| of((ip(vip), port).into()));
        for target in [of_protocol(Target::tcp, 80), of_protocol(Target::udp, 53)].concat() {
            eventually(&format!("{target} is answered by {pods:?}"), || {
                assert!(self.agent.as_ref().is_some_and(|agent| !agent.ended()), "the agent ended by itself");
                let answers: Vec<Outcome> = (0..8).map(|_| self.request(target)).collect();
                let by_them = |outcome: &Outcome| match outcome {
                    Ok(answer) => pods.contains(&answer.pod.as_str()),
                    Err(failure) => pods.is_empty() && matches!(failure, sheave_lab::probe::Failure::Refused(_)),
                };
                answers.iter().all(by_them)
            });
        }
    }

    /// A UDP socket of the node, bound to `addr`.
    pub(crate) fn udp(&self, addr: IpAddr) -> UdpSocket {
        let socket = self.sandbox().run(move || UdpSocket::bind((addr, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket
    }

    /// What a piece of work adds to the counters of the socket entrance: forward, reject, decline.
    pub(super) fn counted(&self, work: impl FnOnce()) -> [u64; 3] {
        let read = || {
            let open = || Counters::open(Path::new("/sys/fs/bpf")).unwrap().read().unwrap();
            let counters: BTreeMap<&str, u64> = self.sandbox().run(open).unwrap().into_iter().collect();
            ["socket_forward", "socket_reject", "socket_decline"].map(|name| counters[name])
        };
        let before = read();
        work();
        let after = read();
        [0, 1, 2].map(|of| after[of] - before[of])
    }
}

/// The UDP frontends that the node may dial, of one family.
pub(crate) fn udp_frontends(of: usize) -> [SocketAddr; 5] {
    let own = [["172.30.0.1", "fd30::1"], ["127.0.0.1", "::1"]];
    let at = |addrs: [&str; 2], port| SocketAddr::new(ip(addrs[of]), port);
    [at(CLUSTER_IPS, 53), at(EXTERNAL_IPS, 53), at(LOAD_BALANCERS, 53), at(own[0], 30053), at(own[1], 30053)]
}

/// The same of TCP.
pub(crate) fn tcp_frontends(of: usize) -> [SocketAddr; 5] {
    udp_frontends(of).map(|udp| SocketAddr::new(udp.ip(), if udp.port() == 53 { 80 } else { 30080 }))
}

/// Where the pod `far` serves, of one family: TCP and UDP.
pub(crate) fn served_by_far(of: usize) -> [SocketAddr; 2] {
    let (.., addrs) = PODS[2];
    [HTTP_TARGET, DNS_TARGET].map(|port| SocketAddr::new(ip(addrs[of]), port))
}

/// An IPv4 destination as an IPv6 socket dials it.
pub(super) fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// Sends a request over a socket that may be unconnected; returns whom the answer names as its sender, and the pod.
pub(super) fn exchange(socket: &UdpSocket, to: SocketAddr) -> io::Result<(SocketAddr, String)> {
    socket.send_to(b"ask 1 x\n", to)?;
    received(socket)
}

/// The next answer.
pub(super) fn received(socket: &UdpSocket) -> io::Result<(SocketAddr, String)> {
    let mut answer = [0; 512];
    let (len, from) = socket.recv_from(&mut answer)?;
    let line = String::from_utf8_lossy(&answer[..len]).into_owned();
    Ok((from, line.split(' ').nth(4).unwrap_or_else(|| panic!("no answer: {line:?}")).to_owned()))
}

fn put(directory: &Path, name: &str, list: &Value) {
    let (unfinished, path) = (directory.join(format!(".{name}.tmp")), directory.join(format!("{name}.json")));
    fs::write(&unfinished, list.to_string()).unwrap();
    fs::rename(unfinished, path).unwrap();
}
