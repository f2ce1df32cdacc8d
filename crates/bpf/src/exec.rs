//! Performs operations on the kernel's pinned maps.
use crate::chunks::Chunks;
use crate::flow_counts::FlowCounts;
use crate::growing::Growing;
use crate::image::{Image, at};
use crate::load::{LoadError, at_pin};
use crate::map::Map;
use crate::maps::{MapError, Maps, said};
use crate::ops::{AddrUse, Array, BackendEntry, Hash, MapOp, RulesEntry, ServiceEntry};
use crate::pins::Pins;
use crate::withheld::Withheld;
use ipnet::IpNet;
use sheave_abi::{
    ADDR_NODE_PORTS, ADDR_OWN, BACKEND_ABSENT, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, BACKEND_SERVING, BACKENDS_CHUNK,
    BackendId, BackendV4, BackendV6, FRONTEND_ADDRESS, FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP,
    FRONTEND_LOAD_BALANCER, FRONTEND_NODE_PORT, FrontendKeyV4, FrontendKeyV6, FrontendValue, NetPort,
    RANGE_SERVICE_BITS, RULES_MASQUERADE_ALL, RULES_PODS_INTERFACE, RULES_PODS_PREFIX, RULES_PODS_V4, RULES_PODS_V6,
    RangeKeyV4, RangeKeyV6, RulesValue, SERVICE_EXTERNAL_LOCAL, SERVICE_INTERNAL_LOCAL, SERVICE_NAME_LEN,
    SERVICE_RESTRICTED, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, ServiceNameValue, ServiceValue,
};
use sheave_core::rules::LocalPods;
use sheave_core::{Family, Frontend, FrontendKind, Protocol, ServiceKey, TrafficPolicy};
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// The pinned maps, open for writing. One writer at a time.
#[derive(Debug)]
pub struct KernelMaps {
    frontends_v4: Growing<FrontendKeyV4, FrontendValue>,
    frontends_v6: Growing<FrontendKeyV6, FrontendValue>,
    names: Growing<u32, ServiceNameValue>,
    services: Chunks<ServiceValue>,
    slots: Chunks<u32>,
    backends_v4: Chunks<BackendV4>,
    backends_v6: Chunks<BackendV6>,
    node_addrs_v4: Map<[u8; 4], u32>,
    node_addrs_v6: Map<[u8; 16], u32>,
    ranges_v4: Map<RangeKeyV4, u32>,
    ranges_v6: Map<RangeKeyV6, u32>,
    rules: Map<u32, RulesValue>,
    flows: FlowCounts,
    /// What is to be written by [`KernelMaps::publish`].
    withheld: Option<Withheld>,
}

impl KernelMaps {
    /// Opens the maps that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// Names the map that is missing or of another layout.
    pub fn open(bpffs: &Path) -> Result<Self, LoadError> {
        let dir = Pins::new(bpffs).maps();
        Ok(Self {
            frontends_v4: at_pin(&dir, "frontends_v4", Growing::open)?,
            frontends_v6: at_pin(&dir, "frontends_v6", Growing::open)?,
            names: at_pin(&dir, "names", Growing::open)?,
            services: at_pin(&dir, "services", |path| Chunks::open(path, SERVICES_CHUNK))?,
            slots: at_pin(&dir, "slots", |path| Chunks::open(path, SLOTS_CHUNK))?,
            backends_v4: at_pin(&dir, "backends_v4", |path| Chunks::open(path, BACKENDS_CHUNK))?,
            backends_v6: at_pin(&dir, "backends_v6", |path| Chunks::open(path, BACKENDS_CHUNK))?,
            node_addrs_v4: at_pin(&dir, "node_addrs_v4", Map::open)?,
            node_addrs_v6: at_pin(&dir, "node_addrs_v6", Map::open)?,
            ranges_v4: at_pin(&dir, "ranges_v4", Map::open)?,
            ranges_v6: at_pin(&dir, "ranges_v6", Map::open)?,
            rules: at_pin(&dir, "rules", Map::open)?,
            flows: FlowCounts::open(bpffs)?,
            withheld: None,
        })
    }

    /// To be called once, with the image of what is found: see [`FlowCounts::adopt`].
    ///
    /// # Errors
    /// As that.
    pub fn adopt(&mut self, image: &Image) -> Result<(), MapError> {
        self.flows.adopt(image)
    }

