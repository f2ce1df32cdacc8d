//! Follows a source and keeps what it reported: what the index of the agent would hold.
use sheave_apistub::{Api, Request, Server, Verb};
use sheave_core::{Diagnostic, Event, Kind, Object, ObjectName, ObjectRef, Stamp};
use sheave_kube_source::{KubeConfig, Pace, Source, spawn};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// Far beyond what anything here takes: a test that meets it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Follower {
    events: Receiver<Vec<Event>>,
    task: JoinHandle<()>,
    /// How often each kind was listed.
    pub(crate) listed: BTreeMap<Kind, usize>,
    pub(crate) objects: BTreeMap<ObjectName, Object>,
    pub(crate) said: BTreeMap<ObjectRef, Vec<Diagnostic>>,
    /// The versions of the objects, as last seen.
    pub(crate) stamps: BTreeMap<ObjectName, Stamp>,
    /// What the version that comes next is of.
    stamped: Vec<ObjectName>,
    /// Everything that was reported, but for the versions.
    pub(crate) log: Vec<Event>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fast enough for tests, and with every wait a test needs.
pub(crate) fn pace() -> Pace {
    Pace {
        start_jitter_max: Duration::ZERO,
        answer_timeout: Duration::from_millis(500),
        watch_min: Duration::from_secs(300),
        retry_min: Duration::from_millis(5),
        retry_max: Duration::from_millis(40),
        absent_retry: Duration::from_millis(50),
    }
}

impl Follower {
    pub(crate) fn of(source: Source) -> Self {
        let (sender, events) = channel(16);
        let task = spawn(source, "node-a", sender);
        let (listed, objects, said) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (stamps, stamped) = (BTreeMap::new(), Vec::new());
        Self { events, task, listed, objects, said, stamps, stamped, log: Vec::new() }
    }

    pub(crate) async fn of_url(url: &str) -> Self {
        Self::of(Source::Kube(KubeConfig::url(url).connect().await.unwrap(), pace()))
    }

    /// Follows a server, and has seen its first lists.
    pub(crate) async fn of_server(server: &Server) -> Self {
        let mut follower = Self::of_url(&server.url()).await;
        follower.until("complete", Self::is_complete).await;
        follower
    }

    /// W12: every kind was listed.
    pub(crate) fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains_key(kind))
    }

    /// Takes events until something holds.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            let batch = timeout_at(deadline, self.events.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("not {what} in time: {:#?}", self.log));
            batch
                .unwrap_or_else(|| panic!("the source ended, not {what}"))
                .into_iter()
                .for_each(|event| self.take(event));
        }
    }

    /// What has been reported by now; for showing that it is nothing.
    pub(crate) fn reported_since(&mut self, from: usize) -> Vec<Event> {
        while let Ok(batch) = self.events.try_recv() {
            batch.into_iter().for_each(|event| self.take(event));
        }
        self.log[from..].to_vec()
    }

    fn take(&mut self, event: Event) {
        if let Event::Seen { object, stamp } = event {
            assert!(self.stamped.contains(&object), "a version of {object:?} that nothing was said of");
            self.stamps.insert(object, stamp);
            return;
        }
        self.stamped = match &event {
            Event::Applied(object) => vec![object.name()],
            Event::Listed { objects, .. } => objects.iter().map(Object::name).collect(),
            _ => Vec::new(),
        };
        self.log.push(event.clone());
        match event {
            Event::Seen { .. } => {}
            Event::Applied(object) => drop(self.objects.insert(object.name(), object)),
            Event::Deleted(name) => drop(self.objects.remove(&name)),
            Event::Listed { kind, objects, kept } => {
                *self.listed.entry(kind).or_default() += 1;
                self.objects.retain(|name, _| name.kind() != kind || kept.contains(name));
                self.objects.extend(objects.into_iter().map(|object| (object.name(), object)));
            }
            Event::LocalAddresses(_) => panic!("no source of objects knows the node's devices"),
            Event::Diagnosed { object, diagnostics } if diagnostics.is_empty() => drop(self.said.remove(&object)),
            Event::Diagnosed { object, diagnostics } => drop(self.said.insert(object, diagnostics)),
        }
    }

    /// The names of what is held, as diagnostics write them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.objects.keys().map(|name| sheave_kube_source::object_ref(name).to_string()).collect()
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        self.names().iter().any(|held| held == name)
    }

    /// All diagnostics in force, as they are shown.
    pub(crate) fn diagnostics(&self) -> Vec<String> {
        self.said.values().flatten().map(ToString::to_string).collect()
    }
}

/// Waits until something holds of the API.
pub(crate) async fn api_until(api: &Api, what: &str, holds: impl Fn(&Api) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds(api) {
        assert!(Instant::now() < deadline, "not {what} in time: {:#?}", api.requests());
        sleep(Duration::from_millis(1)).await;
    }
}

/// The requests of one verb for one kind.
pub(crate) fn asked(api: &Api, verb: Verb, kind: &str) -> Vec<Request> {
    api.requests().into_iter().filter(|request| request.verb == verb && request.kind == kind).collect()
}
