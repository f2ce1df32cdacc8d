//! What the agent shows of itself: health, metrics, health checks of Services, Events. The loop tells it what happened; whoever
//! asks over HTTP reads what was told, and never waits for the loop.
use crate::announce::Announcer;
use crate::config::Config;
use crate::health::services::{ListenError, ServiceChecks};
use crate::health::{self, Health};
use crate::http::{self, Connections, Handler};
use crate::metrics::{self, Metrics, ReadCounters, SyncReport};
use crate::sync::{Synced, Syncer};
use crate::{arrivals::Changes, configz, log};
use sheave_core::health_check::listen_addresses;
use sheave_core::{Diagnostic, Family, NodePortAddresses};
use sheave_dataplane::{ApplyError, Dataplane, Room, Subject};
use sheave_kube_source::Tally;
use sheave_kube_source::events::Recorder;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// Connections of each of the two servers (I7).
const CONNECTIONS_MAX: usize = 64;
/// Until an address that could not be bound is tried again, as kube-proxy does (cmd/kube-proxy/app/server.go).
const BIND_PAUSE: Duration = Duration::from_secs(5);
/// What `/proxyMode` says.
const MODE: &str = "ebpf";

/// An address that must be bound cannot be.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen at {address} for {what}: {source}; free the address, choose another {field}, or unset bindAddressHardFail"
)]
pub struct BindError {
    address: SocketAddr,
    what: &'static str,
    field: &'static str,
    source: io::Error,
}

/// All of it. Dropping it closes every server.
pub struct Monitor {
    metrics: Arc<Metrics>,
    health: Health,
    checks: ServiceChecks,
    announcer: Announcer,
    node_port_addresses: NodePortAddresses,
    /// Of the API server that is followed; of none nothing is counted.
    tally: Arc<Tally>,
    _servers: JoinSet<()>,
}

/// A server that is to run as long as the agent does.
struct Server {
    what: &'static str,
    field: &'static str,
    address: Option<SocketAddr>,
    handler: Arc<Handler>,
}

impl Monitor {
    /// Starts the servers of `healthzBindAddress` and `metricsBindAddress`. One that cannot bind its address is tried again
    /// until it can. `recorder` takes Events, if there is an API server.
    ///
    /// # Errors
    /// An address that cannot be bound, with `bindAddressHardFail`.
    pub fn start(config: &Config, counters: ReadCounters, recorder: Option<Recorder>) -> Result<Self, BindError> {
        let metrics = Arc::new(Metrics::new(counters));
        let kube_proxy = &config.kube_proxy;
        let (health, view) = Health::new(kube_proxy.sync_period * 2);
        let healthz = Server {
            what: "health probes",
            field: "healthzBindAddress",
            address: kube_proxy.healthz_bind,
            handler: health::handler(view.clone(), metrics.probes()),
        };
        let scrapes = Server {
            what: "metrics",
            field: "metricsBindAddress",
            address: kube_proxy.metrics_bind,
            handler: metrics::handler(Arc::clone(&metrics), MODE, configz::shown(config)),
        };
        let mut servers = JoinSet::new();
        for server in [healthz, scrapes] {
            server.start(kube_proxy.bind_hard_fail, &mut servers)?;
        }
        let announcer = Announcer::new(&config.node_name, recorder);
        announcer.started();
        Ok(Self {
            metrics,
            health,
            checks: ServiceChecks::new(view),
            announcer,
            node_port_addresses: kube_proxy.node_port_addresses.clone(),
            tally: Arc::default(),
            _servers: servers,
        })
    }

    /// What is measured, to be shown elsewhere as well.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Something came that is not in the kernel yet: with what came `before`, that makes `pending`.
    pub fn queued(&self, before: Changes, pending: Changes) {
        self.health.queued();
        self.metrics.queued(before, pending);
    }

