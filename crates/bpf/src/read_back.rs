//! Reads the maps back: at start what an earlier run has left, on an audit what is really there.
use crate::chunks::Chunks;
use crate::contents::{Contents, Stray};
use crate::growing::Growing;
use crate::image::Image;
use crate::map::Map;
use crate::ops::{AddrUse, BackendEntry, Hash, HashRooms, RulesEntry, ServiceEntry};
use crate::pins::Pins;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sheave_abi::{
    ADDR_NODE_PORTS, ADDR_OWN, BACKEND_IN_CLUSTER, BACKEND_IN_LOCAL, BACKEND_SERVING, BACKENDS_CHUNK, BackendId,
    BackendV4, BackendV6, FRONTEND_ADDRESS, FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER,
    FRONTEND_NODE_PORT, FrontendKeyV4, FrontendKeyV6, FrontendValue, NetPort, RANGE_SERVICE_BITS, RULES_MASQUERADE_ALL,
    RULES_PODS_INTERFACE, RULES_PODS_PREFIX, RULES_PODS_V4, RULES_PODS_V6, RangeKeyV4, RangeKeyV6, RulesValue,
    SERVICE_EXTERNAL_LOCAL, SERVICE_INTERNAL_LOCAL, SERVICE_RESTRICTED, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId,
    ServiceNameValue, ServiceValue,
};
use sheave_core::rules::LocalPods;
use sheave_core::{Affinity, Backend, Family, Frontend, FrontendKind, Port, Protocol, ServiceKey, TrafficPolicy};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How often maps are read beside a writer until they are taken for what they are.
const READINGS: usize = 5;

/// A map cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the map {map} below {path}: {source}")]
pub struct ReadBackError {
    map: &'static str,
    path: String,
    source: io::Error,
}

/// Reads the maps pinned below a BPF file system. No pins: an empty image. What contradicts itself is named, not taken over.
pub fn read_back(bpffs: &Path) -> Result<(Image, Vec<Stray>), ReadBackError> {
    let maps = Pins::new(bpffs).maps();
    if !maps.exists() {
        return Ok((Image::default(), Vec::new()));
    }
    contents(&maps).map(Image::from_contents)
}

/// The same beside a running agent: what contradicts itself may only be half written, and is read again a few times.
pub fn read_back_live(bpffs: &Path) -> Result<(Image, Vec<Stray>), ReadBackError> {
    for _ in 1..READINGS {
        let read = read_back(bpffs)?;
        if read.1.is_empty() {
            return Ok(read);
        }
    }
    read_back(bpffs)
}

fn contents(maps: &Path) -> Result<Contents, ReadBackError> {
    let mut rooms = HashRooms::default();
    let mut contents = Contents {
        names: growing(maps, Hash::Names, &mut rooms)?
            .into_iter()
            .filter_map(|(id, name)| Some((service_id(id)?, service_key(&name)?)))
            .collect(),
        services: services(array(maps, "services", SERVICES_CHUNK)?),
        slots: slots(array(maps, "slots", SLOTS_CHUNK)?),
        backends_v4: backends(&array::<BackendV4>(maps, "backends_v4", BACKENDS_CHUNK)?),
        backends_v6: backends(&array::<BackendV6>(maps, "backends_v6", BACKENDS_CHUNK)?),
        rules: rules(maps)?,
        ..Contents::default()
    };
    for (key, value) in growing::<FrontendKeyV4, FrontendValue>(maps, Hash::Frontends(Family::V4), &mut rooms)? {
        contents.frontend(key.addr.into(), key.port, key.protocol, value);
    }
    for (key, value) in growing::<FrontendKeyV6, FrontendValue>(maps, Hash::Frontends(Family::V6), &mut rooms)? {
        contents.frontend(key.addr.into(), key.port, key.protocol, value);
    }
    contents.rooms = rooms;
    let v4 = hash::<[u8; 4], u32>(maps, "node_addrs_v4")?.into_iter().map(|(addr, flags)| (addr.into(), flags));
    let v6 = hash::<[u8; 16], u32>(maps, "node_addrs_v6")?.into_iter().map(|(addr, flags)| (addr.into(), flags));
    contents.addrs = v4.chain(v6).map(|(addr, flags)| (addr, addr_use(flags))).collect();
    for (RangeKeyV4 { prefix_len, service, addr }, _) in hash::<RangeKeyV4, u32>(maps, "ranges_v4")? {
        contents.range(service, prefix_len, |len| Ipv4Net::new(addr.into(), len).ok().map(IpNet::V4));
    }
    for (RangeKeyV6 { prefix_len, service, addr }, _) in hash::<RangeKeyV6, u32>(maps, "ranges_v6")? {
        contents.range(service, prefix_len, |len| Ipv6Net::new(addr.into(), len).ok().map(IpNet::V6));
    }
    Ok(contents)
}

