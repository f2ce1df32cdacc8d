//! A server for each healthCheckNodePort: tells load balancers how many endpoints of the Service are on this node (H3).
//!
//! Codes, headers and bodies are those of kube-proxy 1.36 (pkg/proxy/healthcheck/service_health.go).
use super::HealthView;
use crate::http::{self, Connections, Handler, JSON, Reply};
use crate::retry::Retry;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use nix::sys::socket::{Shutdown, shutdown};
use sheave_core::{HealthCheck, Port, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

/// Connections of all servers together (I7).
const CONNECTIONS_MAX: usize = 256;
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The servers. Belongs to the loop; a server that cannot listen stops no other.
pub(crate) struct ServiceChecks {
    view: HealthView,
    connections: Arc<Connections>,
    addresses: BTreeSet<IpAddr>,
    servers: BTreeMap<ServiceName, Server>,
    /// Those that do not listen everywhere yet.
    failing: BTreeSet<ServiceName>,
    retry: Retry,
}

/// The server of one Service.
struct Server {
    port: Port,
    local_endpoints: Arc<AtomicUsize>,
    listeners: BTreeMap<IpAddr, Listener>,
}

/// A task that listens; dropping it ends it.
struct Listener {
    socket: Arc<TcpListener>,
    task: AbortHandle,
}

impl Drop for Listener {
    /// The task lets go of the socket when it is next run. Its port is free at once: another Service may have it now.
    fn drop(&mut self) {
        if let Err(error) = shutdown(self.socket.as_raw_fd(), Shutdown::Both) {
            debug!(%error, "health checks are not closed at once");
        }
        self.task.abort();
    }
}

/// A server could not listen, for the first time since it could.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address} for the health checks of Service {service}: {source}; it is tried again")]
pub(crate) struct ListenError {
    pub(crate) service: ServiceName,
    pub(crate) address: SocketAddr,
    pub(crate) source: io::Error,
}

impl ServiceChecks {
    pub(crate) fn new(view: HealthView) -> Self {
        Self {
            view,
            connections: Connections::at_most(CONNECTIONS_MAX),
            addresses: BTreeSet::new(),
            servers: BTreeMap::new(),
            failing: BTreeSet::new(),
            retry: Retry::default(),
        }
    }

    /// Follows what changed: the checks of Services, and the addresses to listen at. Returns servers that fail now and did
    /// not before.
    pub(crate) fn update(
        &mut self,
        changed: Vec<(ServiceName, Option<HealthCheck>)>,
        addresses: BTreeSet<IpAddr>,
    ) -> Vec<ListenError> {
        let mut opened: BTreeSet<ServiceName> = BTreeSet::new();
        // Everything that goes goes first: a port may move from one Service to another.
        for (name, check) in &changed {
            if self.servers.get(name).is_some_and(|server| Some(server.port) != check.map(|check| check.port)) {
                self.servers.remove(name);
                self.failing.remove(name);
            }
        }
        for (name, check) in changed {
            let Some(HealthCheck { port, local_endpoints }) = check else { continue };
            let server = self.servers.entry(name.clone()).or_insert_with(|| Server::new(port));
            server.local_endpoints.store(local_endpoints, Ordering::Relaxed);
            if server.listeners.is_empty() {
                opened.insert(name);
            }
        }
        if addresses != self.addresses {
            self.addresses = addresses;
            self.servers.values_mut().for_each(|server| server.keep(&self.addresses));
            opened = self.servers.keys().cloned().collect();
        }
        self.open(&opened)
    }

    /// Ready when servers that fail are due again; never while none does.
    pub(crate) async fn due(&mut self) {
        self.retry.wait().await;
    }

    /// Tries those that fail again.
    pub(crate) fn try_again(&mut self) -> Vec<ListenError> {
        let failing = self.failing.clone();
        self.open(&failing)
    }

    /// How many there are, and how many of them do not listen everywhere.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.servers.len(), self.failing.len())
    }

    fn open(&mut self, names: &BTreeSet<ServiceName>) -> Vec<ListenError> {
        let mut errors = Vec::new();
        for name in names {
            let Some(server) = self.servers.get_mut(name) else { continue };
            let failed = server.open(name, &self.addresses, &self.connections, &self.view);
            match failed {
                None if self.failing.remove(name) => info!(service = %name, "health checks are answered now"),
                Some(error) if self.failing.insert(name.clone()) => {
                    warn!(%error, "health checks are not answered");
                    errors.push(error);
                }
                None | Some(_) => {}
            }
        }
        match (self.failing.is_empty(), names.is_empty()) {
            (true, _) => self.retry.succeeded(),
            (false, false) => self.retry.failed(),
            (false, true) => {}
        }
        errors
    }
}

impl Server {
    fn new(port: Port) -> Self {
        Self { port, local_endpoints: Arc::default(), listeners: BTreeMap::new() }
    }

    fn keep(&mut self, addresses: &BTreeSet<IpAddr>) {
        self.listeners.retain(|addr, _| addresses.contains(addr));
    }

    /// Listens where it does not yet, as far as it can; returns the first failure.
    fn open(
        &mut self,
        name: &ServiceName,
        addresses: &BTreeSet<IpAddr>,
        connections: &Arc<Connections>,
        view: &HealthView,
    ) -> Option<ListenError> {
        let mut failed = None;
        for addr in addresses.iter().filter(|addr| !self.listeners.contains_key(addr)).copied().collect::<Vec<_>>() {
            let address = SocketAddr::new(addr, self.port.get());
            match http::listen_in_family(address) {
                Ok(listener) => {
                    let handler = handler(name.clone(), Arc::clone(&self.local_endpoints), view.clone());
                    let socket = Arc::new(listener);
                    let task = tokio::spawn(http::serve(Arc::clone(&socket), Arc::clone(connections), handler));
                    self.listeners.insert(addr, Listener { socket, task: task.abort_handle() });
                }
                Err(source) => {
                    failed.get_or_insert(ListenError { service: name.clone(), address, source });
                }
            }
        }
        failed
    }
}

/// Answers whatever the path, as kube-proxy does.
fn handler(name: ServiceName, local_endpoints: Arc<AtomicUsize>, view: HealthView) -> Arc<Handler> {
    Arc::new(move |_| {
        let (local, healthy) = (local_endpoints.load(Ordering::Relaxed), view.report().healthy);
        let code = if local > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Reply {
            headers: vec![(WEIGHT, HeaderValue::from(local))],
            ..Reply::new(code, JSON, body(&name, local, healthy))
        }
    })
}

/// With the white space of kube-proxy's, which some read with grep.
fn body(name: &ServiceName, local_endpoints: usize, healthy: bool) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": {},\n\t\t\"name\": {}\n\t}},\n\t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}",
        text(&name.namespace),
        text(&name.name)
    )
}
