//! How pods are wired to their node, and nodes to each other's pods.
//!
//! What a dataplane meets differs by network: with routed veths each pod is a device of its own at layer 3, behind a bridge a
//! packet between two pods of one node may never reach the node's routing, and with a tunnel a node sends from another
//! device, with another address and a smaller MTU, than it receives by.
use crate::rtnl::{Request, Rtnl, RtnlError};
use crate::wire::{self, Hop, LEAF_INDEX, MTU};
use ipnet::IpNet;
use netlink_packet_route::link::InfoKind;
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkVxlan};
use std::net::IpAddr;

/// Above all indexes of wires, which follow from a 16-bit number.
const BRIDGE_INDEX: u32 = 70_000;
const TUNNEL_INDEX: u32 = 70_001;
const BRIDGE_DEVICE: &str = "cni0";
/// flannel's port; the number IANA assigned is 4789.
const VXLAN_PORT: u16 = 8472;
/// Inner Ethernet, outer IPv6, UDP and VXLAN headers: 14 + 40 + 8 + 8. Over IPv4 it is 20 less.
const OVERHEAD: u32 = 70;

/// A kind of pod network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PodNetwork {
    /// A host route to each pod's veth; nodes reach each other's pods over the fabric. As Calico without encapsulation and
    /// kindnet do.
    #[default]
    Routed,
    /// Pods are ports of a bridge that has the first address of their network; VXLAN between nodes, for which pods have room
    /// in their MTU. As flannel does.
    Bridge,
    /// Routed veths with the MTU of the fabric, VXLAN between nodes with this smaller MTU, which clients have to find out.
    Overlay {
        /// Of the tunnel, in bytes.
        mtu: u32,
    },
}

impl PodNetwork {
    /// Whether pods are ports of a bridge.
    #[must_use]
    pub fn is_bridged(self) -> bool {
        self == Self::Bridge
    }

    /// Whether there is a tunnel between nodes; the fabric knows nothing of pods then.
    #[must_use]
    pub fn is_tunnelled(self) -> bool {
        self != Self::Routed
    }

    /// The MTU of a pod's device.
    pub(crate) fn pod_mtu(self) -> u32 {
        if self.is_bridged() { MTU - OVERHEAD } else { MTU }
    }

    fn tunnel_mtu(self) -> u32 {
        if let Self::Overlay { mtu } = self { mtu } else { MTU - OVERHEAD }
    }

    fn tunnel_device(self, family: IpAddr) -> &'static str {
        match (self.is_bridged(), family.is_ipv4()) {
            (true, true) => "flannel.1",
            (true, false) => "flannel-v6.1",
            (false, true) => "vxlan.calico",
            (false, false) => "vxlan-v6.calico",
        }
    }
}

/// What of a node matters to its pod network.
pub(crate) struct NodeNetwork<'a> {
    pub(crate) network: PodNetwork,
    /// Unique in the cluster: MAC addresses follow from it.
    pub(crate) serial: u16,
    pub(crate) addrs: &'a [IpAddr],
    pub(crate) pod_cidrs: &'a [IpNet],
}

/// The bridge of a node, as its pods see it.
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
    /// Its addresses with the length of their networks.
    pub(crate) gateways: Vec<IpNet>,
}

impl<'a> NodeNetwork<'a> {
    /// Makes the devices that a node has before its first pod; returns their addresses.
    pub(crate) fn prepare(&self, node: &mut Rtnl) -> Result<Vec<IpAddr>, RtnlError> {
        let (mut made, mut requests) = (Vec::new(), Vec::new());
        // Before the bridge, as flannel does: until 5.14 (kernel commit 58fee5fc8365) the lowest address of the bridge's network is one for
        // broadcasts, unless it is the tunnel's already.
        for tunnel in self.tunnels() {
            requests.push(Request::new_link(format!("vxlan {}", tunnel.device), tunnel.message()));
            requests.push(Request::new_address(tunnel.index, wire::host(tunnel.addr)));
            made.push(tunnel.addr);
        }
        if let Some(bridge) = self.bridge() {
            requests.push(Request::new_link(format!("bridge {BRIDGE_DEVICE}"), self.bridge_message(&bridge)));
            requests.extend(bridge.gateways.iter().map(|gateway| Request::new_address(bridge.index, *gateway)));
            made.extend(bridge.gateways.iter().map(IpNet::addr));
        } else {
            // Like Calico: an address of the block without a pod ends here, it does not go round between node and fabric.
            requests.extend(self.pod_cidrs.iter().map(|&cidr| wire::blackhole(cidr)));
        }
        node.apply(requests)?;
        for tunnel in self.tunnels() {
            node.wait_for_link(tunnel.index)?;
            node.wait_for_address(tunnel.addr)?;
        }
        Ok(made)
    }

