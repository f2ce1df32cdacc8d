//! The daemon itself: load, read back, attach, watch, sync, until told to stop. Programs and maps stay when it ends.
use crate::addresses::Addresses;
use crate::admin::{self, Admin};
use crate::config::{Config, SocketLb};
use crate::conntrack;
use crate::device_facts::DeviceFacts;
use crate::devices::Devices;
use crate::login;
use crate::metrics::{ReadCounters, ReadServices, ServicesRead};
use crate::monitor::Monitor;
use crate::retry::Retry;
use crate::said::Said;
use crate::sockets::StaleSockets;
use crate::status::{self, Entrances, Identity, Reporter};
use crate::sync::Syncer;
use crate::takeover::Takeover;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::attach::{AttachError, attach_sockets, detach_sockets};
use sheave_bpf::counters::Counters;
use sheave_bpf::device_table::DeviceTable;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::flow_counts::{FlowCounts, Meter};
use sheave_bpf::heap;
use sheave_bpf::load::{Loader, Programs};
use sheave_bpf::read_back::read_back;
use sheave_bpf::roster::Roster;
use sheave_bpf::sweep::{Sweeper, monotonic_ns};
use sheave_core::{Event, Index, NodeRules, Realized as _, Service, ServiceName};
use sheave_dataplane::{Dataplane as _, Room};
use sheave_kube_source::events::{EventPace, Recorder, recorder};
use sheave_kube_source::{Pace, Source, SourceError};
use sheave_node::NodeAddresses;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};

/// Batches of events that wait for the loop; behind them the sources wait.
const BACKLOG: usize = 64;
/// A table of a million flows is gone through in two minutes, the shortest time-out of an established one (UDP).
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_ENTRIES: usize = 8192;
/// A kernel that refuses everything must not fill the log with every Service at each attempt.
const FAILURES_LOGGED: usize = 10;