    /// From now on what leads packets to Services is not written but noted, until [`Self::publish`]: programs that run already leave
    /// everything alone.
    pub fn withhold(&mut self) {
        self.withheld.get_or_insert_default();
    }

    /// Writes what was withheld, and withholds nothing more. Returns how many operations that were.
    ///
    /// # Errors
    /// With the first write the kernel refused; the maps are then not what they were said to be, and have to be read back.
    pub fn publish(&mut self) -> Result<usize, MapError> {
        let withheld = self.withheld.take().unwrap_or_default().into_ops();
        withheld.iter().try_for_each(|op| self.exec(op))?;
        Ok(withheld.len())
    }

    fn grow(&mut self, hash: Hash, entries: u32) -> Result<(), MapError> {
        let grown = match hash {
            Hash::Frontends(Family::V4) => self.frontends_v4.grow(entries),
            Hash::Frontends(Family::V6) => self.frontends_v6.grow(entries),
            Hash::Names => self.names.grow(entries),
        };
        said(hash.name(), "growth", grown)
    }

    fn reserve(&mut self, array: Array, end: u32) -> Result<(), MapError> {
        match array {
            Array::Services => {
                said("services", "create", self.services.reserve_below(end))?;
                self.flows.reserve_services_below(end)
            }
            Array::Slots => said("slots", "create", self.slots.reserve_below(end)),
            Array::Backends(family) => {
                let reserved = match family {
                    Family::V4 => self.backends_v4.reserve_below(end),
                    Family::V6 => self.backends_v6.reserve_below(end),
                };
                said(["backends_v4", "backends_v6"][at(family)], "create", reserved)?;
                self.flows.reserve_backends_below(family, end)
            }
        }
    }

    fn write_backends(&mut self, family: Family, entries: &[(BackendId, BackendEntry)]) -> Result<(), MapError> {
        let ids: Vec<u32> = entries.iter().map(|(id, _)| id.0.get()).collect();
        self.flows.reserve_backends(family, &ids)?;
        match family {
            Family::V4 => {
                let values: Vec<_> = entries.iter().map(|(_, entry)| backend_v4(entry)).collect();
                said("backends_v4", "update", self.backends_v4.put_all(&ids, &values))
            }
            Family::V6 => {
                let values: Vec<_> = entries.iter().map(|(_, entry)| backend_v6(entry)).collect();
                said("backends_v6", "update", self.backends_v6.put_all(&ids, &values))
            }
        }
    }

    fn write_slots(&mut self, first: u32, ids: &[BackendId]) -> Result<(), MapError> {
        let (slots, ids): (Vec<u32>, Vec<u32>) = (first..).zip(ids).map(|(slot, id)| (slot, id.0.get())).unzip();
        said("slots", "update", self.slots.put_all(&slots, &ids))
    }

