//! `bench connect`: a dataplane on a node, a client in a pod of that node, servers elsewhere.
use super::protocol::{Job, Reply, Request};
use super::{Actor, Stage, unexpected};
use crate::cluster::{Cluster, Edit, TARGET_PORT, before, edits};
use crate::connect::{DEVICES, Dial, Network, Target, Until, dial, dial_beside_backends, rate, round_trips};
use crate::contender::{Contender, ContenderError, Peer, Sheave};
use crate::record::{ConnectOperation, ConnectRound, SyncOperation};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use sheave_lab::Sandbox;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections or round trips of one round.
const COUNT: u64 = 1_000;
/// For how long connections are counted.
const RATE_TIME: Duration = Duration::from_millis(500);
/// Under churn, connections go on until the changes of the round are made, and for that long at most.
const CHURN_TIME_MAX: Duration = Duration::from_secs(60);
/// Steps of the rolling update in one round under churn, each with a change of 1 % of all endpoints before it.
const CHURN_STEPS: usize = 4;
/// A change is due this long after the one before it; one that takes longer delays those that follow.
const CHURN_EVERY: Duration = Duration::from_millis(100);

/// Everything the worker has. In the order of its end: programs and rules before the namespaces they are in.
pub(super) struct Networked {
    job: Job,
    /// `None` for the floor, which dials backends.
    contender: Option<Box<dyn Contender>>,
    cluster: Option<Cluster>,
    network: Option<Network>,
}

impl Networked {
    pub(super) fn new(job: Job) -> Self {
        Self { job, contender: None, cluster: None, network: None }
    }

    fn set_up(&mut self) -> Result<Reply, ContenderError> {
        let network = Network::new()?;
        let cluster = Cluster::new(self.job.shape);
        let node = network.node().sandbox().clone();
        let contender = contender(self.job, &node)?;
        self.network = Some(network);
        let Some(mut contender) = contender else {
            self.cluster = Some(cluster);
            return Ok(Reply::Ready);
        };
        let (cluster, contender, lacks) = node.run(move || {
            let set_up = contender.set_up(&cluster);
            let lacks = contender.lacks(&cluster);
            (cluster, contender, set_up.map(|()| lacks))
        })?;
        (self.cluster, self.contender) = (Some(cluster), Some(contender));
        Ok(lacks?.map_or(Reply::Ready, Reply::Lacks))
    }

    fn round(&mut self, operation: ConnectOperation, round: u32) -> Result<ConnectRound, ContenderError> {
        let mut random = fastrand::Rng::with_seed(self.job.seed ^ u64::from(round));
        let services = self.job.shape.services;
        let hot = random.u32(..services);
        let client = self.network().client().sandbox().clone();
        let one = Dial::new(vec![self.target(hot, hot)]);
        let mut any = || random.u32(..services);
        let many = Dial::new((0..COUNT).map(|_| self.target(any(), any())).collect());
        match operation {
            ConnectOperation::LatencyHot => Ok(client.run(move || dial_beside_backends(&one, &Until::Count(COUNT)))?),
            ConnectOperation::LatencyRandom => {
                Ok(client.run(move || dial_beside_backends(&many, &Until::Count(COUNT)))?)
            }
            ConnectOperation::RoundTrip => on_one_processor(|| Ok(client.run(move || round_trips(&one, COUNT))?)),
            ConnectOperation::Rate => Ok(client.run(move || rate(&many, RATE_TIME))?),
            ConnectOperation::Churn => self.churn(round, &client, &mut random),
        }
    }

    /// Connections while a Service of 250 endpoints rolls and 1 % of all endpoints are replaced, in turns. Every second one is to
    /// the Service that rolls.
    fn churn(
        &mut self,
        round: u32,
        client: &Sandbox,
        random: &mut fastrand::Rng,
    ) -> Result<ConnectRound, ContenderError> {
        let Job { shape, seed, .. } = self.job;
        self.follow(before(shape, SyncOperation::RollingUpdate).into_iter().collect())?;
        let rolls = self.target(shape.services, shape.services);
        let others = (0..COUNT).map(|_| random.u32(..shape.services)).map(|other| self.target(other, other));
        let targets = Dial::new(others.flat_map(|other| [other, rolls]).collect());
        let told = Arc::new(AtomicBool::new(false));
        let until = Until::Told(Arc::clone(&told), CHURN_TIME_MAX);
        let dialling = client.start("client", move || dial(&targets, &until))?;
        let rolling = edits(shape, seed, SyncOperation::RollingUpdate, round);
        let churning = edits(shape, seed, SyncOperation::Churn, round);
        let steps = rolling.into_iter().take(CHURN_STEPS);
        let changed = self.follow(steps.flat_map(|step| churning.iter().cloned().chain([step])).collect());
        told.store(true, Ordering::Relaxed);
        let round = dialling.join().unwrap_or_default();
        changed.and_then(|()| self.follow(vec![Edit::Remove])).map(|()| round)
    }