    /// Tells a node the way to the pods of another one.
    pub(crate) fn meet(&self, node: &mut Rtnl, other: &NodeNetwork<'_>) -> Result<(), RtnlError> {
        for tunnel in self.tunnels() {
            let Some(remote) = other.tunnels().find(|remote| remote.index == tunnel.index) else { continue };
            let hop = Hop::Via { gateway: remote.addr, index: tunnel.index };
            node.apply(vec![
                Request::new_neighbour(tunnel.index, remote.addr, remote.mac),
                Request::new_forwarding(tunnel.index, remote.mac, remote.outer),
                wire::route(remote.cidr, hop),
            ])?;
        }
        Ok(())
    }

    /// The bridge, where there is one.
    pub(crate) fn bridge(&self) -> Option<Bridge> {
        let first = |cidr: &IpNet| cidr.hosts().next().map(|addr| IpNet::new_assert(addr, cidr.prefix_len()));
        self.network.is_bridged().then(|| Bridge {
            index: BRIDGE_INDEX,
            mac: self.mac(3),
            gateways: self.pod_cidrs.iter().filter_map(first).collect(),
        })
    }

    fn bridge_message(&self, bridge: &Bridge) -> netlink_packet_route::link::LinkMessage {
        LinkBridge::new(BRIDGE_DEVICE)
            .index(bridge.index)
            .address(bridge.mac.to_vec())
            .mtu(self.network.pod_mtu())
            .up()
            .build()
    }

    /// One for each family that has a pod network and an address of the node to send from. Its own address is that of the
    /// network itself, as flannel has it.
    fn tunnels(&self) -> impl Iterator<Item = Tunnel> + use<'a> {
        let (network, addrs, macs) = (self.network, self.addrs, [self.mac(4), self.mac(6)]);
        let cidrs = self.pod_cidrs.iter().filter(move |_| network.is_tunnelled());
        cidrs.filter_map(move |cidr| {
            let v4 = cidr.addr().is_ipv4();
            let outer = *addrs.iter().find(|addr| addr.is_ipv4() == v4)?;
            Some(Tunnel {
                device: network.tunnel_device(outer),
                index: TUNNEL_INDEX + u32::from(!v4),
                mac: macs[usize::from(!v4)],
                mtu: network.tunnel_mtu(),
                outer,
                addr: cidr.network(),
                cidr: *cidr,
            })
        })
    }

    fn mac(&self, kind: u8) -> [u8; 6] {
        let [high, low] = self.serial.to_be_bytes();
        [0x02, 0x5e, 0, kind, high, low]
    }
}

/// A node's end of the tunnel of one family.
struct Tunnel {
    device: &'static str,
    index: u32,
    mac: [u8; 6],
    mtu: u32,
    outer: IpAddr,
    addr: IpAddr,
    cidr: IpNet,
}

impl Tunnel {
    fn message(&self) -> netlink_packet_route::link::LinkMessage {
        let tunnel = LinkMessageBuilder::<LinkVxlan>::new_with_info_kind(InfoKind::Vxlan)
            .name(self.device)
            .index(self.index)
            .address(self.mac.to_vec())
            .mtu(self.mtu)
            .up()
            .id(self.index)
            .dev(LEAF_INDEX)
            .port(VXLAN_PORT)
            .learning(false);
        match self.outer {
            IpAddr::V4(outer) => tunnel.local(outer),
            IpAddr::V6(outer) => tunnel.local6(outer),
        }
        .build()
    }
}