    fn put_name(&mut self, service: ServiceId, key: &ServiceKey) -> Result<(), MapError> {
        self.flows.reserve_service(service)?;
        let put = name(key).map(|name| self.names.table().put(&id(service), &name));
        said("names", "update", put.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))))
    }

    fn put_frontend(&self, addr: IpAddr, port: NetPort, protocol: u8, value: FrontendValue) -> Result<(), MapError> {
        match addr {
            IpAddr::V4(addr) => {
                let key = FrontendKeyV4 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v4", "update", self.frontends_v4.table().put(&key, &value))
            }
            IpAddr::V6(addr) => {
                let key = FrontendKeyV6 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v6", "update", self.frontends_v6.table().put(&key, &value))
            }
        }
    }

    fn delete_frontend(&self, addr: IpAddr, port: NetPort, protocol: u8) -> Result<(), MapError> {
        match addr {
            IpAddr::V4(addr) => {
                let key = FrontendKeyV4 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v4", "delete", self.frontends_v4.table().delete(&key))
            }
            IpAddr::V6(addr) => {
                let key = FrontendKeyV6 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v6", "delete", self.frontends_v6.table().delete(&key))
            }
        }
    }

    fn put_addr(&self, addr: IpAddr, uses: AddrUse) -> Result<(), MapError> {
        let flags = flag(uses.own, ADDR_OWN) | flag(uses.node_ports, ADDR_NODE_PORTS);
        match addr {
            IpAddr::V4(addr) => said("node_addrs_v4", "update", self.node_addrs_v4.put(&addr.octets(), &flags)),
            IpAddr::V6(addr) => said("node_addrs_v6", "update", self.node_addrs_v6.put(&addr.octets(), &flags)),
        }
    }

    fn delete_addr(&self, addr: IpAddr) -> Result<(), MapError> {
        match addr {
            IpAddr::V4(addr) => said("node_addrs_v4", "delete", self.node_addrs_v4.delete(&addr.octets())),
            IpAddr::V6(addr) => said("node_addrs_v6", "delete", self.node_addrs_v6.delete(&addr.octets())),
        }
    }

    fn put_range(&self, service: Option<ServiceId>, range: IpNet) -> Result<(), MapError> {
        match range_key(service, range) {
            RangeKey::V4(key) => said("ranges_v4", "update", self.ranges_v4.put(&key, &1)),
            RangeKey::V6(key) => said("ranges_v6", "update", self.ranges_v6.put(&key, &1)),
        }
    }

    fn delete_range(&self, service: Option<ServiceId>, range: IpNet) -> Result<(), MapError> {
        match range_key(service, range) {
            RangeKey::V4(key) => said("ranges_v4", "delete", self.ranges_v4.delete(&key)),
            RangeKey::V6(key) => said("ranges_v6", "delete", self.ranges_v6.delete(&key)),
        }
    }
}

impl Maps for KernelMaps {
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError> {
        if let Some(withheld) = &mut self.withheld
            && withheld.take(op)
        {
            return Ok(());
        }
        match op {
            MapOp::Grow { hash, entries } => self.grow(*hash, *entries),
            MapOp::Reserve { array, end } => self.reserve(*array, *end),
            MapOp::WriteBackends { family, entries } => self.write_backends(*family, entries),
            MapOp::WriteSlots { first, ids } => self.write_slots(*first, ids),
            MapOp::WriteService { service, entry } => {
                said("services", "update", self.services.put_all(&[id(*service)], &[service_value(entry)]))
            }
            MapOp::PutFrontend { frontend: Frontend { addr, port, protocol }, kind, service } => {
                let value = FrontendValue { service: id(*service), kind: kind_number(*kind), zero: [0; 3] };
                self.put_frontend(*addr, NetPort::from_host(port.get()), number(*protocol), value)
            }
            MapOp::DeleteFrontend { frontend: Frontend { addr, port, protocol } } => {
                self.delete_frontend(*addr, NetPort::from_host(port.get()), number(*protocol))
            }
            MapOp::PutVip { addr } => {
                let value = FrontendValue { service: 0, kind: FRONTEND_ADDRESS, zero: [0; 3] };
                self.put_frontend(*addr, NetPort::ANY, 0, value)
            }
            MapOp::DeleteVip { addr } => self.delete_frontend(*addr, NetPort::ANY, 0),
            MapOp::PutAddr { addr, uses } => self.put_addr(*addr, *uses),
            MapOp::DeleteAddr { addr } => self.delete_addr(*addr),
            MapOp::PutRange { service, range } => self.put_range(*service, *range),
            MapOp::DeleteRange { service, range } => self.delete_range(*service, *range),
            MapOp::WriteRules { rules } => said("rules", "update", self.rules.put(&0, &rules_value(rules))),
            MapOp::ClearServiceFlows { service } => self.flows.clear_service(*service),
            MapOp::ClearBackendFlows { family, ids } => self.flows.clear_backends(*family, ids),
            MapOp::PutName { service, key } => self.put_name(*service, key),
            MapOp::DeleteName { service } => said("names", "delete", self.names.table().delete(&id(*service))),
        }
    }
}

fn id(service: ServiceId) -> u32 {
    service.0.get()
}

/// IANA's protocol numbers.
pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => sheave_abi::IPPROTO_TCP,
        Protocol::Udp => sheave_abi::IPPROTO_UDP,
        Protocol::Sctp => sheave_abi::IPPROTO_SCTP,
    }
}

