//! Servers that say who they are and clients that say what became of each request. Nothing is ever retried.

mod client;
mod line;
mod load;
mod outcome;
mod sctp;
mod server;

pub use client::{Client, Held};
pub use load::{Caller, Load, Manner, Sample};
pub use outcome::{Answer, Failure, Outcome, Phase};
pub use sctp::{has_sctp, has_sctp_loaded};
pub use server::{Server, ServerError};

use std::fmt;
use std::net::SocketAddr;

/// The protocols a probe speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    /// A connection for each request.
    Tcp,
    /// A connected socket for each request.
    Udp,
    /// An association for each request, between one address and another; where [`has_sctp`].
    Sctp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What a client dials.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    /// Address and port.
    pub addr: SocketAddr,
    /// Protocol.
    pub transport: Transport,
}

impl Target {
    /// Over TCP.
    #[must_use]
    pub fn tcp(addr: SocketAddr) -> Self {
        Self { addr, transport: Transport::Tcp }
    }

    /// Over UDP.
    #[must_use]
    pub fn udp(addr: SocketAddr) -> Self {
        Self { addr, transport: Transport::Udp }
    }

    /// Over SCTP.
    #[must_use]
    pub fn sctp(addr: SocketAddr) -> Self {
        Self { addr, transport: Transport::Sctp }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.transport)
    }
}
