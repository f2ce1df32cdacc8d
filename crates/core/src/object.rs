//! The Kubernetes objects sheave reads, reduced to what it acts on and parsed once, at the edge (`sheave-kube-source`).
use crate::name::{ServiceName, SliceName};
use crate::net::{Family, Port, Protocol};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A Service that asks to be served: W1, W2 and W3 have been applied by the source (see [`Service::cluster_ips`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Creation time in seconds since the epoch; the older of two claimants wins a frontend (X1).
    pub created_unix_s: i64,
    /// The addresses of A1, at most one per family. Empty for a Service that gives no rules: headless (W2), ExternalName
    /// (W3), or left to another proxy (W1).
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports. Unique by (name, protocol); the source drops later duplicates with a diagnostic.
    pub ports: Vec<ServicePort>,
    /// The file and line it was read from, if any: for diagnostics.
    pub origin: Option<Arc<str>>,
}

/// One port of a [`Service`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Name, empty for the only, unnamed port.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// The port clients dial at a VIP.
    pub port: Port,
}

/// An EndpointSlice of one Service and one family. Slices without a Service (W5), headless ones (W2) and FQDN ones (W4)
/// never get here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSlice {
    /// Its name.
    pub name: SliceName,
    /// The Service it belongs to, from the label `kubernetes.io/service-name`.
    pub service: ServiceName,
    /// The family of its `addressType`; every endpoint's address is of it.
    pub family: Family,
    /// Ports with a number (W6: nil and 0 are ignored).
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a slice: the number behind a Service port's name in this slice (W6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// Name, empty for the unnamed port.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Target port.
    pub port: Port,
}

/// What an EndpointSlice reports of one endpoint. Conditions have their defaults applied (W7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `addresses[0]` (W8).
    pub addr: IpAddr,
    /// Condition `ready`, nil = true.
    pub ready: bool,
    /// Condition `serving`, nil = true.
    pub serving: bool,
    /// Condition `terminating`, nil = false.
    pub terminating: bool,
    /// Node it runs on; nil = not local.
    pub node: Option<Arc<str>>,
}

/// A Node, of which only this one is watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels (zone and hostname matter, W14).
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// `status.addresses` of types InternalIP and ExternalIP, in the API's order.
    pub addresses: Vec<IpAddr>,
}

/// A ServiceCIDR object (KEP-1880).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCidr {
    /// Its name.
    pub name: Arc<str>,
    /// Its CIDRs, at most one per family.
    pub cidrs: Vec<IpNet>,
}
