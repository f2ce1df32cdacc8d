//! The one way two namespaces are wired: a veth pair with a leaf at its end.
//!
//! As Calico does it: the leaf has host addresses only and sends everything to a link-local gateway; the parent has one route
//! per address. Neighbours are permanent on both sides, so no packet ever waits for ARP or neighbour discovery.
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
const LEAF_INDEX: u32 = 100;
const LO_INDEX: u32 = 1;
const MTU: u32 = 1500;
/// Looked at before the main table (`include/uapi/linux/rtnetlink.h`).
const RT_TABLE_LOCAL: u8 = 255;

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
}

impl Leaf<'_> {
    /// When this returns, the first packet either way arrives.
    pub(crate) fn connect(&self, parent: &mut Rtnl, leaf: &mut Rtnl) -> Result<(), RtnlError> {
        parent.apply(self.parent_requests())?;
        leaf.apply(self.leaf_requests())?;
        leaf.wait_for_link(LEAF_INDEX)?;
        parent.wait_for_link(self.parent_index())?;
        self.addrs.iter().try_for_each(|&addr| leaf.wait_for_address(addr))
    }

    fn parent_index(&self) -> u32 {
        LEAF_INDEX + u32::from(self.serial)
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
        for &addr in self.addrs {
            requests.push(Request::new_neighbour(index, addr, self.leaf_mac()));
            let host = IpNet::new_assert(addr, host_prefix(addr));
            requests.push(route(host, Hop::Link { index }));
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
            .name(LEAF_DEVICE)
            .index(LEAF_INDEX)
            .address(self.leaf_mac().to_vec())
            .mtu(MTU)
            .setns_by_fd(self.sandbox.netns().as_fd().as_raw_fd())
            .build();
        LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(self.parent_device)
            .index(self.parent_index())
            .address(self.parent_mac().to_vec())
            .mtu(MTU)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(leaf)))
            .build()
    }

    fn leaf_requests(&self) -> Vec<Request> {
        let mut requests = vec![up("lo", LO_INDEX), up(LEAF_DEVICE, LEAF_INDEX)];
        requests.extend(self.addrs.iter().map(|&addr| Request::new_address(LEAF_INDEX, addr)));
        for gateway in GATEWAYS {
            if self.addrs.iter().any(|addr| addr.is_ipv4() == gateway.is_ipv4()) {
                requests.push(Request::new_neighbour(LEAF_INDEX, gateway, self.parent_mac()));
                requests.push(route(everything(gateway), Hop::Via { gateway, index: LEAF_INDEX }));
            }
        }
        requests
    }
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
    Request::new_address(LO_INDEX, addr)
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

#[derive(Clone, Copy)]
enum Hop {
    Link { index: u32 },
    Via { gateway: IpAddr, index: u32 },
    Nowhere,
    Here,
}

fn route(network: IpNet, hop: Hop) -> Request {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(network.addr());
    header.destination_prefix_length = network.prefix_len();
    header.table = if matches!(hop, Hop::Here) { RT_TABLE_LOCAL } else { RouteHeader::RT_TABLE_MAIN };
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
