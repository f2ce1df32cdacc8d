//! HTTP servers for probes and scrapes: bounded in connections, in the size of a request, and in how long a peer may take.
//!
//! A peer that sends its request a byte at a time, or reads no answer, holds one connection for a bounded time; when all are
//! taken the oldest one is closed. So it can neither fill the memory nor keep a probe out.
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

/// The head of a request has to be here this soon; a connection that is kept open may be silent for as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// After this a connection is closed when its answer was sent,
const LIFE_MAX: Duration = Duration::from_secs(300);
/// or this much later, whether it was or not.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// Bytes of a request's head and of what is read ahead; hyper asks for 8 KiB at least.
const BUFFER_BYTES: usize = 8192;
/// Connections the kernel keeps until they are taken.
const BACKLOG: u32 = 128;
/// After a failed accept(): out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) content_type: &'static str,
    /// Beside `Content-Type` and `X-Content-Type-Options`, which every answer has.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// Plain text, as Go's servers declare it.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub(crate) const JSON: &str = "application/json";

/// Answers a path. Called on a thread of the runtime: it must neither block nor take long. As in kube-proxy any method is
/// answered alike, and what a request carries is not looked at.
pub(crate) type Handler = dyn Fn(&str) -> Reply + Send + Sync;

impl Reply {
    pub(crate) fn new(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { code, content_type, headers: Vec::new(), body: body.into() }
    }

    /// No such path, in the words of Go's `http.NotFound`.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
    }

    /// As it is sent.
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(hyper::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(self.headers);
        response
    }
}

/// The connections of one server, or of several together: the oldest makes room for the newest.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    open: Mutex<VecDeque<AbortHandle>>,
}

impl Connections {
    pub(crate) fn at_most(max: usize) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default() })
    }

    fn enter(&self, connection: AbortHandle) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|connection| !connection.is_finished());
        if open.len() >= self.max
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(connection);
    }
}

/// Takes the next connection, whatever goes wrong with others before.
pub(crate) async fn taken<S, F: Future<Output = io::Result<S>>>(accept: impl Fn() -> F) -> S {
    loop {
        match accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                debug!(%error, "a connection was not taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// HTTP/1.1, bounded in the size of a request's head and in how long a peer may take for it.
pub(crate) fn builder(head_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_BYTES);
    builder
}

/// Serves until it is dropped, which closes the listener and its connections.
pub(crate) async fn serve(listener: Arc<TcpListener>, connections: Arc<Connections>, handler: Arc<Handler>) {
    let mut tasks = JoinSet::new();
    loop {
        let (stream, _) = taken(|| listener.accept()).await;
        connections.enter(tasks.spawn(converse(stream, Arc::clone(&handler))));
        while tasks.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, handler: Arc<Handler>) {
    let answer = |request: Request<Incoming>| {
        let reply = handler(request.uri().path());
        async move { Ok::<_, Infallible>(reply.into_response()) }
    };
    let mut connection = pin!(builder(HEAD_TIMEOUT).serve_connection(TokioIo::new(stream), service_fn(answer)));
    tokio::select! {
        // What a peer does wrong is its own affair.
        _ended = connection.as_mut() => {}
        () = sleep(LIFE_MAX) => {
            connection.as_mut().graceful_shutdown();
            let _late = timeout(LAST_ANSWER, connection).await;
        }
    }
}

/// Listens at an address as Go does: an unspecified one takes connections of both families where there is IPv6 (Go
/// net/ipsock_posix.go, `favoriteAddrFamily`).
///
/// # Errors
/// As bind(2) and listen(2).
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip().is_unspecified()
        && let Ok(socket) = TcpSocket::new_v6()
        && setsockopt(&socket, sockopt::Ipv6V6Only, &false).is_ok()
    {
        return bound(socket, (Ipv6Addr::UNSPECIFIED, address.port()).into());
    }
    listen_in_family(address)
}

/// Listens at an address and takes connections of its family alone.
///
/// # Errors
/// As bind(2) and listen(2).
pub(crate) fn listen_in_family(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
            socket
        }
    };
    bound(socket, address)
}

fn bound(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    // Connections of a previous process that linger in TIME_WAIT are no reason to wait.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
