//! Connected UDP sockets of the node whose backend serves no longer are broken, so that their owners connect anew (L8).
//!
//! A connected socket was translated once and runs no program when it sends, so it would send to its dead backend for ever. Which
//! sockets there are, and what each was translated to, the kernel knows: nothing is kept here, and a start of the agent finds
//! what went while it was down.
use sheave_bpf::origins::Origins;
use sheave_node::{ConnectedUdp, SocketDiag};
use std::io;
use std::path::Path;
use tracing::{info, warn};

/// Looks after a backend was retired: at once, and at each of the next turns. A socket whose program picked the backend a moment
/// before is not connected at the first one.
const LOOKS: u8 = 2;

/// Finds and breaks them.
#[derive(Debug)]
pub(crate) struct StaleSockets {
    origins: Origins,
    diag: SocketDiag,
    looks: u8,
}

impl StaleSockets {
    /// After the maps were pinned, in the network namespace of the node. Its first look is due.
    ///
    /// # Errors
    /// The maps are not there, or the kernel has no sock_diag(7).
    pub(crate) fn open(bpffs: &Path) -> io::Result<Self> {
        Ok(Self { origins: Origins::open(bpffs)?, diag: SocketDiag::open()?, looks: LOOKS })
    }

    /// UDP backends were retired: their sockets are to be looked for.
    pub(crate) fn retired(&mut self) {
        self.looks = LOOKS;
    }

    /// Looks for such sockets if that is due, and breaks them. To be called after each sync, and about once in a second.
    /// Returns how many it broke, IPv4 and IPv6, if it looked.
    pub(crate) fn look(&mut self) -> Option<[u64; 2]> {
        if self.looks == 0 {
            return None;
        }
        self.looks -= 1;
        match self.destroy() {
            Ok([0, 0]) => return Some([0, 0]),
            Ok(broken) => {
                info!(sockets = broken[0] + broken[1], "broke connected UDP sockets whose backend serves no longer");
                return Some(broken);
            }
            Err(error) => warn!(
                %error,
                "connected UDP sockets of the node may stay on backends that serve no longer; the kernel needs \
                 CONFIG_INET_UDP_DIAG and CONFIG_INET_DIAG_DESTROY for it"
            ),
        }
        None
    }

    fn destroy(&mut self) -> io::Result<[u64; 2]> {
        let mut destroyed = [0, 0];
        for socket in self.stale()? {
            destroyed[usize::from(socket.peer().is_ipv6())] += u64::from(self.diag.destroy(&socket)?);
        }
        Ok(destroyed)
    }

    fn stale(&mut self) -> io::Result<Vec<ConnectedUdp>> {
        let mut stale = Vec::new();
        for socket in self.diag.connected_udp()? {
            if self.origins.is_stale(socket.cookie(), socket.peer())? {
                stale.push(socket);
            }
        }
        Ok(stale)
    }
}
