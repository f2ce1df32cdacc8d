//! What became of one request.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A right answer: to this request, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who answered: the server's own address and port.
    pub backend: SocketAddr,
    /// Its pod.
    pub pod: String,
    /// The client as the server saw it.
    pub peer: SocketAddr,
    /// The server as the client's getpeername() names it: what it dialled, if the translation is complete.
    pub dialled: SocketAddr,
    /// From the call to connect() to its return.
    pub connect: Duration,
    /// From sending the request to having the answer.
    pub round_trip: Duration,
}

/// How far a request came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Before the connection stood.
    Connect,
    /// After that.
    Exchange,
}

/// What became of a request: the right answer, or a failure.
pub type Outcome = Result<Answer, Failure>;

/// Why a request has no right answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// ECONNREFUSED.
    #[error("refused {0}")]
    Refused(Phase),
    /// ECONNRESET, or what it turns into: EPIPE, ENOTCONN.
    #[error("reset {0}")]
    Reset(Phase),
    /// The connection ended before the answer was whole.
    #[error("closed before the answer was whole")]
    Closed,
    /// Nothing came in time.
    #[error("timed out {0}")]
    TimedOut(Phase),
    /// No route, or an ICMP error other than "port unreachable".
    #[error("unreachable {0}")]
    Unreachable(Phase),
    /// An answer that does not fit the request.
    #[error("wrong answer: {0:?}")]
    WrongAnswer(String),
    /// Two requests over one socket met different backends, or came from different addresses or ports.
    #[error("{} saw {} first, {} saw {} then", first.backend, first.peer, second.backend, second.peer)]
    Moved {
        /// What the first one came to.
        first: Box<Answer>,
        /// What the second one came to.
        second: Box<Answer>,
    },
    /// Anything else.
    #[error("{kind} {phase}")]
    Other {
        /// How far it came.
        phase: Phase,
        /// What the socket said.
        kind: io::ErrorKind,
        /// The error number, if there is one.
        errno: Option<i32>,
    },
}

impl Failure {
    pub(super) fn new(phase: Phase, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(phase),
            // getpeername() on a connection that was reset at once is ENOTCONN.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
                Self::Reset(phase)
            }
            // A blocking socket's time-out is EAGAIN.
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut(phase),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable(phase),
            kind => Self::Other { phase, kind, errno: error.raw_os_error() },
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "at connect",
            Self::Exchange => "after connect",
        })
    }
}
