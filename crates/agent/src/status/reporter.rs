//! The loop's side of the admin socket: answers from what the loop owns, and tells those who wait.
use super::waiters::Waiters;
use super::{
    AgentStatus, BehindStatus, DiagnosticStatus, DiagnosticsStatus, EntranceStatus, FailureStatus, FlowsStatus,
    PortStatus, ServiceStatus, State, VersionsStatus,
};
use crate::sync::{Standing, Synced, Syncer};
use sheave_core::{Diagnostic, Kind, ObjectName, ObjectRef, ServiceName, Serving, TrafficPolicy};
use sheave_dataplane::{Dataplane, Room, Subject};
use sheave_kube_source::object_ref;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Names, failures and diagnostics told one by one (I7); how many there are is told always.
const TOLD_MAX: usize = 1000;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The node.
    pub node: String,
    /// `kube`, or the path of manifests.
    pub source: String,
    /// When the agent began, in seconds since 1970.
    pub started_unix_s: u64,
}

/// Where flows are decided, as the loop sees it after a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Entrances {
    /// Whether the socket entrance is where it is to be; `None` where it is switched off.
    pub sockets: Option<bool>,
    /// How many devices are served; `None` before the first of them is.
    pub devices: Option<usize>,
}

/// A question about a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceQuestion {
    /// Which.
    pub service: ServiceName,
    /// The version, of its own or of one of its slices, that has to be programmed; 0 for the one last seen.
    pub version: u64,
    /// When to answer.
    pub when: When,
}

/// When to answer a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At once.
    Now,
    /// When the Service is programmed.
    Programmed,
}

/// What of the last syncs nobody else keeps, and who waits for the next one.
pub struct Reporter {
    identity: Identity,
    entrances: Entrances,
    diagnostics: Arc<BTreeSet<Diagnostic>>,
    failures: usize,
    failed: Vec<FailureStatus>,
    waiters: Waiters,
}

