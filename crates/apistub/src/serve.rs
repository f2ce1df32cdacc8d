//! Serves an [`Api`] on a listener: HTTP/1.1 and HTTP/2 with prior knowledge.
use crate::answer::answer;
use crate::api::Api;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tracing::debug;

/// A running server. Dropping it ends it and its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on a free port of the loopback address. Call within a tokio runtime.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn on_loopback(api: &Api) -> io::Result<Self> {
        Self::on(api, std::net::TcpListener::bind("127.0.0.1:0")?)
    }

    /// Serves on a listener, which may have been made in another network namespace. Call within a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn on(api: &Api, listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(serve(api.clone(), listener)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until dropped.
pub async fn serve(api: Api, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(api.clone(), stream))),
                Err(error) => {
                    debug!(%error, "accept failed");
                    // Out of descriptors, say: at once would be a busy loop.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(api: Api, stream: TcpStream) {
    // One change is one small write: it must not wait for an acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY failed");
    }
    serve_connection(api, stream).await;
}

/// Serves one connection until its end, over whatever carries it: TLS, say.
pub async fn serve_connection(api: Api, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let mut pulses = api.subscribe();
    let cuts = pulses.borrow_and_update().cuts;
    let service = service_fn(move |request| answer(api.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = serving => if let Err(error) = result { debug!(%error, "connection ended") },
        _ = pulses.wait_for(|pulse| pulse.cuts != cuts) => {}
    }
}
