//! A world: two nodes and their pods, machines outside, servers, the real agent on the first node.
use super::cell::Cell;
use super::expect::{Expected, expected};
use super::pace::Pace;
use super::services::{
    HOSTS, LED, NODE, NODES, OTHER_NODE, POD_CIDRS, PODS, SERVERS, SERVICES, TRANSPORTS, ports, surroundings,
};
use super::setting::{Filter, Setting};
use crate::agent::Agent;
use ipnet::IpNet;
use serde_json::json;
use sheave_agent::config::{Config, ConfigError, SocketLb};
use sheave_bpf::load::netns_cookie;
use sheave_core::{Event, Index, ProxyConfig};
use sheave_kube_source::manifests::{Manifests, ReadError};
use sheave_lab::probe::{Client, Server, ServerError, Target, Transport, has_sctp_loaded};
use sheave_lab::{Cluster, ClusterError, SandboxError};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The agent has this long until the first answer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// And this long from there until each kind of client had one: after it, cells say what is missing.
const SETTLE_DEADLINE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_millis(100);
/// Tables of a million flows take time to make, and nothing here needs them.
const FLOWS_MAX: u32 = 1 << 16;

/// A world could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Namespaces and devices.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Threads in them.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Servers.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The agent's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the agent reads.
    #[error(transparent)]
    Manifests(#[from] ReadError),
    /// A file.
    #[error("cannot prepare a world: {0}")]
    Io(#[from] io::Error),
    /// The tool for the policy does not start.
    #[error("nft, which stands for a network policy here, does not start: {0}")]
    NoNft(io::Error),
    /// A rule of the policy.
    #[error("nft refuses the rules that stand for a network policy: {0}")]
    Policy(String),
    /// The agent ended.
    #[error("the agent ended by itself: {0}")]
    AgentEnded(String),
    /// Nothing answered.
    #[error("{0} does not answer {1:?} after the agent was started")]
    NotServed(Target, Duration),
}

impl WorldError {
    /// Whether something that is no part of sheave is missing on this machine, so that cells are skipped for it.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        matches!(self, Self::NoNft(_) | Self::Cluster(ClusterError::Sysctl(_)))
    }
}

/// A running world; gone when dropped. In the order of its end: agent, servers, namespaces.
pub(super) struct World {
    agent: Option<Agent>,
    _servers: Vec<Server>,
    config: Config,
    proxy: ProxyConfig,
    index: Index,
    _directory: TempDir,
    transports: Vec<Transport>,
    knows_node: bool,
    pub(super) pace: Pace,
    pub(super) cluster: Cluster,
}

impl World {
    /// Builds it; when this returns, the agent serves.
    pub(super) fn build(setting: Setting, pace: Pace) -> Result<Self, WorldError> {
        let cluster = cluster(setting)?;
        let directory = TempDir::new()?;
        let transports = transports();
        let knows_node = setting.socket_lb == SocketLb::Off || netns_cookie()? != 0;
        let servers = SERVERS.iter().map(|pod| serve(&cluster, pod, &transports)).collect::<Result<_, _>>()?;
        write_manifests(directory.path())?;
        let config = config(setting, &cluster, directory.path())?;
        let mut index = Index::new(NODE);
        Manifests::read(directory.path())?.listed(NODE).into_iter().for_each(|event| index.apply(event));
        let node = cluster.node(NODE).expect("invariant: built above");
        index.apply(Event::LocalAddresses(node.all_addrs().collect()));
        let proxy = config.proxy();
        let (agent, _servers, _directory) = (None, servers, directory);
        let mut world =
            Self { agent, _servers, config, proxy, index, _directory, transports, knows_node, pace, cluster };
        world.start_agent()?;
        world.wait_until_served()?;
        Ok(world)
    }

    /// What must come of a cell; `None` if it is none of ours.
    pub(super) fn expected(&self, cell: &Cell) -> Option<Expected> {
        expected(cell, &self.index, &self.proxy)
    }

    /// Whether this kernel has sockets of the transport.
    pub(super) fn has_transport(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }

    /// Whether the socket entrance, if there is one, knows the node's sockets from those of pods. Before Linux 5.14 they are those of the
    /// machine's first network namespace, which no node of a world is.
    pub(super) fn knows_node(&self) -> bool {
        self.knows_node
    }

    /// Whether the world has the family at all.
    pub(super) fn has_family(&self, v4: bool) -> bool {
        self.cluster.node(NODE).is_some_and(|node| node.addrs().iter().any(|addr| addr.is_ipv4() == v4))
    }

    /// Someone who sends requests from a place, each with a timeout at the pace of this world.
    pub(super) fn client(&self, place: &str, timeout: Duration) -> Client {
        let place = self.cluster.place(place).expect("invariant: cells name places of the world");
        Client::new(place, self.pace.of(timeout))
    }

    pub(super) fn start_agent(&mut self) -> Result<(), WorldError> {
        let node = self.cluster.node(NODE).expect("invariant: built with the world");
        self.agent = Some(Agent::start(node, self.config.clone())?);
        Ok(())
    }

    pub(super) fn stop_agent(&mut self) {
        drop(self.agent.take());
    }

    /// Waits for the first answer to a pod, then until each place had one over each transport, if it gets any.
    fn wait_until_served(&mut self) -> Result<(), WorldError> {
        let first = self.target(Transport::Udp, true);
        let deadline = Instant::now() + self.pace.of(START_DEADLINE);
        while self.client("client", PATIENCE).request(first)?.is_err() {
            if let Some(agent) = self.agent.take_if(|agent| agent.ended()) {
                return Err(WorldError::AgentEnded(agent.stop().err().unwrap_or_default()));
            }
            if Instant::now() > deadline {
                return Err(WorldError::NotServed(first, self.pace.of(START_DEADLINE)));
            }
        }
        let deadline = Instant::now() + self.pace.of(SETTLE_DEADLINE);
        for place in ["client", "near", NODE, HOSTS[0].0] {
            for (transport, v4) in self.transports.iter().flat_map(|&transport| [(transport, true), (transport, false)])
            {
                let (client, target) = (self.client(place, PATIENCE), self.target(transport, v4));
                let lacks = !self.has_family(v4);
                while !lacks && Instant::now() < deadline && client.request(target)?.is_err() {}
            }
        }
        Ok(())
    }

    /// The ClusterIP of the Service that every kind of client gets an answer of.
    fn target(&self, transport: Transport, v4: bool) -> Target {
        Target { addr: SocketAddr::new(SERVICES[0].cluster_ip(v4), ports(transport).0), transport }
    }
}

fn cluster(setting: Setting) -> Result<Cluster, WorldError> {
    let cidrs = |cidrs: [&str; 2]| cidrs.map(|cidr| cidr.parse::<IpNet>().expect("invariant: a CIDR"));
    let builder = Cluster::builder("selftest").network(setting.network);
    let builder = NODES.iter().fold(builder, |builder, (name, addrs, pods)| builder.node(name, *addrs, cidrs(*pods)));
    let mut cluster = builder.build()?;
    for pod in &PODS {
        cluster.add_pod(pod.node, pod.name, &pod.addrs)?;
    }
    for (name, addrs) in HOSTS {
        cluster.add_host(name, &addrs)?;
    }
    let led = LED.map(|cidr| cidr.parse::<IpNet>().expect("invariant: a CIDR"));
    cluster.lead(&led, NODE, &[HOSTS[0].0, HOSTS[1].0, OTHER_NODE])?;
    let node = cluster.node(NODE).expect("invariant: built above");
    if setting.network.is_bridged() {
        let calls = if setting.filter == Filter::BridgeCalls { "1" } else { "0" };
        node.set("net/bridge/bridge-nf-call-iptables", calls)?;
        node.set("net/bridge/bridge-nf-call-ip6tables", calls)?;
    }
    if setting.filter == Filter::OwnAddresses {
        let command = || {
            let mut nft = Command::new("nft");
            nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
            nft
        };
        filter(node.sandbox().spawn(command())?.map_err(WorldError::NoNft)?).map_err(WorldError::Policy)?;
    }
    Ok(cluster)
}