/// The agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A limit of the configuration.
    #[error(transparent)]
    Limits(#[from] sheave_bpf::limits::BadLimit),
    /// The programs or maps.
    #[error(transparent)]
    Load(#[from] sheave_bpf::load::LoadError),
    /// The pinned maps.
    #[error(transparent)]
    ReadBack(#[from] sheave_bpf::read_back::ReadBackError),
    /// The frontends could not be published. The next start reads back what was.
    #[error(transparent)]
    Publish(#[from] sheave_bpf::maps::MapError),
    /// The flow tables.
    #[error("cannot open the flow tables: {0}")]
    Flows(std::io::Error),
    /// The sockets of the node.
    #[error("cannot ask for the sockets of the node: {0}")]
    Sockets(std::io::Error),
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source ended, which it never should.
    #[error("the source of Services ended; this is a bug, please report it with the log")]
    SourceEnded,
    /// An address of the health or metrics server.
    #[error(transparent)]
    Bind(#[from] crate::monitor::BindError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
}

/// Runs until SIGTERM or SIGINT, or until `stop` is ready.
///
/// # Errors
/// Only while starting: afterwards whatever fails is logged and tried again.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    config.kube_proxy.notes.iter().for_each(|note| warn!(note, "configuration"));
    let (recorder, writer) = recorder(&config.node_name, EventPace::default());
    let mut agent = Agent::start(&config, recorder)?;
    tokio::spawn(conntrack::apply(config.kube_proxy.conntrack.clone()));
    let (sender, mut events) = mpsc::channel(BACKLOG);
    let source = source(&config).await?;
    if let Source::Kube(client, _) = &source {
        agent.monitor.follow(Arc::clone(client.tally()));
        // It ends with the agent, which holds the recorder.
        tokio::spawn(writer.run(client.clone()));
    }
    let source = sheave_kube_source::spawn(source, &config.node_name, sender);
    info!(node = config.node_name, source = config.source, "watching");
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut stop = std::pin::pin!(stop);
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            batch = events.recv() => {
                let Some(batch) = batch else { return Err(RunError::SourceEnded) };
                agent.observe(batch);
                while let Ok(more) = events.try_recv() {
                    agent.observe(more);
                }
                agent.sync();
            }
            addresses = agent.addresses.next() => agent.addresses_changed(addresses),
            event = agent.devices.next() => agent.devices.handle(&mut agent.programs, event),
            _ = sweep.tick() => {
                agent.sweep();
                tokio::task::block_in_place(|| agent.takeover.look());
                agent.look_at_sockets();
                agent.trim();
                agent.monitor.turned();
            }
            () = agent.retry.wait() => agent.sync(),
            () = agent.monitor.checks_due() => agent.monitor.try_checks_again(),
            request = agent.admin.next() => agent.answer(request),
        }
        agent.take_over()?;
    }
    source.abort();
    info!("stopping; programs and maps stay in the kernel");
    Ok(())
}

async fn source(config: &Config) -> Result<Source, SourceError> {
    if config.source != "kube" {
        return Ok(Source::Files(PathBuf::from(&config.source)));
    }
    Ok(Source::Kube(login::of(config).connect().await?, Pace::default()))
}

fn identity(config: &Config) -> Identity {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Identity { node: config.node_name.clone(), source: config.source.clone(), started_unix_s: started.as_secs() }
}

/// The admin socket. Services are served without it as well, so that it cannot be had is no reason not to start.
fn admin(config: &Config, counters: ReadCounters, flows: Option<Arc<Mutex<FlowCounts>>>) -> Admin {
    Admin::serve(&config.admin_socket, counters, flows).unwrap_or_else(|error| {
        error!(%error, "the admin socket is not served: `sheave status` will not work");
        Admin::unserved()
    })
}

/// Everything the loop owns.
struct Agent {
    syncer: Syncer<BpfDataplane<KernelMaps>>,
    programs: Programs,
    devices: Devices,
    addresses: Addresses,
    cgroup: Option<PathBuf>,
    /// Whether the socket entrance is where it is to be, or where it is not to be.
    sockets_settled: bool,
    /// Whether the maps held Services when this process began.
    resumed: bool,
    /// Whether a list came since the heap was last trimmed: it is read as a whole, and then it is garbage.
    listed: bool,
    said: Said,
    /// What is told at the admin socket,
    status: Reporter,
    /// and who asks there.
    admin: Admin,
    flows_max: u32,
    retry: Retry,
    sweeper: Sweeper,
    sockets: StaleSockets,
    monitor: Monitor,
    takeover: Takeover,
}

impl Agent {
    fn start(config: &Config, recorder: Recorder) -> Result<Self, RunError> {
        let limits = config.limits();
        limits.check()?;
        let programs = Loader::new(&config.bpffs, limits, config.maps.flows_max, config.socket_lb.into()).load()?;
        let (image, strays) = read_back(&config.bpffs)?;
        strays.iter().for_each(|stray| warn!(%stray, "the pinned maps hold something that is not ours"));
        let held = image.keys().len();
        let takeover = Takeover::new(&config.bpffs, !image.frontends().is_empty());
        info!(services = held, "read back what the kernel holds");
        let mut maps = KernelMaps::open(&config.bpffs)?;
        // Services are served whatever is counted.
        maps.adopt(&image).unwrap_or_else(|error| warn!(%error, "flows of Services may count from more than zero"));
        if takeover.due() {
            maps.withhold();
        }
        let roster = Arc::new(config.service_metrics.roster());
        let dataplane = BpfDataplane::new(image, limits, maps).with_roster(Arc::clone(&roster));
        // Devices are told by their names only where the settings say so; the Node object is not needed for that.
        let rules = NodeRules::of(&config.proxy(), &Index::new(&config.node_name), &BTreeSet::new());
        let facts = DeviceFacts::new(DeviceTable::open(&config.bpffs)?, rules.local_pods);
        let counters = counters(&config.bpffs);
        let flows = flow_counts(&config.bpffs);
        let mut agent = Self {
            syncer: Syncer::new(&config.node_name, config.proxy(), dataplane).since(unix_now_ns()),
            programs,
            devices: Devices::new(facts),
            addresses: Addresses::default(),
            cgroup: config.cgroup.clone().filter(|_| config.socket_lb != SocketLb::Off),
            sockets_settled: false,
            resumed: held > 0,
            listed: false,
            said: Said::default(),
            status: Reporter::new(identity(config)),
            admin: admin(config, Arc::clone(&counters), flows.clone()),
            flows_max: config.maps.flows_max,
            retry: Retry::default(),
            sweeper: Sweeper::open(&config.bpffs).map_err(RunError::Flows)?,
            sockets: StaleSockets::open(&config.bpffs).map_err(RunError::Sockets)?,
            monitor: Monitor::start(config, counters, Some(recorder).filter(|_| config.source == "kube"))?,
            takeover,
        };
        agent.monitor.metrics().measure_services(service_flows(flows, roster));
        // After a restart new pods must not wait for the API server; at the first start there is nothing to serve yet.
        if agent.resumed && !agent.attach() {
            agent.retry.failed();
        }
        Ok(agent)
    }

    /// Attaches what is not attached yet, each entrance by itself; false if one of them has to be tried again.
    fn attach(&mut self) -> bool {
        if !self.sockets_settled {
            let settled = self.settle_sockets();
            self.sockets_settled =
                settled.inspect_err(|error| error!(%error, "the socket entrance is not as it should be")).is_ok();
        }
        if !self.devices.followed()
            && let Err(error) = self.devices.follow(&self.programs)
        {
            error!(%error, "the device entrance is not attached");
        }
        self.sockets_settled && self.devices.followed()
    }

    fn settle_sockets(&self) -> Result<(), AttachError> {
        match &self.cgroup {
            Some(cgroup) => attach_sockets(&self.programs, cgroup),
            None => detach_sockets(self.programs.links_dir()),
        }
    }

    fn observe(&mut self, events: Vec<Event>) {
        self.listed |= events.iter().any(|event| matches!(event, Event::Listed { .. }));
        let before = self.syncer.waiting();
        self.syncer.observe(events);
        self.monitor.queued(before, self.syncer.waiting());
    }

    fn addresses_changed(&mut self, addresses: NodeAddresses) {
        self.observe(vec![Event::LocalAddresses(addresses.own.clone())]);
        self.devices.set_addresses(addresses);
        self.sync();
    }

    fn sync(&mut self) {
        if let Some(primary) = self.syncer.primary_addresses() {
            self.devices.set_primary(primary);
        }
        let begun = Instant::now();
        let mut synced = tokio::task::block_in_place(|| self.syncer.sync());
        self.monitor.synced(&self.syncer, &mut synced, begun.elapsed());
        self.tell_rooms();
        for failure in synced.failed.iter().take(FAILURES_LOGGED) {
            error!(%failure, "a write failed");
        }
        if let Some(more) = synced.failed.len().checked_sub(FAILURES_LOGGED).filter(|more| *more > 0) {
            error!(more, "more writes failed; `sheave status` names them");
        }
        if synced.writes.ops > 0 {
            info!(writes = synced.writes.ops, entries = synced.writes.entries, "synced");
        }
        if synced.udp_retired {
            self.sockets.retired();
        }
        self.look_at_sockets();
        if let Some(diagnostics) = self.syncer.changed_diagnostics().map(Arc::new) {
            self.monitor.diagnosed(&diagnostics);
            self.said.update(Arc::clone(&diagnostics));
            self.status.diagnosed(diagnostics);
        }
        // Also when single Services failed: the others are served.
        let attached = !(self.resumed || self.syncer.complete()) || self.attach();
        self.status.publish(&self.syncer, &synced, self.entrances());
        if attached && synced.failed.is_empty() { self.retry.succeeded() } else { self.retry.failed() }
    }

    fn look_at_sockets(&mut self) {
        if !self.syncer.complete() {
            return;
        }
        let begun = Instant::now();
        if let Some(broken) = tokio::task::block_in_place(|| self.sockets.look()) {
            self.monitor.reconciled(begun.elapsed(), broken);
        }
    }

    /// As long as frontends are withheld, no device serves anything.
    fn entrances(&self) -> Entrances {
        let sockets = self.cgroup.is_some().then_some(self.sockets_settled);
        let serving = self.devices.followed() && !self.takeover.due();
        Entrances { sockets, devices: serving.then(|| self.devices.served()) }
    }

    /// Answers who asks at the admin socket.
    fn answer(&mut self, request: admin::Request) {
        // Devices come and go without a sync.
        self.status.entered(&self.syncer, self.entrances());
        match request {
            admin::Request::Status(reply) => {
                drop(reply.send(self.status.agent(&self.syncer, self.more_rooms())));
            }
            admin::Request::Names(ids, reply) => {
                let image = self.syncer.dataplane().image();
                drop(reply.send(ids.into_iter().map(|id| image.key(id).map(ToString::to_string)).collect()));
            }
            admin::Request::Meters(service, reply) => drop(reply.send(self.meters(&service))),
            admin::Request::Service(question, reply) => self.status.service(&self.syncer, question, reply),
            admin::Request::Explain(question, reply) => {
                // Looks at every Service: the one question whose cost grows with them.
                drop(reply.send(tokio::task::block_in_place(|| status::explain(&self.syncer, &question))));
            }
        }
    }

    fn meters(&self, service: &ServiceName) -> Vec<Meter> {
        let image = self.syncer.dataplane().image();
        let keys = self.syncer.index().service(service).into_iter().flat_map(Service::keys);
        keys.filter_map(|(key, _)| Meter::of(image, &key)).collect()
    }

    /// At the first start: serves, once all of the programs are where they are to be.
    fn take_over(&mut self) -> Result<(), RunError> {
        if self.takeover.due() && self.syncer.complete() && self.devices.settled() {
            tokio::task::block_in_place(|| self.takeover.run(self.syncer.dataplane_mut()))?;
            self.status.entered(&self.syncer, self.entrances());
        }
        Ok(())
    }

    /// Makes room in the flow tables, a piece at a time, so that it never shows.
    fn sweep(&mut self) {
        match self.sweeper.step(SWEEP_ENTRIES, monotonic_ns()) {
            Ok(swept) if swept.removed > 0 => debug!(looked = swept.looked, removed = swept.removed, "swept flows"),
            Ok(_) => {}
            Err(error) => warn!(%error, "flows are not swept"),
        }
        self.tell_rooms();
    }

    fn trim(&mut self) {
        if std::mem::take(&mut self.listed) {
            tokio::task::block_in_place(heap::trim);
        }
    }

    fn tell_rooms(&self) {
        self.monitor.rooms(self.syncer.dataplane().rooms().into_iter().chain(self.more_rooms()));
    }

    /// How full the maps are that no plan fills.
    fn more_rooms(&self) -> Vec<Room> {
        [self.devices.room()].into_iter().chain(self.sweeper.rooms(self.flows_max)).collect()
    }
}

/// What the programs count, read anew each time; nothing while the map cannot be opened.
fn counters(bpffs: &Path) -> ReadCounters {
    let counters = Counters::open(bpffs).inspect_err(|error| warn!(%error, "what packets come to is not told")).ok();
    Arc::new(move || counters.as_ref().and_then(|counters| counters.read().ok()).unwrap_or_default())
}

/// The programs' counts by Service port and by backend, for all who tell them.
fn flow_counts(bpffs: &Path) -> Option<Arc<Mutex<FlowCounts>>> {
    let counts = FlowCounts::open(bpffs).inspect_err(|error| warn!(%error, "flows of Services are not told"));
    counts.ok().map(|counts| Arc::new(Mutex::new(counts)))
}

/// What the programs count of the Service ports in a roster, read anew each time.
fn service_flows(counts: Option<Arc<Mutex<FlowCounts>>>, roster: Arc<Roster>) -> ReadServices {
    Box::new(move || {
        let (given, omitted) = roster.read();
        let Some(counts) = &counts else { return ServicesRead { ports: Vec::new(), omitted } };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let read = given.into_iter().filter_map(|(id, key)| Some((key, counts.service(id).ok()?)));
        ServicesRead { ports: read.collect(), omitted }
    })
}

/// Nanoseconds since 1970.
fn unix_now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
