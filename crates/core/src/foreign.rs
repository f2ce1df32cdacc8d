//! Flows that another translator of the node carries.
use crate::net::Protocol;
use std::net::SocketAddr;
use std::time::Duration;

/// A flow whose destination another translator of the node rewrites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ForeignFlow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Who sends.
    pub client: SocketAddr,
    /// What the client sends to.
    pub dialled: SocketAddr,
    /// Where that goes.
    pub backend: SocketAddr,
    /// Who the backend takes for its client: the client itself, unless it is masqueraded.
    pub source: SocketAddr,
    /// TCP whose handshake is not over: its SYN may come again.
    pub opening: bool,
    /// UDP that is more than a question and its answer; TCP and SCTP after the handshake.
    pub assured: bool,
    /// How long the other translator keeps it from now on, unless a packet comes.
    pub remaining: Duration,
}