/// Hands the rules to an nft that was started on the node.
fn filter(mut nft: Child) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let mut rules = nft.stdin.take().expect("invariant: its input is a pipe");
    rules.write_all(policy().as_bytes()).map_err(told)?;
    drop(rules);
    let output = nft.wait_with_output().map_err(told)?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Between clients and serving pods, by their own addresses and the pods' ports, both ways; nothing else is forwarded.
fn policy() -> String {
    let addrs = |v4: bool| {
        let pods = PODS.iter().flat_map(|pod| pod.addrs);
        let all = pods.chain(HOSTS.into_iter().flat_map(|(_, addrs)| addrs)).filter(move |addr| addr.is_ipv4() == v4);
        all.map(|addr| addr.to_string()).collect::<Vec<_>>().join(", ")
    };
    let servers = |v4: bool| {
        let serving = PODS.iter().filter(|pod| SERVERS.contains(&pod.name)).flat_map(|pod| pod.addrs);
        serving.filter(|addr| addr.is_ipv4() == v4).map(|addr| addr.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut rules = String::from(
        "table inet own_addresses {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n",
    );
    for (family, v4) in [("ip", true), ("ip6", false)] {
        let (clients, servers) = (addrs(v4), servers(v4));
        // The first fragment has the ports; the others follow it or nothing.
        for transport in TRANSPORTS.map(|(_, transport)| transport) {
            let (protocol, port) = (transport, ports(transport).2);
            rules.push_str(&format!(
                "  {family} saddr {{ {clients} }} {family} daddr {{ {servers} }} {protocol} dport {port} accept\n  \
                 {family} saddr {{ {servers} }} {family} daddr {{ {clients} }} {protocol} sport {port} accept\n"
            ));
        }
        rules.push_str(&format!(
            "  {family} saddr {{ {clients} }} {family} daddr {{ {clients} }} ct state established accept\n"
        ));
    }
    rules.push_str("  meta l4proto { icmp, icmpv6 } accept\n }\n}\n");
    rules
}

/// What this kernel has sockets of, as it is: no module is loaded for it.
fn transports() -> Vec<Transport> {
    let sctp = has_sctp_loaded();
    let all = TRANSPORTS.into_iter().map(|(_, transport)| transport);
    all.filter(|&transport| sctp || transport != Transport::Sctp).collect()
}

fn serve(cluster: &Cluster, pod: &str, transports: &[Transport]) -> Result<Server, WorldError> {
    let pod = cluster.pod(pod).expect("invariant: servers are pods of the world");
    let all = |&addr: &IpAddr| {
        let at = move |&transport| Target { addr: SocketAddr::new(addr, ports(transport).2), transport };
        transports.iter().map(at)
    };
    let targets: Vec<Target> = pod.addrs().iter().flat_map(all).collect();
    Ok(Server::start(pod.sandbox(), pod.name(), &targets)?)
}

fn write_manifests(directory: &Path) -> io::Result<()> {
    let items: Vec<_> = surroundings().chain(SERVICES.iter().flat_map(super::services::Spec::manifests)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    std::fs::write(directory.join("all.json"), list.to_string())
}

/// As an operator would write it: a detector, NodePorts at the node's addresses and at loopback.
fn config(setting: Setting, cluster: &Cluster, manifests: &Path) -> Result<Config, WorldError> {
    let text = format!(
        "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\n---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\nclusterCIDR: {POD_CIDRS}\nnodePortAddresses: [172.30.0.0/15, 127.0.0.0/8, \
         'fd30::/15', '::1/128']\n"
    );
    let node = cluster.node(NODE).expect("invariant: built with the world");
    let cgroup = node.sandbox().cgroup().map(|cgroup| cgroup.path().to_owned());
    let mut config = Config::parse(&text, Path::new("of the matrix"))?;
    config.maps.flows_max = FLOWS_MAX;
    Ok(Config {
        source: manifests.display().to_string(),
        node_name: NODE.to_owned(),
        socket_lb: setting.socket_lb,
        cgroup,
        ..config
    })
}