/// `None` for a name that does not fit, which `lower` refuses.
fn name(key: &ServiceKey) -> Option<ServiceNameValue> {
    let shown = key.to_string();
    let mut text = [0; SERVICE_NAME_LEN];
    text.get_mut(..shown.len())?.copy_from_slice(shown.as_bytes());
    Some(ServiceNameValue { len: u32::try_from(shown.len()).ok()?, zero: 0, text })
}

fn flag<T: Default>(set: bool, flag: T) -> T {
    if set { flag } else { T::default() }
}

fn service_value(entry: &ServiceEntry) -> ServiceValue {
    let ServiceEntry { cluster, local, internal, external, affinity, restricted } = *entry;
    let flags = flag(internal == TrafficPolicy::Local, SERVICE_INTERNAL_LOCAL)
        | flag(external == TrafficPolicy::Local, SERVICE_EXTERNAL_LOCAL)
        | flag(restricted, SERVICE_RESTRICTED);
    ServiceValue { cluster, local, flags, affinity_s: affinity.map_or(0, |affinity| affinity.timeout_s), zero: [0; 8] }
}

fn kind_number(kind: FrontendKind) -> u8 {
    match kind {
        FrontendKind::ClusterIp => FRONTEND_CLUSTER_IP,
        FrontendKind::NodePort => FRONTEND_NODE_PORT,
        FrontendKind::LoadBalancer => FRONTEND_LOAD_BALANCER,
        FrontendKind::ExternalIp => FRONTEND_EXTERNAL_IP,
    }
}

enum RangeKey {
    V4(RangeKeyV4),
    V6(RangeKeyV6),
}

fn range_key(service: Option<ServiceId>, range: IpNet) -> RangeKey {
    let prefix_len = RANGE_SERVICE_BITS + u32::from(range.prefix_len());
    let service = service.map_or(0, id);
    match range {
        IpNet::V4(range) => RangeKey::V4(RangeKeyV4 { prefix_len, service, addr: range.network().octets() }),
        IpNet::V6(range) => RangeKey::V6(RangeKeyV6 { prefix_len, service, addr: range.network().octets() }),
    }
}

fn rules_value(rules: &RulesEntry) -> RulesValue {
    let mut value = RulesValue { flags: flag(rules.masquerade_all, RULES_MASQUERADE_ALL), ..RulesValue::default() };
    match &rules.local_pods {
        LocalPods::Cidr { v4, v6 } => {
            if let Some(IpNet::V4(net)) = v4 {
                value.flags |= RULES_PODS_V4;
                (value.pods_v4, value.mask_v4) = (net.network().octets(), net.netmask().octets());
            }
            if let Some(IpNet::V6(net)) = v6 {
                value.flags |= RULES_PODS_V6;
                (value.pods_v6, value.mask_v6) = (net.network().octets(), net.netmask().octets());
            }
        }
        LocalPods::Interface(name) => {
            value.flags |= RULES_PODS_INTERFACE;
            fill(&mut value.interface, name);
        }
        LocalPods::InterfacePrefix(prefix) => {
            value.flags |= RULES_PODS_PREFIX;
            fill(&mut value.interface, prefix);
        }
    }
    value
}

/// Device names have 15 bytes at most (IFNAMSIZ); a longer one fits no device, and is cut where no device's name reaches.
fn fill(field: &mut [u8; 16], name: &str) {
    field.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
}

fn state(entry: &BackendEntry) -> u8 {
    if !entry.serving {
        return BACKEND_ABSENT;
    }
    BACKEND_SERVING | flag(entry.in_cluster, BACKEND_IN_CLUSTER) | flag(entry.in_local, BACKEND_IN_LOCAL)
}

fn backend_v4(entry: &BackendEntry) -> BackendV4 {
    let addr = match entry.backend.addr {
        IpAddr::V4(addr) => addr.octets(),
        IpAddr::V6(_) => unreachable!("invariant: an operation holds backends of its own family"),
    };
    let port = NetPort::from_host(entry.backend.port.get());
    BackendV4 { addr, service: id(entry.service), port, state: state(entry), zero: [0; 5] }
}

fn backend_v6(entry: &BackendEntry) -> BackendV6 {
    let addr = match entry.backend.addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(_) => unreachable!("invariant: an operation holds backends of its own family"),
    };
    let port = NetPort::from_host(entry.backend.port.get());
    BackendV6 { addr, service: id(entry.service), port, state: state(entry), zero: [0; 9] }
}