impl Reporter {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            entrances: Entrances::default(),
            diagnostics: Arc::default(),
            failures: 0,
            failed: Vec::new(),
            waiters: Waiters::default(),
        }
    }

    /// What is wrong has changed.
    pub fn diagnosed(&mut self, diagnostics: Arc<BTreeSet<Diagnostic>>) {
        self.diagnostics = diagnostics;
    }

    /// To be called after each sync. Cost: that of the Services somebody waits for.
    pub fn publish<D: Dataplane>(&mut self, syncer: &Syncer<D>, synced: &Synced, entrances: Entrances) {
        self.failures = synced.failed.len();
        self.failed = synced.failed.iter().take(TOLD_MAX).map(failure).collect();
        self.entered(syncer, entrances);
    }

    /// The entrances have changed without a sync.
    pub fn entered<D: Dataplane>(&mut self, syncer: &Syncer<D>, entrances: Entrances) {
        self.entrances = entrances;
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.look(|service, version| self.programmed(syncer, service, version));
        self.waiters = waiters;
    }

    /// The agent as a whole, but for what is read from the kernel: flow tables (`flows`), counters, and what they say of flows.
    pub fn agent<D: Dataplane>(&self, syncer: &Syncer<D>, flows: Vec<Room>) -> AgentStatus {
        let index = syncer.index();
        let rooms = syncer.dataplane().rooms().into_iter().chain(flows);
        AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.identity.node.clone(),
            pid: std::process::id(),
            started_unix_s: self.identity.started_unix_s,
            source: self.identity.source.clone(),
            missing: missing(syncer),
            objects: Kind::ALL.map(|kind| (kind.as_str().to_owned(), index.count(kind))).into(),
            entrances: self.entrances.status(),
            behind: self.behind(syncer),
            diagnostics: DiagnosticsStatus::of(&self.diagnostics, TOLD_MAX),
            maps: rooms.map(Into::into).collect(),
            counters: BTreeMap::new(),
            flows: FlowsStatus::default(),
        }
    }

    /// Answers a question about a Service, now or after a later sync.
    pub fn service<D: Dataplane>(
        &mut self,
        syncer: &Syncer<D>,
        question: ServiceQuestion,
        reply: oneshot::Sender<ServiceStatus>,
    ) {
        let ServiceQuestion { service, version, when } = question;
        let standing = syncer.standing(&service);
        let lacks = self.lacks(syncer, &service, &standing, version);
        if when == When::Programmed && !lacks.is_empty() {
            self.waiters.add(service, version, reply);
            return;
        }
        // Whoever asked may have gone meanwhile.
        drop(reply.send(self.status(syncer, &service, &standing, lacks)));
    }

    fn programmed<D: Dataplane>(&self, syncer: &Syncer<D>, name: &ServiceName, version: u64) -> Option<ServiceStatus> {
        let standing = syncer.standing(name);
        let lacks = self.lacks(syncer, name, &standing, version);
        lacks.is_empty().then(|| self.status(syncer, name, &standing, lacks))
    }

    fn status<D: Dataplane>(
        &self,
        syncer: &Syncer<D>,
        name: &ServiceName,
        standing: &Standing,
        waiting_for: Vec<String>,
    ) -> ServiceStatus {
        let held = standing.observed.service.is_some();
        let state = match waiting_for.is_empty() {
            true => State::Programmed,
            false if !held && standing.pending.is_empty() => State::Unknown,
            false => State::Pending,
        };
        ServiceStatus {
            service: name.to_string(),
            state,
            waiting_for,
            observed: (&standing.observed).into(),
            programmed: standing.programmed.as_ref().map(VersionsStatus::from),
            ports: ports(syncer, name),
            diagnostics: self.diagnostics_of(syncer, name).map(DiagnosticStatus::from).collect(),
        }
    }

    /// Why a Service is not programmed at a version; nothing when it is.
    fn lacks<D: Dataplane>(
        &self,
        syncer: &Syncer<D>,
        name: &ServiceName,
        standing: &Standing,
        version: u64,
    ) -> Vec<String> {
        let mut lacks: Vec<String> = Vec::new();
        if standing.observed.service.is_none() {
            lacks.push(match standing.pending.is_empty() {
                true => format!("the agent was not told of a Service {name} with a ClusterIP that is its to serve"),
                false => format!("Service {name} is gone, and what the kernel holds of it has to be removed"),
            });
        }
        let newest = standing.observed.slices.values().chain(&standing.observed.service).copied().max();
        if version > newest.unwrap_or(0) && standing.observed.service.is_some() {
            let newest = newest.filter(|newest| *newest != 0).map_or_else(|| "none".to_owned(), |n| n.to_string());
            lacks.push(format!("resourceVersion {version} has not been seen; the newest of {name} is {newest}"));
        }
        if !syncer.complete() {
            lacks
                .push(format!("nothing is written before everything was listed (W12): {}", missing(syncer).join(", ")));
        } else if !standing.pending.is_empty() {
            lacks.extend(self.reasons(name));
        }
        if syncer.complete() && syncer.pending().rules {
            lacks.push("the rules of the node are not written".to_owned());
        }
        lacks.extend(self.entrances.lack().map(str::to_owned));
        lacks
    }

    /// Why parts of a Service are pending after a sync.
    fn reasons(&self, name: &ServiceName) -> Vec<String> {
        let (service, object) = (name.to_string(), service_ref(name));
        let failed = self.failed.iter().filter(|failure| failure.service.as_ref() == Some(&service));
        let mut reasons: Vec<String> = failed.map(|failure| failure.message.clone()).collect();
        let refused = self.diagnostics.iter().filter(|diagnostic| diagnostic.object == object);
        reasons.extend(refused.filter(|d| d.problem == sheave_core::Problem::Capacity).map(|d| d.message.clone()));
        if reasons.is_empty() {
            let first = self.failed.first().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
            reasons.push(format!("it waits for {} writes that failed{first}", self.failures));
        }
        reasons
    }

    fn behind<D: Dataplane>(&self, syncer: &Syncer<D>) -> BehindStatus {
        let behind = syncer.behind();
        let pending = syncer.pending();
        let rules = pending.rules.then(|| Subject::Rules.to_string());
        let vips = pending.vips.iter().take(TOLD_MAX).map(|addr| Subject::Vip(*addr).to_string());
        BehindStatus {
            services: behind.len(),
            names: behind.take(TOLD_MAX).map(ToString::to_string).collect(),
            node: rules.into_iter().chain(vips).collect(),
            failures: self.failures,
            failed: self.failed.clone(),
        }
    }

    /// What is wrong with a Service and its slices.
    fn diagnostics_of<D: Dataplane>(
        &self,
        syncer: &Syncer<D>,
        name: &ServiceName,
    ) -> impl Iterator<Item = &Diagnostic> + use<'_, D> {
        let slices = syncer.index().slices(name).map(|slice| ObjectName::EndpointSlice(slice.name.clone()));
        let mut objects: BTreeSet<ObjectRef> = slices.map(|name| object_ref(&name)).collect();
        objects.insert(service_ref(name));
        self.diagnostics.iter().filter(move |diagnostic| objects.contains(&diagnostic.object)).take(TOLD_MAX)
    }
}