/// The entries of a hash that grows; notes how many it has room for.
fn growing<K, V>(maps: &Path, hash: Hash, rooms: &mut HashRooms) -> Result<Vec<(K, V)>, ReadBackError>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    let opened = Growing::open(&maps.join(hash.name())).map_err(failed(maps, hash.name()))?;
    rooms.set(hash, opened.max_entries());
    opened.table().entries().map_err(failed(maps, hash.name()))
}

fn hash<K, V>(maps: &Path, map: &'static str) -> Result<Vec<(K, V)>, ReadBackError>
where
    K: FromBytes + IntoBytes + Immutable,
    V: FromBytes + IntoBytes + Immutable,
{
    Map::open(&maps.join(map)).and_then(|hash| hash.entries()).map_err(failed(maps, map))
}

fn array<V: FromBytes + IntoBytes + Immutable>(
    maps: &Path,
    map: &'static str,
    chunk_len: u32,
) -> Result<Vec<(u32, V)>, ReadBackError> {
    Chunks::open(&maps.join(map), chunk_len).and_then(|mut array| array.entries()).map_err(failed(maps, map))
}

fn failed(maps: &Path, map: &'static str) -> impl FnOnce(io::Error) -> ReadBackError {
    let path = maps.display().to_string();
    move |source| ReadBackError { map, path, source }
}

impl Contents {
    fn frontend(&mut self, addr: IpAddr, port: NetPort, protocol: u8, value: FrontendValue) {
        let service = service_id(value.service).zip(kind(value.kind));
        match (Port::new(port.to_host()), protocol_of(protocol), service) {
            (Some(port), Some(protocol), Some(to)) => {
                self.frontends.insert(Frontend { addr, port, protocol }, to);
            }
            (None, None, None) if value.kind == FRONTEND_ADDRESS => {
                self.vips.insert(addr);
            }
            // No version of sheave wrote this entry.
            _ => {}
        }
    }

    fn range(&mut self, service: u32, prefix_len: u32, net: impl FnOnce(u8) -> Option<IpNet>) {
        let len = prefix_len.checked_sub(RANGE_SERVICE_BITS).and_then(|len| u8::try_from(len).ok());
        // Of a shorter prefix the id itself is a part: no version of sheave wrote it.
        if let Some(range) = len.and_then(net) {
            self.ranges.entry(service_id(service)).or_default().insert(range);
        }
    }
}

fn kind(number: u8) -> Option<FrontendKind> {
    match number {
        FRONTEND_CLUSTER_IP => Some(FrontendKind::ClusterIp),
        FRONTEND_NODE_PORT => Some(FrontendKind::NodePort),
        FRONTEND_LOAD_BALANCER => Some(FrontendKind::LoadBalancer),
        FRONTEND_EXTERNAL_IP => Some(FrontendKind::ExternalIp),
        _ => None,
    }
}

fn addr_use(flags: u32) -> AddrUse {
    AddrUse { own: flags & ADDR_OWN != 0, node_ports: flags & ADDR_NODE_PORTS != 0 }
}

fn rules(maps: &Path) -> Result<RulesEntry, ReadBackError> {
    let read = Map::<u32, RulesValue>::open(&maps.join("rules")).and_then(|rules| rules.get(&0));
    let value = read.map_err(failed(maps, "rules"))?.unwrap_or_default();
    let masquerade_all = value.flags & RULES_MASQUERADE_ALL != 0;
    Ok(RulesEntry { masquerade_all, local_pods: local_pods(&value) })
}

fn local_pods(value: &RulesValue) -> LocalPods {
    let is_set = |flag| value.flags & flag != 0;
    let interface = || -> Arc<str> {
        let name = value.interface.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into()
    };
    if is_set(RULES_PODS_INTERFACE) {
        return LocalPods::Interface(interface());
    }
    if is_set(RULES_PODS_PREFIX) {
        return LocalPods::InterfacePrefix(interface());
    }
    let net = |addr: IpAddr, mask: IpAddr| IpNet::with_netmask(addr, mask).ok();
    LocalPods::Cidr {
        v4: is_set(RULES_PODS_V4).then(|| net(value.pods_v4.into(), value.mask_v4.into())).flatten(),
        v6: is_set(RULES_PODS_V6).then(|| net(value.pods_v6.into(), value.mask_v6.into())).flatten(),
    }
}

fn service_id(id: u32) -> Option<ServiceId> {
    NonZeroU32::new(id).map(ServiceId)
}

fn protocol_of(number: u8) -> Option<Protocol> {
    match number {
        sheave_abi::IPPROTO_TCP => Some(Protocol::Tcp),
        sheave_abi::IPPROTO_UDP => Some(Protocol::Udp),
        sheave_abi::IPPROTO_SCTP => Some(Protocol::Sctp),
        _ => None,
    }
}

fn service_key(name: &ServiceNameValue) -> Option<ServiceKey> {
    std::str::from_utf8(name.text.get(..name.len as usize)?).ok()?.parse().ok()
}

fn services(entries: Vec<(u32, ServiceValue)>) -> BTreeMap<ServiceId, ServiceEntry> {
    let set = entries.into_iter().filter(|(_, value)| *value != ServiceValue::default());
    set.filter_map(|(id, value)| Some((service_id(id)?, service_entry(value)))).collect()
}

fn service_entry(value: ServiceValue) -> ServiceEntry {
    let ServiceValue { cluster, local, flags, affinity_s, zero: _ } = value;
    let policy = |flag| if flags & flag == 0 { TrafficPolicy::Cluster } else { TrafficPolicy::Local };
    ServiceEntry {
        cluster,
        local,
        internal: policy(SERVICE_INTERNAL_LOCAL),
        external: policy(SERVICE_EXTERNAL_LOCAL),
        affinity: (affinity_s != 0).then_some(Affinity { timeout_s: affinity_s }),
        restricted: flags & SERVICE_RESTRICTED != 0,
    }
}

fn slots(entries: Vec<(u32, u32)>) -> Vec<Option<BackendId>> {
    let mut slots = Vec::new();
    for (slot, id) in entries.into_iter().filter_map(|(slot, id)| Some((slot as usize, NonZeroU32::new(id)?))) {
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        slots[slot] = Some(BackendId(id));
    }
    slots
}

/// What the layouts of the families' backends have in common.
pub(crate) trait Entry: FromBytes + IntoBytes + Immutable {
    /// Address, port, ServiceId, state.
    fn parts(&self) -> (IpAddr, NetPort, u32, u8);
}

impl Entry for BackendV4 {
    fn parts(&self) -> (IpAddr, NetPort, u32, u8) {
        (self.addr.into(), self.port, self.service, self.state)
    }
}

impl Entry for BackendV6 {
    fn parts(&self) -> (IpAddr, NetPort, u32, u8) {
        (self.addr.into(), self.port, self.service, self.state)
    }
}

fn backends<E: Entry>(entries: &[(u32, E)]) -> BTreeMap<BackendId, BackendEntry> {
    let serving = entries.iter().filter_map(|(id, entry)| {
        let (addr, port, service, state) = entry.parts();
        let is_set = |bit| state & bit != 0;
        let backend = Backend { addr, port: Port::new(port.to_host())? };
        let entry = BackendEntry {
            backend,
            service: service_id(service)?,
            serving: true,
            in_cluster: is_set(BACKEND_IN_CLUSTER),
            in_local: is_set(BACKEND_IN_LOCAL),
        };
        is_set(BACKEND_SERVING).then_some((BackendId(NonZeroU32::new(*id)?), entry))
    });
    serving.collect()
}