    fn follow(&mut self, changes: Vec<Edit>) -> Result<(), ContenderError> {
        let node = self.network().node().sandbox().clone();
        let Some(mut contender) = self.contender.take() else { return Ok(()) };
        let mut cluster = self.cluster.take().expect("invariant: set up first");
        let (cluster, contender, result) = node.run(move || {
            let mut actor = Actor { cluster: &mut cluster, contender: contender.as_mut() };
            let result = changes.iter().try_for_each(|edit| at_least(CHURN_EVERY, || actor.follow(edit)));
            (cluster, contender, result)
        })?;
        (self.cluster, self.contender) = (Some(cluster), Some(contender));
        result
    }

    /// A Service, instead of which the floor dials one of its backends; and a backend of a Service, which need not be the same one: to dial
    /// an address right after another connection to it is quicker.
    fn target(&self, service: u32, beside: u32) -> Target {
        let cluster = self.cluster.as_ref().expect("invariant: set up first");
        let backend = |service| {
            let view = cluster.view(service);
            view.answers.first().map_or(view.frontend, |addr| SocketAddr::new(*addr, TARGET_PORT))
        };
        let frontend = if self.contender.is_some() { cluster.view(service).frontend } else { backend(service) };
        Target { frontend, backend: backend(beside) }
    }

    fn network(&self) -> &Network {
        self.network.as_ref().expect("invariant: set up first")
    }
}

impl Stage for Networked {
    fn perform(&mut self, request: Request) -> Result<Reply, ContenderError> {
        match request {
            Request::SetUp => self.set_up(),
            Request::Connect(operation, round) => self.round(operation, round).map(|round| {
                let hopeless = round.failures == round.attempts;
                if hopeless { Reply::Failed(none_succeeded(&round)) } else { Reply::Connect(round) }
            }),
            Request::Sync(..) | Request::Lookup(..) => Ok(unexpected(request)),
        }
    }
}

/// Does something while all threads of this process share a processor. A round trip wakes two of them up: elsewhere than here now and
/// then, and that takes longer than what is measured.
fn on_one_processor<T>(body: impl FnOnce() -> Result<T, ContenderError>) -> Result<T, ContenderError> {
    let everywhere = sched_getaffinity(Pid::this())?;
    let first = (0..CpuSet::count()).find(|cpu| everywhere.is_set(*cpu).unwrap_or(false)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(first)?;
    let result = keep_threads_to(&one).map_err(ContenderError::from).and_then(|()| body());
    keep_threads_to(&everywhere)?;
    result
}

fn keep_threads_to(processors: &CpuSet) -> nix::Result<()> {
    let threads =
        fs::read_dir("/proc/self/task").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let ids = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that has ended since is nowhere.
    ids.map(|id| sched_setaffinity(Pid::from_raw(id), processors)).filter(|set| *set != Err(Errno::ESRCH)).collect()
}

/// Does something, and waits until it has taken that long.
fn at_least<T>(time: Duration, body: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = body();
    thread::sleep(time.saturating_sub(start.elapsed()));
    result
}

fn none_succeeded(round: &ConnectRound) -> String {
    format!("none of {} connections succeeded", round.attempts)
}

fn contender(job: Job, node: &Sandbox) -> Result<Option<Box<dyn Contender>>, ContenderError> {
    use crate::record::Dataplane::{Direct, SheaveEbpfDevice};
    match (job.dataplane, job.dataplane.layout()) {
        (Direct, _) => Ok(None),
        (_, Some(layout)) => Ok(Some(Box::new(Peer::new(layout)?))),
        (_, None) => {
            let cgroup = node.cgroup().expect("invariant: nodes of a lab have one").path();
            let sheave = Sheave::new(job.shape, cgroup).at_devices(&DEVICES);
            let at_devices = job.dataplane == SheaveEbpfDevice;
            Ok(Some(Box::new(if at_devices { sheave.without_sockets() } else { sheave })))
        }
    }
}
