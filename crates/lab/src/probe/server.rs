//! Servers that answer each request with who they are and whom they see.
use super::line::{self, LINE_MAX};
use super::{Target, Transport, sctp};
use crate::sandbox::{Sandbox, SandboxError};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Connections one server holds at a time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("{pod}: cannot listen on {target}: {source}; the address has to be the pod's, the port free")]
    Listen {
        /// The server's name.
        pod: String,
        /// The address.
        target: Target,
        /// What the kernel said.
        source: io::Error,
    },
    /// No event loop.
    #[error("{pod}: cannot start an event loop: {source}; raise the limit on open files")]
    Runtime {
        /// The server's name.
        pod: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// A running server; stopped when dropped.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    targets: Vec<Target>,
}

enum Listener {
    Tcp(TcpListener),
    Sctp(TcpListener),
    Udp(UdpSocket),
}

impl Server {
    /// Starts a server in a sandbox; it listens when this returns. `pod` is the name it answers with. Port 0 takes a free one.
    ///
    /// # Errors
    /// An address is not local to the sandbox or taken, or the machine is out of threads or files.
    pub fn start(sandbox: &Sandbox, pod: &str, targets: &[Target]) -> Result<Self, ServerError> {
        let (wanted, name) = (targets.to_vec(), pod.to_owned());
        let listeners = sandbox.run(move || {
            wanted.iter().map(|&target| listen(&name, target)).collect::<Result<Vec<Listener>, ServerError>>()
        })??;
        let targets = listeners.iter().map(Listener::target).collect::<io::Result<_>>();
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let failed = |source| ServerError::Runtime { pod: pod.to_owned(), source };
        let (targets, runtime) = (targets.map_err(failed)?, runtime.map_err(failed)?);
        let (stop, stopped) = watch::channel(false);
        let pod: Arc<str> = pod.into();
        let thread = sandbox.start(&pod.clone(), move || runtime.block_on(serve(listeners, &pod, &stopped)))?;
        Ok(Self { stop, thread: Some(thread), targets })
    }

    /// Where it listens, in the order it was asked to.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Stops as a killed process does: connections are reset, and from then on new ones are refused.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Listener {
    fn target(&self) -> io::Result<Target> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Target::tcp),
            Self::Sctp(listener) => listener.local_addr().map(Target::sctp),
            Self::Udp(socket) => socket.local_addr().map(Target::udp),
        }
    }
}

fn listen(pod: &str, target: Target) -> Result<Listener, ServerError> {
    let bound = match target.transport {
        Transport::Tcp => TcpListener::bind(target.addr)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| Listener::Tcp(listener))),
        Transport::Udp => {
            UdpSocket::bind(target.addr).and_then(|socket| socket.set_nonblocking(true).map(|()| Listener::Udp(socket)))
        }
        Transport::Sctp => sctp::listen(target.addr).map(Listener::Sctp),
    };
    bound.map_err(|source| ServerError::Listen { pod: pod.to_owned(), target, source })
}

/// Returns when told to stop, with every socket closed.
async fn serve(listeners: Vec<Listener>, pod: &Arc<str>, stopped: &watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (pod, stopped) = (pod.clone(), stopped.clone());
        tasks.spawn(async move {
            let served = match listener {
                Listener::Tcp(listener) | Listener::Sctp(listener) => serve_streams(listener, &pod, stopped).await,
                Listener::Udp(socket) => serve_udp(socket, &pod, stopped).await,
            };
            if let Err(error) = served {
                tracing::warn!(%pod, %error, "probe server ended early");
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve_streams(listener: TcpListener, pod: &Arc<str>, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (pod, stopped) = (pod.clone(), stopped.clone());
                connections.spawn(async move {
                    converse(stream, peer, &pod, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%pod, %error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &tokio::net::TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Answers until the client ends, or resets the connection when the server stops.
async fn converse(mut stream: tokio::net::TcpStream, peer: SocketAddr, pod: &str, mut stopped: watch::Receiver<bool>) {
    let halt = tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => true,
        // A client that goes away in the middle is the client's affair.
        _ = answer_lines(&mut stream, peer, pod) => false,
    };
    if halt {
        let _ = stream.set_zero_linger();
    }
}

async fn answer_lines(stream: &mut tokio::net::TcpStream, peer: SocketAddr, pod: &str) -> io::Result<()> {
    // SCTP has no such option, and sends at once while nothing is under way.
    let _ = stream.set_nodelay(true);
    let backend = stream.local_addr()?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    loop {
        request.clear();
        (&mut reader).take(LINE_MAX as u64).read_line(&mut request).await?;
        let Some(answer) = line::answer(&request, backend, peer, pod) else { return Ok(()) };
        reader.get_mut().write_all(answer.as_bytes()).await?;
    }
}

async fn serve_udp(socket: UdpSocket, pod: &str, mut stopped: watch::Receiver<bool>) -> io::Result<()> {
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    let backend = socket.local_addr()?;
    let mut datagram = vec![0; LINE_MAX];
    loop {
        let received = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            received = socket.recv_from(&mut datagram) => received,
        };
        // An error here is about a datagram sent before (ICMP), or no memory: the next request may still be answered.
        let Ok((length, peer)) = received else { continue };
        let request = String::from_utf8_lossy(&datagram[..length]);
        if let Some(answer) = line::answer(&request, backend, peer, pod) {
            let _ = socket.send_to(answer.as_bytes(), peer).await;
        }
    }
}