impl Entrances {
    fn status(self) -> EntranceStatus {
        let sockets = match self.sockets {
            None => "off",
            Some(true) => "attached",
            Some(false) => "failing",
        };
        EntranceStatus { sockets: sockets.to_owned(), devices: self.devices }
    }

    /// What keeps new flows from being served whatever the maps hold.
    fn lack(self) -> Option<&'static str> {
        match self {
            Self { devices: None, .. } => Some("the device entrance serves nothing yet"),
            Self { sockets: Some(false), .. } => Some("the socket entrance is not as it should be"),
            Self { .. } => None,
        }
    }
}

fn service_ref(name: &ServiceName) -> ObjectRef {
    object_ref(&ObjectName::Service(name.clone()))
}

fn failure(error: &sheave_dataplane::ApplyError) -> FailureStatus {
    let service = match &error.subject {
        Subject::Service(key) => Some(key.port.service.to_string()),
        Subject::Frontend(_) | Subject::Vip(_) | Subject::Rules => None,
    };
    FailureStatus { service, message: error.to_string() }
}

/// What a sync waits for before it writes anything.
fn missing<D: Dataplane>(syncer: &Syncer<D>) -> Vec<String> {
    let kinds = syncer.index().missing().map(|kind| kind.as_str().to_owned());
    let mut missing: Vec<String> = kinds.collect();
    if missing.is_empty() && !syncer.complete() {
        missing.push("the addresses of the node".to_owned());
    }
    missing
}

/// What is wanted of the kernel for a Service.
fn ports<D: Dataplane>(syncer: &Syncer<D>, name: &ServiceName) -> Vec<PortStatus> {
    let keys = syncer.index().service(name).into_iter().flat_map(|service| service.keys().map(|(key, _)| key));
    let keys: BTreeSet<_> = keys.collect();
    let port = |key| {
        let Serving { frontends, internal, external, cluster, local, keep, .. } = &**syncer.desired().serving(&key)?;
        let is_local = [internal, external].contains(&&TrafficPolicy::Local);
        Some(PortStatus {
            port: key.to_string(),
            frontends: frontends.iter().map(|(frontend, kind)| format!("{frontend} {}", kind.as_str())).collect(),
            backends: cluster.keys().len(),
            local: is_local.then(|| local.keys().len()),
            draining: keep.keys().len(),
            flows: None,
        })
    };
    keys.into_iter().filter_map(port).collect()
}
