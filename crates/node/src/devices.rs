//! What the kernel programs need to know of each device: the contents of their map `devices`.
use crate::addresses::{NodeAddresses, SourceAddr};
use crate::link::{Layer, Link, LinkIndex, LinkKind, Upper, serves};
use sheave_abi::{DEVICE_BRIDGE_PORT, DEVICE_FALLBACK, DEVICE_NO_ETHERNET, DEVICE_PODS, DEVICE_UPLINK, DeviceValue};
use sheave_core::Family;
use sheave_core::rules::LocalPods;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Devices that carry packets inside of others, and so lead to where another device leads.
const TUNNELS: [&str; 15] = [
    "geneve",
    "ipip",
    "gre",
    "gretap",
    "erspan",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "ip6tnl",
    "sit",
    "vti",
    "vti6",
    "xfrm",
    "wireguard",
    "tun",
];

/// A node and its devices.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// All devices.
    pub links: &'a BTreeMap<LinkIndex, Link>,
    /// Their addresses.
    pub addresses: &'a NodeAddresses,
    /// The node's primary addresses, as the Node object reports them (A5); they need not be on any device.
    pub primary: &'a [IpAddr],
    /// How pods of this node are told from other sources (R5).
    pub local_pods: &'a LocalPods,
}

/// What the map `devices` has to hold: an entry for each device that is served, and the one at [`DEVICE_FALLBACK`]. Equal
/// surroundings give equal entries.
#[must_use]
pub fn device_values(node: Surroundings<'_>) -> BTreeMap<u32, DeviceValue> {
    let served = node.links.values().filter(|link| serves(link));
    let mut values: BTreeMap<u32, DeviceValue> = served.map(|link| (link.index.get(), node.value(link))).collect();
    values.insert(DEVICE_FALLBACK, addressed(DeviceValue::default(), |family| node.fallback(family)));
    values
}

/// The devices that lead out of a node.
pub(crate) fn uplinks(node: Surroundings<'_>) -> impl Iterator<Item = &Link> {
    node.links.values().filter(move |link| node.is_uplink(link))
}

/// The addresses of the entry at [`DEVICE_FALLBACK`] of a map that holds this.
#[must_use]
pub fn fallback_addresses(held: &BTreeMap<u32, DeviceValue>) -> Vec<IpAddr> {
    let addrs = held.get(&DEVICE_FALLBACK).map(|value| [IpAddr::from(value.addr_v4), IpAddr::from(value.addr_v6)]);
    addrs.into_iter().flatten().filter(|addr| !addr.is_unspecified()).collect()
}

/// With the address of each family that the node sends from.
fn addressed(value: DeviceValue, source: impl Fn(Family) -> Option<IpAddr>) -> DeviceValue {
    Family::ALL.into_iter().filter_map(source).fold(value, |value, addr| match addr {
        IpAddr::V4(addr) => DeviceValue { addr_v4: addr.octets(), ..value },
        IpAddr::V6(addr) => DeviceValue { addr_v6: addr.octets(), ..value },
    })
}

impl<'a> Surroundings<'a> {
    fn value(self, link: &Link) -> DeviceValue {
        let bridge = self.bridge(link);
        let flags = [
            (DEVICE_PODS, self.leads_to_pods(link)),
            (DEVICE_UPLINK, self.is_uplink(link)),
            (DEVICE_BRIDGE_PORT, bridge.is_some()),
            (DEVICE_NO_ETHERNET, link.layer == Layer::Ip),
        ];
        let value = DeviceValue {
            flags: flags.into_iter().filter(|(_, holds)| *holds).map(|(flag, _)| flag).sum(),
            mac: link.mac.unwrap_or_default(),
            bridge_mac: bridge.and_then(|bridge| bridge.mac).unwrap_or_default(),
            bridge: bridge.map(|bridge| bridge.index.get()).unwrap_or_default(),
            peer_netns: link.peer_netns.map_or(0, |netns| netns.get() + 1),
            ..DeviceValue::default()
        };
        // What leaves by a port was routed to its bridge.
        addressed(value, |family| {
            let of_bridge = || bridge.and_then(|bridge| self.source(bridge.index, family));
            self.source(link.index, family).or_else(of_bridge)
        })
    }

