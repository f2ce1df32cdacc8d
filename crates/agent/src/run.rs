//! The daemon itself: load, read back, attach, watch, sync, until told to stop. Programs and maps stay when it ends.
use crate::config::{Config, SocketLb};
use crate::devices::Devices;
use crate::said::Said;
use crate::sync::Syncer;
use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::attach::attach_sockets;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::load::{Loader, Programs};
use sheave_bpf::read_back::read_back;
use sheave_core::Realized as _;
use sheave_kube_source::{KubeConfig, Source};
use sheave_node::LinkChange;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// Batches of events that wait for the loop; behind them the sources wait.
const BACKLOG: usize = 64;

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
    /// The socket entrance.
    #[error(transparent)]
    Attach(#[from] sheave_bpf::attach::AttachError),
    /// The devices.
    #[error(transparent)]
    Links(#[from] sheave_node::LinkError),
    /// The source.
    #[error(transparent)]
    Source(#[from] sheave_kube_source::SourceError),
    /// The source ended, which it never should.
    #[error("the source of Services ended; this is a bug, please report it with the log")]
    SourceEnded,
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(std::io::Error),
}

/// Runs until SIGTERM or SIGINT, or until `stop` is ready.
///
/// # Errors
/// Only while starting: afterwards whatever fails is logged and tried again.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    let mut agent = Agent::start(&config)?;
    let (sender, mut events) = mpsc::channel(BACKLOG);
    let source = sheave_kube_source::spawn(source(&config), &config.node_name, sender);
    info!(node = config.node_name, source = config.source, "watching");
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            batch = events.recv() => {
                let Some(batch) = batch else { return Err(source_ended(source).await) };
                agent.syncer.observe(batch);
                while let Ok(more) = events.try_recv() {
                    agent.syncer.observe(more);
                }
                agent.sync();
            }
            change = agent.devices.changed() => agent.device(change.as_ref()),
            () = agent.retry.wait() => agent.sync(),
        }
    }
    source.abort();
    info!("stopping; programs and maps stay in the kernel");
    Ok(())
}

async fn source_ended(source: tokio::task::JoinHandle<Result<(), sheave_kube_source::SourceError>>) -> RunError {
    match source.await {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) | Err(_) => RunError::SourceEnded,
    }
}

fn source(config: &Config) -> Source {
    if config.source != "kube" {
        return Source::Files(PathBuf::from(&config.source));
    }
    Source::Kube(match (&config.kubeconfig, &config.server) {
        (Some(path), Some(server)) => KubeConfig::file(path).server(server),
        (Some(path), None) => KubeConfig::file(path),
        (None, Some(server)) => KubeConfig::url(server),
        (None, None) => KubeConfig::infer(),
    })
}

/// Everything the loop owns.
struct Agent {
    syncer: Syncer<BpfDataplane<KernelMaps>>,
    programs: Programs,
    devices: Devices,
    cgroup: Option<PathBuf>,
    attached: bool,
    said: Said,
    retry: Retry,
}

impl Agent {
    fn start(config: &Config) -> Result<Self, RunError> {
        let limits = config.limits();
        limits.check()?;
        let programs = Loader::new(&config.bpffs, limits, config.maps.flows_max, config.socket_lb.into()).load()?;
        let (image, strays) = read_back(&config.bpffs)?;
        strays.iter().for_each(|stray| warn!(%stray, "the pinned maps hold something that is not ours"));
        let held = image.keys().len();
        info!(services = held, "read back what the kernel holds");
        let dataplane = BpfDataplane::new(image, limits, KernelMaps::open(&config.bpffs)?);
        let mut agent = Self {
            syncer: Syncer::new(&config.node_name, dataplane),
            programs,
            devices: Devices::new(),
            cgroup: config.cgroup.clone().filter(|_| config.socket_lb != SocketLb::Off),
            attached: false,
            said: Said::default(),
            retry: Retry::default(),
        };
        // After a restart new pods must not wait for the API server; at the first start there is nothing to serve yet.
        if held > 0 {
            agent.attach()?;
        }
        Ok(agent)
    }

    fn attach(&mut self) -> Result<(), RunError> {
        if let Some(cgroup) = &self.cgroup {
            attach_sockets(&self.programs, cgroup)?;
        }
        self.devices.follow(&self.programs)?;
        self.attached = true;
        Ok(())
    }

    fn device(&mut self, change: Option<&LinkChange>) {
        let Some(change) = change else { return };
        self.devices.apply(&mut self.programs, change);
        if matches!(change, LinkChange::Settled) {
            self.devices.report();
        }
    }

    fn sync(&mut self) {
        let synced = tokio::task::block_in_place(|| self.syncer.sync());
        for failure in &synced.failed {
            error!(%failure, "a write failed");
        }
        self.said.update(self.syncer.diagnostics());
        if synced.failed.is_empty() {
            self.retry.succeeded();
        } else {
            self.retry.failed();
        }
        if synced.writes.ops > 0 {
            info!(writes = synced.writes.ops, entries = synced.writes.entries, "synced");
        }
        if !self.attached
            && self.syncer.complete()
            && synced.failed.is_empty()
            && let Err(error) = self.attach()
        {
            error!(%error, "the programs are not attached");
            self.retry.failed();
        }
    }
}

/// When to plan again after a failure: exponentially later, with jitter.
#[derive(Default)]
struct Retry {
    backoff: Option<ExponentialBackoff>,
    due: Option<tokio::time::Instant>,
}

impl Retry {
    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self) {
        let fresh = || {
            let builder = ExponentialBuilder::new().with_min_delay(Duration::from_millis(100));
            builder.with_max_delay(Duration::from_secs(10)).without_max_times().with_jitter().build()
        };
        let delay = self.backoff.get_or_insert_with(fresh).next();
        self.due = Some(tokio::time::Instant::now() + delay.unwrap_or(Duration::from_secs(10)));
    }

    /// Ready when it is time; never, when nothing failed.
    async fn wait(&mut self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
    }
}
