//! The small cluster: nodes and pods as the manifests place them, servers that say who they are, clients.
use super::manifests::Manifests;
use anyhow::Context as _;
use ipnet::IpNet;
use sheave_core::{Protocol, ServiceName};
use sheave_lab::probe::{Client, Server, Target};
use sheave_lab::{Cluster, Sandbox};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The node whose agent runs and whose clients ask.
pub(crate) const NODE: &str = "node-a";
/// The machine outside the cluster, and what the network leads to the node for it.
const OUTSIDE: &str = "outside";
const OUTSIDE_ADDRS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10))];
/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A pod of the manifests, and what it listens on.
#[derive(Clone, Debug, Default)]
struct PodSpec {
    node: String,
    addrs: BTreeSet<IpAddr>,
    targets: BTreeSet<Target>,
}

/// The running cluster. Dropping it removes everything.
pub(crate) struct World {
    /// Declared before the cluster: servers end before the namespaces they run in.
    servers: BTreeMap<String, Server>,
    pods_by_addr: BTreeMap<IpAddr, String>,
    cluster: Cluster,
}

impl World {
    /// Builds nodes, pods and servers for everything the manifests name. `clients` are pods without servers on [`NODE`].
    pub(crate) fn build(manifests: &Manifests, clients: &[(&str, [IpAddr; 2])]) -> anyhow::Result<Self> {
        let mut builder = Cluster::builder("demo");
        for (name, addrs, pod_cidrs) in manifests.nodes() {
            builder = builder.node(&name, addrs, pod_cidrs);
        }
        let mut world = Self {
            servers: BTreeMap::new(),
            pods_by_addr: BTreeMap::new(),
            cluster: builder.build().context("building the nodes")?,
        };
        for (name, addrs) in clients {
            world.cluster.add_pod(NODE, name, addrs).with_context(|| format!("adding the pod {name}"))?;
        }
        for (name, spec) in pods(manifests) {
            world.add_pod(&name, &spec)?;
        }
        world.add_outside(manifests).context("adding a machine outside")?;
        Ok(world)
    }

    /// As a load balancer leads its addresses to a node.
    fn add_outside(&mut self, manifests: &Manifests) -> anyhow::Result<()> {
        self.cluster.add_host(OUTSIDE, &OUTSIDE_ADDRS)?;
        let services = manifests.services();
        let vips: Vec<IpNet> = services.iter().flat_map(|s| &s.load_balancer_ips).map(|vip| IpNet::from(*vip)).collect();
        Ok(self.cluster.lead(&vips, NODE, &[OUTSIDE])?)
    }

    fn add_pod(&mut self, name: &str, spec: &PodSpec) -> anyhow::Result<()> {
        let addrs: Vec<IpAddr> = spec.addrs.iter().copied().collect();
        let pod = self.cluster.add_pod(&spec.node, name, &addrs).with_context(|| format!("adding the pod {name}"))?;
        let targets: Vec<Target> = spec.targets.iter().copied().collect();
        self.servers.insert(name.to_owned(), Server::start(pod.sandbox(), name, &targets)?);
        self.pods_by_addr.extend(addrs.into_iter().map(|addr| (addr, name.to_owned())));
        Ok(())
    }

    /// Adds a pod that listens on the ports of another one, as a Deployment that is scaled up does.
    pub(crate) fn add_like(&mut self, model: IpAddr, node: &str, name: &str, addrs: &[IpAddr]) -> anyhow::Result<()> {
        let model = self.pods_by_addr.get(&model).and_then(|pod| self.servers.get(pod));
        let model = model.context("no pod has the address of the one to be copied")?;
        let at = |addr| {
            model
                .targets()
                .iter()
                .map(move |target| Target { addr: SocketAddr::new(addr, target.addr.port()), ..*target })
        };
        let targets = addrs.iter().flat_map(|addr| at(*addr)).collect();
        self.add_pod(name, &PodSpec { node: node.to_owned(), addrs: addrs.iter().copied().collect(), targets })
    }

    /// Where the agent and the node's own clients run.
    pub(crate) fn node(&self) -> &Sandbox {
        self.cluster.node(NODE).expect("invariant: the manifests name it, else building failed").sandbox()
    }

    /// A client in a pod, by the pod's name.
    pub(crate) fn client(&self, pod: &str) -> Client {
        let pod = self.cluster.pod(pod).expect("invariant: built with the world");
        Client::new(pod.sandbox(), TIMEOUT)
    }

    /// A client on the node itself.
    pub(crate) fn node_client(&self) -> Client {
        Client::new(self.node(), TIMEOUT)
    }

    /// A client outside the cluster.
    pub(crate) fn outside_client(&self) -> Client {
        let place = self.cluster.host(OUTSIDE).expect("invariant: built with the world");
        Client::new(place.sandbox(), TIMEOUT)
    }

    /// The addresses of [`NODE`].
    pub(crate) fn node_addrs(&self) -> &[IpAddr] {
        self.cluster.node(NODE).expect("invariant: the manifests name it, else building failed").addrs()
    }

    /// Stops the server of the pod with this address, as a container that ends does.
    pub(crate) fn stop_server(&mut self, addr: IpAddr) {
        if let Some(server) = self.pods_by_addr.get(&addr).and_then(|pod| self.servers.remove(pod)) {
            server.stop();
        }
    }
}

/// The pods that endpoints stand for: those of one node whose addresses end alike are one dual-stack pod.
fn pods(manifests: &Manifests) -> BTreeMap<String, PodSpec> {
    let mut pods: BTreeMap<String, PodSpec> = BTreeMap::new();
    for slice in manifests.slices() {
        for endpoint in &slice.endpoints {
            let Some(node) = &endpoint.node else { continue };
            let pod = pods.entry(pod_name(&slice.service, endpoint.addr)).or_default();
            node.as_ref().clone_into(&mut pod.node);
            pod.addrs.insert(endpoint.addr);
            pod.targets.extend(
                slice
                    .ports
                    .iter()
                    .filter_map(|port| target(port.protocol, SocketAddr::new(endpoint.addr, port.port.get()))),
            );
        }
    }
    pods
}

/// Short enough for a device name, the same for both addresses of a pod: `web-1-11`.
fn pod_name(service: &ServiceName, addr: IpAddr) -> String {
    let (subnet, host) = match addr {
        IpAddr::V4(v4) => (u16::from(v4.octets()[2]), v4.octets()[3].to_string()),
        IpAddr::V6(v6) => (v6.segments()[2], format!("{:x}", v6.segments()[7])),
    };
    let name: String = service.name.chars().take(5).collect();
    format!("{name}{subnet}-{host}")
}

/// What a probe can dial; `None` for a protocol it does not speak.
pub(crate) fn target(protocol: Protocol, addr: SocketAddr) -> Option<Target> {
    match protocol {
        Protocol::Tcp => Some(Target::tcp(addr)),
        Protocol::Udp => Some(Target::udp(addr)),
        Protocol::Sctp => None,
    }
}
