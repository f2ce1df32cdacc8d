//! Who dials what: the cells of a world.
use super::services::{HOSTS, NODE, NODES, OTHER_PORT, PODS, SERVICES, Spec, TRANSPORTS, UNALLOCATED, ports};
use super::setting::Setting;
use sheave_agent::config::SocketLb;
use sheave_lab::PodNetwork;
use sheave_lab::probe::{Target, Transport};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Who dials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A pod of the node.
    Pod,
    /// A pod of the node that is an endpoint itself: it may get itself (R4).
    Endpoint,
    /// A pod of another node.
    OtherPod,
    /// The node itself.
    Node,
    /// A machine outside the cluster.
    Outside,
    /// Another one, which the source ranges do not have (R8).
    Outsider,
}

/// What is dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// A1.
    ClusterIp,
    /// The node's address and a NodePort (A4).
    NodePort,
    /// The loopback address and a NodePort (A6).
    Loopback,
    /// A7.
    LoadBalancer,
    /// A10.
    ExternalIp,
    /// A port that a ClusterIP does not have (A2).
    OtherPort,
    /// An address of the ServiceCIDRs that nobody has (A3).
    Unallocated,
}

/// How much a request carries, there and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// One packet each way.
    Small,
    /// More than a packet: segments over TCP, fragments over UDP, chunks over SCTP, and more than the smallest MTU on the way has room for.
    Large,
}

/// One case of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Where.
    pub setting: Setting,
    /// Who.
    pub source: Source,
    /// What.
    pub destination: Destination,
    /// Of which Service.
    pub service: Spec,
    /// How much.
    pub size: Size,
    /// Over what.
    pub transport: Transport,
    /// IPv4, else IPv6.
    pub v4: bool,
}

const SOURCES: [Source; 6] =
    [Source::Pod, Source::Endpoint, Source::OtherPod, Source::Node, Source::Outside, Source::Outsider];
const DESTINATIONS: [Destination; 7] = [
    Destination::ClusterIp,
    Destination::NodePort,
    Destination::Loopback,
    Destination::LoadBalancer,
    Destination::ExternalIp,
    Destination::OtherPort,
    Destination::Unallocated,
];
const LARGE_STREAM: usize = 40_000;
const LARGE_UDP: usize = 5_000;

/// All cells of a world that make sense there.
#[must_use]
pub fn cells(setting: Setting) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (service, source, destination) in triples() {
        for (transport, v4) in TRANSPORTS.into_iter().flat_map(|(_, transport)| [(transport, true), (transport, false)])
        {
            let cell = |size| Cell { setting, source, destination, service, size, transport, v4 };
            let sizes = [Size::Small, Size::Large];
            cells.extend(sizes.map(cell).into_iter().filter(Cell::makes_sense));
        }
    }
    cells
}

fn triples() -> impl Iterator<Item = (Spec, Source, Destination)> {
    SERVICES.into_iter().flat_map(|service| {
        SOURCES.into_iter().flat_map(move |source| DESTINATIONS.map(|destination| (service, source, destination)))
    })
}

impl Cell {
    /// Whether such a client can send such a packet to the node at all, and what comes of it is this node's doing.
    fn makes_sense(&self) -> bool {
        let plain = self.service == SERVICES[0];
        let anywhere = match self.destination {
            // Only the node reaches itself so, and no device sees it.
            Destination::Loopback => self.source == Source::Node && self.setting.socket_lb != SocketLb::Off,
            // The same holds for the node's own address, dialled by the node.
            Destination::NodePort => self.source != Source::Node || self.setting.socket_lb != SocketLb::Off,
            Destination::OtherPort | Destination::Unallocated => plain,
            Destination::ClusterIp | Destination::LoadBalancer | Destination::ExternalIp => true,
        };
        let source = self.source != Source::OtherPod || self.is_answered_through_the_node();
        let ranges = self.source != Source::Outsider || self.service.name == "ranges";
        let asked = !matches!(self.destination, Destination::OtherPort | Destination::Unallocated);
        // A router does not break a datagram of IPv6 up: the first one to a smaller MTU is lost, proxy or no proxy.
        let lost = self.transport == Transport::Udp && !self.v4 && self.meets_a_smaller_mtu();
        let large = self.size == Size::Small || (plain && asked && !lost);
        // What the socket entrance serves is all the same to SCTP, which it never does.
        let sockets = self.transport != Transport::Sctp || self.setting.socket_lb == SocketLb::Off;
        anywhere && source && ranges && large && sockets
    }

    /// A pod of another node: what a backend of that node answers to it directly never meets this node's translation, whoever
    /// makes it. That leaves masqueraded flows, those to this node's pods, and refusals. And pods of tunnelled networks reach
    /// other nodes by an address of their own node, as any client outside does.
    fn is_answered_through_the_node(&self) -> bool {
        let masqueraded = self.service.is_cluster_wide() && self.destination != Destination::ClusterIp;
        let ours = ["alone", "empty", "empty-local"].contains(&self.service.name);
        !self.setting.network.is_tunnelled() && (masqueraded || ours)
    }

