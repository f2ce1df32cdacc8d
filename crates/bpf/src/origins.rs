//! What translated sockets dialled, held against what still serves (L8).
use crate::chunks::Chunks;
use crate::object::open_pin;
use crate::pins::Pins;
use sheave_abi::{BACKEND_SERVING, BACKENDS_CHUNK, BackendV4, BackendV6, NetPort, Origin};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use zerocopy::{FromBytes as _, Immutable, IntoBytes};

/// The map of the sockets' own storage, and the backends it names. What a socket holds there the kernel tells with its list
/// of sockets, to whoever shows it this map.
#[derive(Debug)]
pub struct Origins {
    map: OwnedFd,
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
            map: open_pin(&maps.join("origins"))?,
            v4: Chunks::open(&maps.join("backends_v4"), BACKENDS_CHUNK)?,
            v6: Chunks::open(&maps.join("backends_v6"), BACKENDS_CHUNK)?,
        })
    }

    /// Whether a socket that is connected to `peer`, with `origin` in its storage, was translated to a backend that does not
    /// serve any more.
    ///
    /// # Errors
    /// As bpf(2).
    pub fn is_stale(&mut self, peer: SocketAddr, origin: &[u8]) -> io::Result<bool> {
        let Ok(origin) = Origin::read_from_bytes(origin) else { return Ok(false) };
        let addr = Ipv6Addr::from(origin.backend).to_canonical();
        // The socket was not translated, or was connected elsewhere since.
        if origin.backend_port == NetPort::ANY || SocketAddr::new(addr, origin.backend_port.to_host()) != peer {
            return Ok(false);
        }
        let id = origin.backend_id;
        Ok(match addr {
            IpAddr::V4(_) => !entry(&mut self.v4, id)?.is_some_and(|backend| {
                let place = (IpAddr::from(Ipv4Addr::from(backend.addr)), backend.port, backend.service);
                backend.state & BACKEND_SERVING != 0 && place == (addr, origin.backend_port, origin.service)
            }),
            IpAddr::V6(_) => !entry(&mut self.v6, id)?.is_some_and(|backend| {
                let place = (IpAddr::from(Ipv6Addr::from(backend.addr)), backend.port, backend.service);
                backend.state & BACKEND_SERVING != 0 && place == (addr, origin.backend_port, origin.service)
            }),
        })
    }
}

impl AsFd for Origins {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

fn entry<V: IntoBytes + zerocopy::FromBytes + Immutable>(backends: &mut Chunks<V>, id: u32) -> io::Result<Option<V>> {
    match backends.chunk(id / BACKENDS_CHUNK)? {
        Some(chunk) => chunk.get(&(id % BACKENDS_CHUNK)),
        None => Ok(None),
    }
}
