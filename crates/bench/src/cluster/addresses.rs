//! Who has which address: everything lies in 10.0.0.0/8, which a sandbox that talks to itself has all to itself.
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

/// All addresses of the cluster.
pub const NETWORK: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8));
/// The pods' network.
pub const PODS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9));
/// The part of it in which every endpoint is; clients have addresses in the rest.
pub const ENDPOINTS: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 10));
/// The node, from which clients dial.
pub const NODE_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

const VIPS: u32 = u32::from_be_bytes([10, 96, 1, 0]);
const OUTSIDE: u32 = u32::from_be_bytes([10, 32, 0, 0]);
/// An endpoint stands at the one address or at the other: each place is half of [`ENDPOINTS`].
const PLACES: [u32; 2] = [u32::from_be_bytes([10, 128, 0, 0]), u32::from_be_bytes([10, 160, 0, 0])];

/// So many Services have a ClusterIP each.
pub(crate) const SERVICES_MAX: u32 = (1 << 21) - 1024;
/// So many endpoints have an address each.
pub(crate) const ENDPOINTS_MAX: u32 = (1 << 21) - 1024;

pub(super) fn vip(service: u32) -> IpAddr {
    Ipv4Addr::from_bits(VIPS + service).into()
}

/// A load balancer's address.
pub(super) fn outside(service: u32) -> IpAddr {
    Ipv4Addr::from_bits(OUTSIDE + service).into()
}

/// An endpoint's address, by its number in the cluster.
pub(super) fn pod(number: u32, moved: bool) -> IpAddr {
    Ipv4Addr::from_bits(PLACES[usize::from(moved)] + number).into()
}
