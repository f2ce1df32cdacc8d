//! What a network device is, and whether it gets the device entrance.
use std::fmt;

/// The kernel's number of a device, unique in its network namespace at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkIndex(u32);

impl LinkIndex {
    /// From the kernel's number.
    #[must_use]
    pub fn new(index: u32) -> Self {
        Self(index)
    }

    /// The kernel's number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LinkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number that one network namespace has for another one (`IFLA_LINK_NETNSID`): the kernel gives it when it is first told, and it
/// holds for as long as that namespace lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetnsId(u32);

impl NetnsId {
    /// From the kernel's number; `None` for one below zero, which says that there is none (`NETNSA_NSID_NOT_ASSIGNED`).
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }

    /// The kernel's number; at most `i32::MAX`.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// A network device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name; may change.
    pub name: String,
    /// What made it.
    pub kind: LinkKind,
    /// The device it belongs to.
    pub upper: Upper,
    /// What its packets begin with.
    pub layer: Layer,
    /// Its address on an Ethernet.
    pub mac: Option<[u8; 6]>,
    /// The XDP program that meets its packets first, by the kernel's number.
    pub xdp_program: Option<u32>,
    /// The network namespace of its other end, unless that is its own: of a pod's veth the pod's, of a tunnel that was moved the one it is
    /// carried in.
    pub peer_netns: Option<NetnsId>,
}

/// What made a device: `IFLA_INFO_KIND`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkKind {
    /// A driver: physical and virtual NICs, `lo`.
    Driver,
    /// A virtual Ethernet pair's end.
    Veth,
    /// A bridge.
    Bridge,
    /// A VXLAN tunnel.
    Vxlan,
    /// A VLAN of another device.
    Vlan,
    /// A bond.
    Bond,
    /// An intermediate functional block: takes packets of another device in its place.
    Ifb,
    /// Another kind, as the kernel names it.
    Other(String),
}

/// The device a device belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Upper {
    /// None.
    None,
    /// A bond, team or failover device: it stands for its ports, their packets are its own.
    Aggregate(LinkIndex),
    /// A bridge, a VRF or the like.
    Other(LinkIndex),
}

/// What a device's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Layer {
    /// `lo`.
    Loopback,
    /// An Ethernet header.
    Ethernet,
    /// The IP header itself: tunnels, WireGuard, `tun`, PPP.
    Ip,
    /// Something else; the number is the kernel's `ARPHRD_*`.
    Other(u16),
}

/// Why a device does not get the device entrance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exclusion {
    /// What a node sends to itself is decided at the socket.
    Loopback,
    /// Its packets pass the device above it, which is served.
    AggregatePort,
    /// It shows the packets of another device a second time, and those it received as if they were sent.
    Redirector,
    /// Its packets begin neither with an Ethernet header nor with an IP header: InfiniBand, CAN, monitors.
    OtherHeader,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback device",
            Self::AggregatePort => "port of a bond, team or failover device, which is served in its place",
            Self::Redirector => "ifb device, which repeats the packets of another one",
            Self::OtherHeader => "its packets begin neither with an Ethernet header nor with an IP header",
        })
    }
}

/// Why a device does not get the device entrance; `None` if it does. Ports of a bridge and the bridge itself both do.
#[must_use]
pub fn exclusion(link: &Link) -> Option<Exclusion> {
    match (link.layer, &link.kind, link.upper) {
        (Layer::Loopback, ..) => Some(Exclusion::Loopback),
        (_, _, Upper::Aggregate(_)) => Some(Exclusion::AggregatePort),
        (_, LinkKind::Ifb, _) => Some(Exclusion::Redirector),
        (Layer::Other(_), ..) => Some(Exclusion::OtherHeader),
        (Layer::Ethernet | Layer::Ip, ..) => None,
    }
}

/// Whether a device gets the device entrance.
#[must_use]
pub fn serves(link: &Link) -> bool {
    exclusion(link).is_none()
}

impl From<&str> for LinkKind {
    fn from(kind: &str) -> Self {
        match kind {
            "" => Self::Driver,
            "veth" => Self::Veth,
            "bridge" => Self::Bridge,
            "vxlan" => Self::Vxlan,
            "vlan" => Self::Vlan,
            "bond" => Self::Bond,
            "ifb" => Self::Ifb,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: Upper = Upper::Other(LinkIndex(9));
    const BOND: Upper = Upper::Aggregate(LinkIndex(9));
    const INFINIBAND: Layer = Layer::Other(32);

    #[test]
    fn every_device_is_served_but_loopback_aggregate_ports_redirectors_and_those_with_headers_of_another_kind() {
        for (name, kind, layer, upper, want) in [
            ("a NIC", LinkKind::Driver, Layer::Ethernet, Upper::None, None),
            ("a pod's veth", LinkKind::Veth, Layer::Ethernet, Upper::None, None),
            ("a pod's veth in a bridge", LinkKind::Veth, Layer::Ethernet, BRIDGE, None),
            ("the bridge", LinkKind::Bridge, Layer::Ethernet, Upper::None, None),
            ("flannel.1", LinkKind::Vxlan, Layer::Ethernet, Upper::None, None),
            ("a VLAN", LinkKind::Vlan, Layer::Ethernet, Upper::None, None),
            ("a bond", LinkKind::Bond, Layer::Ethernet, Upper::None, None),
            ("a bond in a bridge", LinkKind::Bond, Layer::Ethernet, BRIDGE, None),
            ("a bond's port", LinkKind::Driver, Layer::Ethernet, BOND, Some(Exclusion::AggregatePort)),
            ("lo", LinkKind::Driver, Layer::Loopback, Upper::None, Some(Exclusion::Loopback)),
            ("ifb0", LinkKind::Ifb, Layer::Ethernet, Upper::None, Some(Exclusion::Redirector)),
            ("wireguard", "wireguard".into(), Layer::Ip, Upper::None, None),
            ("tunl0", "ipip".into(), Layer::Ip, Upper::None, None),
            ("ib0", LinkKind::Driver, INFINIBAND, Upper::None, Some(Exclusion::OtherHeader)),
        ] {
            let (index, name_of) = (LinkIndex(2), name.to_owned());
            let link =
                Link { index, name: name_of, kind, upper, layer, mac: None, xdp_program: None, peer_netns: None };
            assert_eq!(exclusion(&link), want, "case: {name}");
            assert_eq!(serves(&link), want.is_none(), "case: {name}");
        }
    }
}