    /// The bridge a device is a port of.
    fn bridge(self, link: &Link) -> Option<&'a Link> {
        let Upper::Other(upper) = link.upper else { return None };
        self.links.get(&upper).filter(|upper| upper.kind == LinkKind::Bridge)
    }

    /// Whether the detector, by name, takes what comes in here for a pod's. What it says of a bridge holds for its ports, where
    /// the packets are decided: netfilter, for which the detector is made, meets them at the bridge.
    fn leads_to_pods(self, link: &Link) -> bool {
        let takes = |link: &Link| self.local_pods.takes_device(&link.name);
        takes(link) || self.bridge(link).is_some_and(takes)
    }

    /// Whether a device leads out of the node by itself. A device with the node's primary address does, whatever it is. Else
    /// it has an address and is neither a bridge, which leads to pods, nor a tunnel, which may be one way of a route that is
    /// another one back, nor a pod's veth, all of which some plugins give one address.
    fn is_uplink(self, link: &Link) -> bool {
        let sources = self.sources(link.index);
        let global: Vec<SourceAddr> = sources.iter().copied().filter(|source| !is_link_local(source.addr)).collect();
        if global.iter().any(|source| self.primary.contains(&source.addr)) {
            return true;
        }
        match &link.kind {
            LinkKind::Bridge | LinkKind::Vxlan => false,
            LinkKind::Other(kind) => kind != "dummy" && !TUNNELS.contains(&&**kind) && !global.is_empty(),
            LinkKind::Veth => !self.leads_to_pods(link) && global.iter().any(|source| self.is_alone(link, source.addr)),
            LinkKind::Driver | LinkKind::Vlan | LinkKind::Bond | LinkKind::Ifb => !global.is_empty(),
        }
    }

    /// Whether no other device has an address.
    fn is_alone(self, link: &Link, addr: IpAddr) -> bool {
        let mut others = self.addresses.sources.iter().filter(|(index, _)| **index != link.index);
        !others.any(|(_, sources)| sources.iter().any(|source| source.addr == addr))
    }

    fn sources(self, index: LinkIndex) -> &'a [SourceAddr] {
        self.addresses.sources.get(&index).map_or(&[], Vec::as_slice)
    }

    /// The address the node sends from by a device. The kernel takes the first of IPv4 (net/ipv4/devinet.c, inet_select_addr),
    /// but prefers one of the next hop's subnet, which a table by device cannot know: so the primary address comes first, one
    /// without a subnet, as moves between nodes, last. For IPv6 the rest depends on the destination (RFC 6724); the lowest
    /// is as good as any, and stays.
    fn source(self, index: LinkIndex, family: Family) -> Option<IpAddr> {
        let of_family = self.sources(index).iter().filter(|source| Family::of(source.addr) == family);
        of_family.min_by_key(|source| self.reluctance(**source)).map(|source| source.addr)
    }

    fn reluctance(self, source: SourceAddr) -> (bool, bool, bool, Option<Ipv6Addr>) {
        let order = match source.addr {
            IpAddr::V4(_) => None,
            IpAddr::V6(addr) => Some(addr),
        };
        (!self.primary.contains(&source.addr), is_link_local(source.addr), stands_alone(source), order)
    }

    /// The address the node sends from by a device that has none: the primary one if it has it, else that of the first uplink,
    /// else that of any device. The kernel takes the first device's in such a case.
    fn fallback(self, family: Family) -> Option<IpAddr> {
        let primary = self.primary.iter().copied().find(|addr| Family::of(*addr) == family);
        let of_device = |link: &&Link| self.source(link.index, family);
        let first = || {
            let uplink = self.links.values().filter(|link| self.is_uplink(link)).find_map(|link| of_device(&link));
            uplink.or_else(|| self.links.values().find_map(|link| of_device(&link)))
        };
        primary.filter(|addr| self.addresses.own.contains(addr)).or_else(first)
    }
}

/// Addresses of the link itself: no others know a way back.
fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// Whether an address comes without a subnet.
fn stands_alone(source: SourceAddr) -> bool {
    source.prefix_len == if source.addr.is_ipv4() { 32 } else { 128 }
}
