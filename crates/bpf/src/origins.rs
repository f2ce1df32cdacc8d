//! What connected UDP sockets of the node dialled, held against what still serves (L8).
use crate::chunks::Chunks;
use crate::map::Map;
use crate::pins::Pins;
use crate::read_back::Entry;
use sheave_abi::{BACKEND_SERVING, BACKENDS_CHUNK, BackendV4, BackendV6, NetPort, Origin};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The map of those sockets, and the backends it names.
#[derive(Debug)]
pub struct Origins {
    sockets: Map<u64, Origin>,
    v4: Chunks<BackendV4>,
    v6: Chunks<BackendV6>,
}

impl Origins {
    /// Opens the maps that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(bpffs: &Path) -> io::Result<Self> {
        let maps = Pins::new(bpffs).maps();
        Ok(Self {
            sockets: Map::open(&maps.join("udp_sockets"))?,
            v4: Chunks::open(&maps.join("backends_v4"), BACKENDS_CHUNK)?,
            v6: Chunks::open(&maps.join("backends_v6"), BACKENDS_CHUNK)?,
        })
    }

    /// Whether the socket of that cookie, which is connected to `peer`, was translated to a backend that does not serve any more.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn is_stale(&mut self, cookie: u64, peer: SocketAddr) -> io::Result<bool> {
        let Some(origin) = self.sockets.get(&cookie)? else { return Ok(false) };
        let addr = Ipv6Addr::from(origin.backend).to_canonical();
        // It was connected elsewhere since.
        if SocketAddr::new(addr, origin.backend_port.to_host()) != peer {
            return Ok(false);
        }
        let id = origin.backend_id;
        let backend = match addr {
            IpAddr::V4(_) => parts(&mut self.v4, id)?,
            IpAddr::V6(_) => parts(&mut self.v6, id)?,
        };
        Ok(backend.is_none_or(|(held, port, service, state)| {
            state & BACKEND_SERVING == 0 || (held, port, service) != (addr, origin.backend_port, origin.service)
        }))
    }
}

fn parts<E: Entry>(backends: &mut Chunks<E>, id: u32) -> io::Result<Option<(IpAddr, NetPort, u32, u8)>> {
    let entry = match backends.chunk(id / BACKENDS_CHUNK)? {
        Some(chunk) => chunk.get(&(id % BACKENDS_CHUNK))?,
        None => None,
    };
    Ok(entry.map(|entry| entry.parts()))
}
