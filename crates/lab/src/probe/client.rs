//! Clients: one request at a time, each with a deadline.
use super::line::{self, LINE_MAX, Nonce};
use super::outcome::{Answer, Failure, Outcome, Phase};
use super::{Target, Transport};
use crate::sandbox::{Sandbox, SandboxError};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Someone who sends requests from a sandbox.
#[derive(Clone)]
pub struct Client {
    sandbox: Sandbox,
    dialler: Dialler,
}

/// How requests are made, by a thread that is in the sandbox already.
#[derive(Clone, Copy)]
pub(super) struct Dialler {
    timeout: Duration,
    payload_bytes: usize,
}

/// A connection that stays, for one round trip after the other.
pub struct Held {
    socket: Socket,
    dialler: Dialler,
    dialled: SocketAddr,
    connect: Duration,
}

enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Client {
    /// A client whose requests may take `timeout` for each phase and carry no payload.
    #[must_use]
    pub fn new(sandbox: &Sandbox, timeout: Duration) -> Self {
        Self { sandbox: sandbox.clone(), dialler: Dialler { timeout, payload_bytes: 0 } }
    }

    /// Bytes each request carries there and back, for segmentation and fragments; at most some 59,000.
    #[must_use]
    pub fn with_payload(mut self, payload_bytes: usize) -> Self {
        self.dialler.payload_bytes = payload_bytes;
        self
    }

    /// Where it sends from.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) fn dialler(&self) -> Dialler {
        self.dialler
    }

    /// One request over a socket of its own.
    ///
    /// # Errors
    /// The machine has no thread left; whatever happens to the request is in the outcome.
    pub fn request(&self, target: Target) -> Result<Outcome, SandboxError> {
        let dialler = self.dialler;
        self.sandbox.run(move || dialler.request(target))
    }

    /// Requests one after the other, each over a socket of its own, until what has come of them is enough. Over each socket a second
    /// one has to come to the same: from the second packet on a flow is known, and goes other ways than the first.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn survey<F>(&self, target: Target, enough: F) -> Result<Vec<Outcome>, SandboxError>
    where
        F: Fn(&[Outcome]) -> bool + Send + 'static,
    {
        let dialler = self.dialler;
        self.sandbox.run(move || {
            let mut outcomes = Vec::new();
            while outcomes.is_empty() || !enough(&outcomes) {
                outcomes.push(dialler.request_twice(target));
            }
            outcomes
        })
    }

    /// Opens a connection that stays.
    ///
    /// # Errors
    /// The outer error: no thread left. The inner one: what became of the connection.
    pub fn hold(&self, target: Target) -> Result<Result<Held, Failure>, SandboxError> {
        let dialler = self.dialler;
        self.sandbox.run(move || dialler.hold(target))
    }
}

impl Dialler {
    pub(super) fn request(self, target: Target) -> Outcome {
        self.hold(target)?.round_trip()
    }

    /// Two requests over one socket; the outcome is the first one's, unless the second comes to something else.
    fn request_twice(self, target: Target) -> Outcome {
        let mut held = self.hold(target)?;
        let first = held.round_trip()?;
        let second = held.round_trip()?;
        if (first.backend, first.peer) == (second.backend, second.peer) {
            return Ok(first);
        }
        Err(Failure::Moved { first: Box::new(first), second: Box::new(second) })
    }

    pub(super) fn hold(self, target: Target) -> Result<Held, Failure> {
        let failed = |error: io::Error| Failure::new(Phase::Connect, &error);
        let start = Instant::now();
        let socket = Socket::connect(target, self.timeout).map_err(failed)?;
        let connect = start.elapsed();
        let dialled = socket.peer().map_err(failed)?;
        Ok(Held { socket, dialler: self, dialled, connect })
    }
}

impl Held {
    /// One request and its answer.
    ///
    /// # Errors
    /// Every failure of the request; the connection is of no use after one.
    pub fn round_trip(&mut self) -> Outcome {
        let failed = |error: io::Error| Failure::new(Phase::Exchange, &error);
        let request = line::ask(Nonce::next(), self.dialler.payload_bytes);
        let start = Instant::now();
        let line = self.socket.exchange(&request, start + self.dialler.timeout).map_err(failed)?;
        let round_trip = start.elapsed();
        if !line.ends_with('\n') {
            return Err(Failure::Closed);
        }
        let Some(said) = line::parse(&line, &request) else { return Err(Failure::WrongAnswer(line)) };
        let line::Said { backend, peer, pod } = said;
        Ok(Answer { backend, pod, peer, dialled: self.dialled, connect: self.connect, round_trip })
    }

    /// The server as getpeername() named it once the connection stood.
    #[must_use]
    pub fn dialled(&self) -> SocketAddr {
        self.dialled
    }
}

impl Socket {
    fn connect(target: Target, timeout: Duration) -> io::Result<Self> {
        match target.transport {
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&target.addr, timeout)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Transport::Udp => {
                let any = match target.addr {
                    SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.connect(target.addr)?;
                Ok(Self::Udp(socket))
            }
        }
    }

    fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr(),
            Self::Udp(socket) => socket.peer_addr(),
        }
    }

    /// Sends a line and reads one; what was read so far, if the other side ends first.
    fn exchange(&mut self, request: &str, deadline: Instant) -> io::Result<String> {
        let mut answer = Vec::new();
        match self {
            Self::Tcp(stream) => {
                stream.set_write_timeout(Some(left(deadline)?))?;
                stream.write_all(request.as_bytes())?;
                read_line(stream, &mut answer, deadline)?;
            }
            Self::Udp(socket) => {
                socket.send(request.as_bytes())?;
                socket.set_read_timeout(Some(left(deadline)?))?;
                answer.resize(LINE_MAX, 0);
                let length = socket.recv(&mut answer)?;
                answer.truncate(length);
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn read_line(stream: &mut TcpStream, answer: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
    let mut chunk = [0; 4096];
    while !answer.ends_with(b"\n") && answer.len() < LINE_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let length = stream.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        answer.extend_from_slice(&chunk[..length]);
    }
    Ok(())
}

/// The time until the deadline; never zero, which would mean "for ever" to a socket.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