    /// Whether the client begins with larger packets than there is room for on the way.
    fn meets_a_smaller_mtu(&self) -> bool {
        match self.setting.network {
            PodNetwork::Routed => false,
            PodNetwork::Bridge => matches!(self.source, Source::Outside | Source::Outsider | Source::Node),
            PodNetwork::Overlay { .. } => true,
        }
    }

    /// Whether connect() translates it: a pod's TCP to a ClusterIP without affinity.
    pub(super) fn is_translated_at_the_socket(&self) -> bool {
        let of_pod = matches!(self.source, Source::Pod | Source::Endpoint) && self.setting.socket_lb == SocketLb::All;
        let cluster_ip = self.destination == Destination::ClusterIp && !self.service.has_affinity();
        of_pod && cluster_ip && self.transport == Transport::Tcp
    }

    /// Why it cannot be carried out as the semantics have it, if so; documented, and no failure.
    #[must_use]
    pub fn limitation(&self) -> Option<&'static str> {
        let past_the_socket = self.source == Source::Node && self.setting.socket_lb == SocketLb::Off;
        match (self.size, self.transport) {
            (Size::Large, Transport::Udp) if past_the_socket && self.setting.network.is_bridged() => Some(
                "what the node sends past the socket entrance in fragments does not fit a bridge with a smaller MTU: its way is \
                 decided after it was broken up",
            ),
            (Size::Large, Transport::Sctp) if self.meets_a_smaller_mtu() => Some(
                "chunks that were cut for a larger MTU are sent on in fragments, of which the first one is dropped where the \
                 target port is another one than the Service's",
            ),
            _ => None,
        }
    }

    /// The place it is dialled from.
    #[must_use]
    pub fn place(&self) -> &'static str {
        match self.source {
            Source::Pod => "client",
            Source::Endpoint => "near",
            Source::OtherPod => "stranger",
            Source::Node => NODE,
            Source::Outside => HOSTS[0].0,
            Source::Outsider => HOSTS[1].0,
        }
    }

    /// The address it is dialled from.
    #[must_use]
    pub fn source_addr(&self) -> IpAddr {
        if self.destination == Destination::Loopback {
            return loopback(self.v4);
        }
        let pods = PODS.iter().map(|pod| (pod.name, pod.addrs));
        let nodes = NODES.iter().map(|(name, addrs, _)| (*name, *addrs));
        let mut places = pods.chain(nodes).chain(HOSTS);
        let place = places.find(|(name, _)| *name == self.place());
        place.expect("invariant: every place has addresses").1[usize::from(!self.v4)]
    }

    /// What is dialled.
    #[must_use]
    pub fn target(&self) -> Target {
        let (port, service) = (ports(self.transport).0, &self.service);
        let (addr, port) = match self.destination {
            Destination::ClusterIp => (service.cluster_ip(self.v4), port),
            Destination::LoadBalancer => (service.load_balancer(self.v4), port),
            Destination::ExternalIp => (service.external_ip(self.v4), port),
            Destination::NodePort => (NODES[0].1[usize::from(!self.v4)], service.node_port(self.transport)),
            Destination::Loopback => (loopback(self.v4), service.node_port(self.transport)),
            Destination::OtherPort => (service.cluster_ip(self.v4), OTHER_PORT),
            Destination::Unallocated => (UNALLOCATED[usize::from(!self.v4)], port),
        };
        Target { addr: SocketAddr::new(addr, port), transport: self.transport }
    }

    /// How many bytes a request carries.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match (self.size, self.transport) {
            (Size::Small, _) => 0,
            (Size::Large, Transport::Tcp | Transport::Sctp) => LARGE_STREAM,
            (Size::Large, Transport::Udp) => LARGE_UDP,
        }
    }
}

fn loopback(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

impl fmt::Display for Cell {
    /// `matrix/bridge/off/pod/cluster-ip/local/udp/v6`: the name that `--only` matches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Pod => "pod",
            Source::Endpoint => "endpoint",
            Source::OtherPod => "other-pod",
            Source::Node => "node",
            Source::Outside => "outside",
            Source::Outsider => "outsider",
        };
        let destination = match self.destination {
            Destination::ClusterIp => "cluster-ip",
            Destination::NodePort => "node-port",
            Destination::Loopback => "loopback",
            Destination::LoadBalancer => "load-balancer",
            Destination::ExternalIp => "external-ip",
            Destination::OtherPort => "other-port",
            Destination::Unallocated => "unallocated",
        };
        let (service, transport) = (self.service.name, self.transport);
        let family = if self.v4 { "v4" } else { "v6" };
        let size = if self.size == Size::Large { "/large" } else { "" };
        write!(f, "matrix/{}/{source}/{destination}/{service}/{transport}/{family}{size}", self.setting)
    }
}
