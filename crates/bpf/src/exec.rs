//! Performs operations on the kernel's pinned maps.
use crate::chunks::Chunks;
use crate::load::LoadError;
use crate::map::Map;
use crate::maps::{MapError, Maps};
use crate::ops::{BackendEntry, MapOp};
use crate::pins::Pins;
use sheave_abi::{
    BACKEND_ABSENT, BACKEND_SERVING, BACKENDS_CHUNK, BackendId, BackendV4, BackendV6, FrontendKeyV4, FrontendKeyV6,
    FrontendValue, NetPort, SERVICE_NAME_LEN, SERVICES_CHUNK, SLOTS_CHUNK, ServiceId, ServiceNameValue, SetWord,
};
use sheave_core::{Family, Frontend, Protocol, ServiceKey};
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// The pinned maps, open for writing. One writer at a time.
#[derive(Debug)]
pub struct KernelMaps {
    frontends_v4: Map<FrontendKeyV4, FrontendValue>,
    frontends_v6: Map<FrontendKeyV6, FrontendValue>,
    names: Map<u32, ServiceNameValue>,
    services: Chunks<SetWord>,
    slots: Chunks<u32>,
    backends_v4: Chunks<BackendV4>,
    backends_v6: Chunks<BackendV6>,
}

impl KernelMaps {
    /// Opens the maps that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// Names the map that is missing or of another layout.
    pub fn open(bpffs: &Path) -> Result<Self, LoadError> {
        let dir = Pins::new(bpffs).maps();
        let at = |map: &'static str| (map, dir.join(map));
        Ok(Self {
            frontends_v4: opened(at("frontends_v4"), Map::open)?,
            frontends_v6: opened(at("frontends_v6"), Map::open)?,
            names: opened(at("names"), Map::open)?,
            services: opened(at("services"), |path| Chunks::open(path, SERVICES_CHUNK))?,
            slots: opened(at("slots"), |path| Chunks::open(path, SLOTS_CHUNK))?,
            backends_v4: opened(at("backends_v4"), |path| Chunks::open(path, BACKENDS_CHUNK))?,
            backends_v6: opened(at("backends_v6"), |path| Chunks::open(path, BACKENDS_CHUNK))?,
        })
    }

    fn write_backends(&mut self, family: Family, entries: &[(BackendId, BackendEntry)]) -> Result<(), MapError> {
        let ids: Vec<u32> = entries.iter().map(|(id, _)| id.0.get()).collect();
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

    fn put_name(&self, service: ServiceId, key: &ServiceKey) -> Result<(), MapError> {
        let put = name(key).map(|name| self.names.put(&id(service), &name));
        said("names", "update", put.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))))
    }

    fn put_frontend(&self, addr: IpAddr, port: NetPort, protocol: u8, service: u32) -> Result<(), MapError> {
        let value = FrontendValue { service, flags: 0 };
        match addr {
            IpAddr::V4(addr) => {
                let key = FrontendKeyV4 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v4", "update", self.frontends_v4.put(&key, &value))
            }
            IpAddr::V6(addr) => {
                let key = FrontendKeyV6 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v6", "update", self.frontends_v6.put(&key, &value))
            }
        }
    }

    fn delete_frontend(&self, addr: IpAddr, port: NetPort, protocol: u8) -> Result<(), MapError> {
        match addr {
            IpAddr::V4(addr) => {
                let key = FrontendKeyV4 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v4", "delete", self.frontends_v4.delete(&key))
            }
            IpAddr::V6(addr) => {
                let key = FrontendKeyV6 { addr: addr.octets(), port, protocol, zero: 0 };
                said("frontends_v6", "delete", self.frontends_v6.delete(&key))
            }
        }
    }
}

impl Maps for KernelMaps {
    fn exec(&mut self, op: &MapOp) -> Result<(), MapError> {
        match op {
            MapOp::WriteBackends { family, entries } => self.write_backends(*family, entries),
            MapOp::WriteSlots { first, ids } => self.write_slots(*first, ids),
            MapOp::WriteSet { service, word } => {
                said("services", "update", self.services.put_all(&[service.0.get()], &[*word]))
            }
            MapOp::PutFrontend { frontend, service } => {
                let Frontend { addr, port, protocol } = frontend;
                self.put_frontend(*addr, NetPort::from_host(port.get()), number(*protocol), service.0.get())
            }
            MapOp::DeleteFrontend { frontend: Frontend { addr, port, protocol } } => {
                self.delete_frontend(*addr, NetPort::from_host(port.get()), number(*protocol))
            }
            MapOp::PutVip { addr } => self.put_frontend(*addr, NetPort::ANY, 0, 0),
            MapOp::DeleteVip { addr } => self.delete_frontend(*addr, NetPort::ANY, 0),
            MapOp::PutName { service, key } => self.put_name(*service, key),
            MapOp::DeleteName { service } => said("names", "delete", self.names.delete(&id(*service))),
        }
    }
}

fn opened<'a, T>(
    (map, path): (&'static str, std::path::PathBuf),
    open: impl FnOnce(&Path) -> io::Result<T> + 'a,
) -> Result<T, LoadError> {
    open(&path).map_err(|source| LoadError::Map { map, path, source })
}

fn said(map: &'static str, operation: &'static str, result: io::Result<()>) -> Result<(), MapError> {
    // Errors without an errno are this crate's own: a map of another shape.
    result.map_err(|error| MapError { map, operation, errno: error.raw_os_error().unwrap_or(libc::EINVAL) })
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

fn state(entry: &BackendEntry) -> u8 {
    if entry.serving { BACKEND_SERVING } else { BACKEND_ABSENT }
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
