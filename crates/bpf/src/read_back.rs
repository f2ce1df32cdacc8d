//! Reads the maps back: at start what an earlier run has left, on an audit what is really there.
use crate::chunks::Chunks;
use crate::contents::{Contents, Stray};
use crate::image::Image;
use crate::map::Map;
use crate::ops::BackendEntry;
use crate::pins::Pins;
use sheave_abi::{
    BACKEND_SERVING, BACKENDS_CHUNK, BackendId, BackendV4, BackendV6, FrontendKeyV4, FrontendKeyV6, FrontendValue,
    NetPort, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, ServiceNameValue, SetWord,
};
use sheave_core::{Backend, Frontend, Port, Protocol, ServiceKey};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;
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
    let mut contents = Contents {
        names: hash(maps, "names")?
            .into_iter()
            .filter_map(|(id, name)| Some((service_id(id)?, service_key(&name)?)))
            .collect(),
        words: words(array(maps, "services", SERVICES_CHUNK)?),
        slots: slots(array(maps, "slots", SLOTS_CHUNK)?),
        backends_v4: backends(&array::<BackendV4>(maps, "backends_v4", BACKENDS_CHUNK)?),
        backends_v6: backends(&array::<BackendV6>(maps, "backends_v6", BACKENDS_CHUNK)?),
        ..Contents::default()
    };
    for (key, value) in hash::<FrontendKeyV4, FrontendValue>(maps, "frontends_v4")? {
        contents.frontend(key.addr.into(), key.port, key.protocol, value);
    }
    for (key, value) in hash::<FrontendKeyV6, FrontendValue>(maps, "frontends_v6")? {
        contents.frontend(key.addr.into(), key.port, key.protocol, value);
    }
    Ok(contents)
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
        match (Port::new(port.to_host()), protocol_of(protocol), service_id(value.service)) {
            (Some(port), Some(protocol), Some(service)) => {
                self.frontends.insert(Frontend { addr, port, protocol }, service);
            }
            (None, None, None) => self.vips.push(addr),
            // No version of sheave wrote this key; the programs never look it up.
            _ => {}
        }
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

fn words(entries: Vec<(u32, SetWord)>) -> BTreeMap<ServiceId, SetWord> {
    let set = entries.into_iter().filter(|(_, word)| *word != SetWord::default());
    set.filter_map(|(id, word)| Some((service_id(id)?, word))).collect()
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

/// What the two layouts have in common.
trait Entry {
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
        let backend = Backend { addr, port: Port::new(port.to_host())? };
        let entry = BackendEntry { backend, service: service_id(service)?, serving: true };
        (state == BACKEND_SERVING).then_some((BackendId(NonZeroU32::new(*id)?), entry))
    });
    serving.collect()
}
