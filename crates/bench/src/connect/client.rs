//! The client: one connection after the other, each with a deadline, none of them tried again.
use crate::record::ConnectRound;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection that takes longer has failed. Longer than the kernel waits before it sends a lost SYN again (1 s, RFC 6298),
/// so that one that was lost shows as slow, and two as a failure.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Clients at a time that show how many connections a second there can be.
const CLIENTS: usize = 2;
/// So many failures before the first success say that nothing is served at all.
const HOPELESS: u64 = 3;

/// A Service, and what a client without Services would dial.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// What a client of the Service dials.
    pub(crate) frontend: SocketAddr,
    /// A backend.
    pub(crate) backend: SocketAddr,
}

/// Whom to dial, in turns.
#[derive(Clone)]
pub(crate) struct Dial {
    targets: Arc<[Target]>,
}

/// When to stop.
#[derive(Clone)]
pub(crate) enum Until {
    /// After so many connections.
    Count(u64),
    /// After that time.
    Elapsed(Duration),
    /// When somebody says so, or after a time.
    Told(Arc<AtomicBool>, Duration),
}

impl Dial {
    /// At least one target.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        assert!(!targets.is_empty(), "invariant: a cluster has Services");
        Self { targets: targets.into() }
    }

    fn at(&self, nth: u64) -> Target {
        let len = self.targets.len() as u64;
        self.targets[usize::try_from(nth % len).expect("invariant: less than a length")]
    }
}

impl Until {
    fn is_over(&self, done: u64, start: Instant) -> bool {
        match self {
            Self::Count(count) => done >= *count,
            Self::Elapsed(time) => start.elapsed() >= *time,
            Self::Told(told, time) => told.load(Ordering::Relaxed) || start.elapsed() >= *time,
        }
    }
}

/// Connects to Services, one after the other.
pub(crate) fn dial(dial: &Dial, until: &Until) -> ConnectRound {
    dial_with(dial, until, |_, _| {})
}

/// The same, with as many connections to backends in between.
pub(crate) fn dial_beside_backends(dial: &Dial, until: &Until) -> ConnectRound {
    let mut of_backends = Vec::new();
    let mut round = dial_with(dial, until, |target, round| of_backends.extend(connect(target.backend, round)));
    of_backends.sort_unstable();
    round.latency_of_backend = of_backends.get(of_backends.len() / 2).copied();
    round
}

fn dial_with(dial: &Dial, until: &Until, mut beside: impl FnMut(Target, &mut ConnectRound)) -> ConnectRound {
    let mut round = ConnectRound::default();
    let (mut dialled, start) = (0, Instant::now());
    while !until.is_over(dialled, start) && (round.failures < HOPELESS || !round.latencies.is_empty()) {
        let target = dial.at(dialled);
        dialled += 1;
        let latency = connect(target.frontend, &mut round);
        round.latencies.extend(latency);
        beside(target, &mut round);
    }
    round.elapsed = Some(start.elapsed());
    round
}

/// One connection: how long it took, unless it failed.
fn connect(target: SocketAddr, round: &mut ConnectRound) -> Option<Duration> {
    let began = Instant::now();
    let connected = TcpStream::connect_timeout(&target, TIMEOUT);
    let latency = began.elapsed();
    round.attempts += 1;
    match connected.and_then(|stream| reset_on_close(&stream)) {
        Ok(()) => Some(latency),
        Err(_) => {
            round.failures += 1;
            None
        }
    }
}

/// Several clients at once, for a time: how many connections there were.
pub(crate) fn rate(target: &Dial, time: Duration) -> ConnectRound {
    let start = Instant::now();
    let until = Until::Elapsed(time);
    let rounds: Vec<ConnectRound> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| dial(target, &until))).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    let sum = |of: fn(&ConnectRound) -> u64| rounds.iter().map(of).sum();
    // Latencies under load are not those of a lone client: they are left out.
    ConnectRound {
        latencies: Vec::new(),
        latency_of_backend: None,
        attempts: sum(|round| round.attempts),
        failures: sum(|round| round.failures),
        elapsed: Some(start.elapsed()),
    }
}

/// Bytes there and back on one connection.
pub(crate) fn round_trips(dial: &Dial, count: u64) -> ConnectRound {
    let mut round = ConnectRound::default();
    let start = Instant::now();
    match exchange(dial.at(0).frontend, count, &mut round) {
        Ok(()) => {}
        Err(_) => round.failures += 1,
    }
    round.elapsed = Some(start.elapsed());
    round
}

fn exchange(target: SocketAddr, count: u64, round: &mut ConnectRound) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    reset_on_close(&stream)?;
    let mut byte = [7];
    for _ in 0..count {
        let began = Instant::now();
        round.attempts += 1;
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        round.latencies.push(began.elapsed());
    }
    Ok(())
}

/// Reset instead of closed: the port is free at once, so a fast client does not run out of them.
fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
