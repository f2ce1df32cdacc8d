//! The one way two namespaces are wired: a veth pair with a leaf at its end.
//!
//! As Calico does it: the leaf has host addresses only and sends everything to a link-local gateway; the parent has one route
//! per address. Or the parent's end is a port of a bridge, which is the leaf's gateway. Neighbours are permanent on both
//! sides, so no packet to or from a gateway ever waits for ARP or neighbour discovery.
use crate::pod_network::Bridge;
use crate::rtnl::{Request, Rtnl, RtnlError, family, host_prefix, route_address};
use crate::sandbox::Sandbox;
use ipnet::IpNet;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

/// The leaf's device. Its index is chosen here, above those the kernel gives to tunnels it makes by itself.
pub(crate) const LEAF_DEVICE: &str = "eth0";
pub(crate) const LEAF_INDEX: u32 = 100;
/// The device of a leaf that has one wire already; the indexes of a node's own wires begin after it.
pub(crate) const SECOND_DEVICE: &str = "eth1";
const SECOND_INDEX: u32 = 90;
/// The default route by the second device is for what is bound to it, and for nothing else.
const SECOND_METRIC: u32 = 1000;
const LO_INDEX: u32 = 1;
pub(crate) const MTU: u32 = 1500;
/// Looked at before the main table (`include/uapi/linux/rtnetlink.h`).
const RT_TABLE_LOCAL: u8 = 255;
const MAIN: u8 = RouteHeader::RT_TABLE_MAIN;

const GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)), IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))];

/// A leaf to be wired to its parent.
pub(crate) struct Leaf<'a> {
    /// Unique in the cluster: the parent's device index and the MAC addresses follow from it.
    pub(crate) serial: u16,
    /// The parent's device.
    pub(crate) parent_device: &'a str,
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) addrs: &'a [IpAddr],
    /// Networks behind the leaf, routed to its address of the family.
    pub(crate) networks: &'a [IpNet],
    pub(crate) mtu: u32,
    pub(crate) end: End<'a>,
}

/// What the parent's end of a wire is, and so the leaf's gateway.
#[derive(Clone, Copy)]
pub(crate) enum End<'a> {
    /// A device of the parent's own, with a route for each of the leaf's addresses.
    Routed,
    /// The same, for the second wire of a leaf.
    Second,
    /// A port of this bridge.
    Port(&'a Bridge),
}

impl Leaf<'_> {
    /// When this returns, the first packet either way arrives.
    pub(crate) fn connect(&self, parent: &mut Rtnl, leaf: &mut Rtnl) -> Result<(), RtnlError> {
        parent.apply(self.parent_requests())?;
        leaf.apply(self.leaf_requests())?;
        leaf.wait_for_link(self.index())?;
        parent.wait_for_link(self.parent_index())?;
        if let End::Port(bridge) = self.end {
            // A bridge without a port has no carrier, and until it has, its IPv6 addresses are not in use.
            parent.wait_for_link(bridge.index)?;
            bridge.gateways.iter().try_for_each(|gateway| parent.wait_for_address(gateway.addr()))?;
        }
        self.addrs.iter().try_for_each(|&addr| leaf.wait_for_address(addr))
    }

    fn device(&self) -> &'static str {
        if let End::Second = self.end { SECOND_DEVICE } else { LEAF_DEVICE }
    }

    fn index(&self) -> u32 {
        if let End::Second = self.end { SECOND_INDEX } else { LEAF_INDEX }
    }

    fn parent_index(&self) -> u32 {
        parent_index(self.serial)
    }

    fn parent_mac(&self) -> [u8; 6] {
        let [high, low] = self.serial.to_be_bytes();
        [0x02, 0x5e, 0, 0, high, low]
    }

    fn leaf_mac(&self) -> [u8; 6] {
        let [high, low] = self.serial.to_be_bytes();
        [0x02, 0x5e, 0, 1, high, low]
    }

    fn parent_requests(&self) -> Vec<Request> {
        let index = self.parent_index();
        let mut requests = vec![Request::new_link(format!("veth {}", self.parent_device), self.pair())];
        if let End::Port(bridge) = self.end {
            requests.push(port(self.parent_device, index, bridge.index));
            requests.extend(self.addrs.iter().map(|&a| Request::new_neighbour(bridge.index, a, self.leaf_mac())));
            return requests;
        }
        for &addr in self.addrs {
            requests.push(Request::new_neighbour(index, addr, self.leaf_mac()));
            requests.push(route(host(addr), Hop::Link { index }));
        }
        for &network in self.networks {
            let same_family = |addr: &&IpAddr| addr.is_ipv4() == network.addr().is_ipv4();
            if let Some(&gateway) = self.addrs.iter().find(same_family) {
                requests.push(route(network, Hop::Via { gateway, index }));
            }
        }
        requests
    }

    /// Both ends at once. The parent's end comes up with it; the leaf's cannot, its peer is not there yet at that moment.
    fn pair(&self) -> LinkMessage {
        let leaf = LinkMessageBuilder::<LinkUnspec>::new()
            .name(self.device())
            .index(self.index())
            .address(self.leaf_mac().to_vec())
            .mtu(self.mtu)
            .setns_by_fd(self.sandbox.netns().as_fd().as_raw_fd())
            .build();
        LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(self.parent_device)
            .index(self.parent_index())
            .address(self.parent_mac().to_vec())
            .mtu(self.mtu)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(leaf)))
            .build()
    }

    fn leaf_requests(&self) -> Vec<Request> {
        let index = self.index();
        let mut requests = vec![up("lo", LO_INDEX), up(self.device(), index)];
        let networks = self.gateways();
        for &addr in self.addrs {
            let network = networks.iter().find(|(gateway, ..)| gateway.contains(&addr));
            requests.push(Request::new_address(index, IpNet::new_assert(addr, prefix(addr, network))));
        }
        for (gateway, mac) in networks {
            if self.addrs.iter().any(|addr| addr.is_ipv4() == gateway.addr().is_ipv4()) {
                let (gateway, metric) = (gateway.addr(), if let End::Second = self.end { SECOND_METRIC } else { 0 });
                requests.push(Request::new_neighbour(index, gateway, mac));
                requests.push(route_with(everything(gateway), Hop::Via { gateway, index }, MAIN, metric));
            }
        }
        requests
    }

    /// The leaf's gateways with their networks and MAC addresses.
    fn gateways(&self) -> Vec<(IpNet, [u8; 6])> {
        match self.end {
            End::Port(bridge) => bridge.gateways.iter().map(|&gateway| (gateway, bridge.mac)).collect(),
            End::Routed | End::Second => GATEWAYS.map(|gateway| (host(gateway), self.parent_mac())).into(),
        }
    }
}