    /// A sync has ended, after `elapsed`. Before every source was listed once it says nothing (W12).
    pub fn synced<D: Dataplane>(&mut self, syncer: &Syncer<D>, synced: &mut Synced, elapsed: Duration) {
        if !syncer.complete() {
            return;
        }
        let failures = Family::ALL.map(|family| synced.failed.iter().filter(|error| concerns(error, family)).count());
        let arrivals = synced.arrivals.take();
        self.metrics.synced(&SyncReport {
            elapsed,
            writes: synced.writes,
            failures,
            arrivals: arrivals.as_ref(),
            no_local: syncer.no_local(),
        });
        self.metrics.held(|kind| syncer.index().count(kind));
        let [v4, v6] = failures;
        let failed = |family| if family == Family::V4 { v4 > 0 } else { v6 > 0 };
        self.health.synced(failed, syncer.index().node());
        self.follow_checks(syncer, synced);
    }

    /// What is wrong now.
    pub fn diagnosed(&mut self, diagnostics: &BTreeSet<Diagnostic>) {
        self.metrics.diagnosed(diagnostics);
        self.announcer.diagnosed(diagnostics);
    }

    /// How full the maps are.
    pub fn rooms(&self, rooms: impl IntoIterator<Item = Room>) {
        self.metrics.rooms(rooms);
    }

    /// Flows to backends that serve no longer were looked for; how many were ended, IPv4 and IPv6.
    pub fn reconciled(&self, elapsed: Duration, [v4, v6]: [u64; 2]) {
        self.metrics.reconciled(elapsed, |family| if family == Family::V4 { v4 } else { v6 });
    }

    /// An API server is followed.
    pub fn follow(&mut self, tally: Arc<Tally>) {
        self.tally = tally;
    }

    /// The loop goes round; to be called about once in a second.
    pub fn turned(&self) {
        self.health.turned();
        let (written, dropped) = self.announcer.tally();
        self.metrics.events(written, dropped);
        self.metrics.log_lines_dropped(log::lines_dropped());
        self.metrics.watched(&self.tally);
    }

    /// Ready when health checks that could not listen are to be tried again. Dropped before, it loses nothing.
    pub async fn checks_due(&mut self) {
        self.checks.due().await;
    }

    /// Tries them again.
    pub fn try_checks_again(&mut self) {
        let errors = self.checks.try_again();
        self.checked(&errors);
    }

    fn follow_checks<D: Dataplane>(&mut self, syncer: &Syncer<D>, synced: &mut Synced) {
        let own = syncer.index().device_addresses().collect();
        let addresses = listen_addresses(&self.node_port_addresses, &syncer.rules().node_port_addrs, &own);
        let errors = self.checks.update(std::mem::take(&mut synced.health_checks), addresses);
        self.checked(&errors);
    }

    fn checked(&self, errors: &[ListenError]) {
        self.announcer.not_listening(errors);
        let (servers, failing) = self.checks.counts();
        self.metrics.health_checks(servers, failing);
    }
}

/// Whether a failure keeps a family from being up to date.
fn concerns(error: &ApplyError, family: Family) -> bool {
    match &error.subject {
        Subject::Service(key) => key.family == family,
        Subject::Frontend(frontend) => Family::of(frontend.addr) == family,
        Subject::Vip(addr) => Family::of(*addr) == family,
        Subject::Rules => true,
    }
}

impl Server {
    fn start(self, hard_fail: bool, servers: &mut JoinSet<()>) -> Result<(), BindError> {
        let Self { what, field, address, handler } = self;
        let Some(address) = address else { return Ok(()) };
        let connections = Connections::at_most(CONNECTIONS_MAX);
        match http::listen(address) {
            Ok(listener) => {
                info!(%address, what, "listening");
                servers.spawn(http::serve(Arc::new(listener), connections, handler));
            }
            Err(source) if hard_fail => return Err(BindError { address, what, field, source }),
            Err(error) => {
                warn!(%error, %address, what, "cannot listen; it is tried again");
                servers.spawn(async move {
                    http::serve(Arc::new(listen_at_last(address, what).await), connections, handler).await;
                });
            }
        }
        Ok(())
    }
}

async fn listen_at_last(address: SocketAddr, what: &'static str) -> tokio::net::TcpListener {
    loop {
        sleep(BIND_PAUSE).await;
        match http::listen(address) {
            Ok(listener) => {
                info!(%address, what, "listening");
                return listener;
            }
            Err(error) => debug!(%error, %address, what, "still cannot listen"),
        }
    }
}