/// The index of the parent's device of a wire.
pub(crate) fn parent_index(serial: u16) -> u32 {
    LEAF_INDEX + u32::from(serial)
}

/// The address alone.
pub(crate) fn host(addr: IpAddr) -> IpNet {
    IpNet::new_assert(addr, host_prefix(addr))
}

/// The length of the network an address is given with: that of its gateway's, or its own alone.
fn prefix(addr: IpAddr, gateway: Option<&(IpNet, [u8; 6])>) -> u8 {
    gateway.map_or_else(|| host_prefix(addr), |(network, _)| network.prefix_len())
}

/// Makes a device a port of a bridge.
fn port(device: &str, index: u32, bridge: u32) -> Request {
    let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).controller(bridge).build();
    Request::change_link(format!("{device} (port of a bridge)"), message)
}

/// Brings the loopback device up.
pub(crate) fn loopback_up() -> Request {
    up("lo", LO_INDEX)
}

/// Makes every address of a network the sandbox's own.
pub(crate) fn own(network: IpNet) -> Request {
    route(network, Hop::Here)
}

/// An address on the loopback device.
pub(crate) fn loopback_address(addr: IpAddr) -> Request {
    Request::new_address(LO_INDEX, host(addr))
}

/// Sends what is for this network out by a device.
pub(crate) fn link_route(network: IpNet, index: u32) -> Request {
    route(network, Hop::Link { index })
}

/// What is for this network leaves by the loopback device, as by any other. IPv4 only: of such a route IPv6 makes a refusal.
pub(crate) fn by_loopback(network: IpNet) -> Request {
    route(network, Hop::Link { index: LO_INDEX })
}

/// Drops what is for this network and has no longer route.
pub(crate) fn blackhole(network: IpNet) -> Request {
    route(network, Hop::Nowhere)
}

/// The default route of an address's family.
pub(crate) fn everything(of: IpAddr) -> IpNet {
    let any = if of.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    IpNet::new_assert(any, 0)
}

pub(crate) fn up(device: &str, index: u32) -> Request {
    let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
    Request::change_link(format!("{device} (up)"), message)
}

/// Where a route leads.
#[derive(Clone, Copy)]
pub(crate) enum Hop {
    Link { index: u32 },
    Via { gateway: IpAddr, index: u32 },
    Nowhere,
    Here,
}

/// A route of the main table, or of the local one for what is the sandbox's own.
pub(crate) fn route(network: IpNet, hop: Hop) -> Request {
    route_with(network, hop, if matches!(hop, Hop::Here) { RT_TABLE_LOCAL } else { MAIN }, 0)
}

/// A route of this table.
pub(crate) fn route_in(table: u8, network: IpNet, hop: Hop) -> Request {
    route_with(network, hop, table, 0)
}

/// The kernel gives a metric of its own to a route of IPv6 that has none.
fn route_with(network: IpNet, hop: Hop, table: u8, metric: u32) -> Request {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(network.addr());
    header.destination_prefix_length = network.prefix_len();
    header.table = table;
    header.protocol = RouteProtocol::Static;
    (header.scope, header.kind) = match hop {
        Hop::Link { .. } => (RouteScope::Link, RouteType::Unicast),
        Hop::Via { .. } => (RouteScope::Universe, RouteType::Unicast),
        Hop::Nowhere => (RouteScope::Universe, RouteType::BlackHole),
        Hop::Here => (RouteScope::Host, RouteType::Local),
    };
    if network.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route_address(network.addr())));
    }
    if metric > 0 {
        message.attributes.push(RouteAttribute::Priority(metric));
    }
    match hop {
        Hop::Link { index } => message.attributes.push(RouteAttribute::Oif(index)),
        Hop::Via { gateway, index } => {
            message.header.flags |= RouteFlags::Onlink;
            message.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
            message.attributes.push(RouteAttribute::Oif(index));
        }
        Hop::Nowhere => {}
        Hop::Here => message.attributes.push(RouteAttribute::Oif(LO_INDEX)),
    }
    Request::new_route(format!("route {network}"), message)
}
