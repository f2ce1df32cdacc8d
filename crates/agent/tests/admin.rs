//! The admin socket, asked over a real Unix socket, beside a loop whose dataplane is in memory.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_agent::admin::{self, Admin, ClientError, ExplainRequest, Request};
use sheave_agent::explain::{Observed, Question, explain};
use sheave_agent::status::{self, Entrances, Identity, Reporter, ServiceStatus, State};
use sheave_agent::sync::Syncer;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::{
    Event, Index, Kind, Object, ObjectName, Port, Protocol, ProxyConfig, Service, ServiceName, ServicePort, Stamp,
};
use sheave_dataplane::{Dataplane, Fake};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the loop does on demand.
enum Step {
    Observe(Vec<Event>),
    Attach(Entrances),
}

/// The agent's loop without a kernel.
struct Loop {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    steps: mpsc::UnboundedSender<Step>,
    task: JoinHandle<()>,
}

const SERVED: Entrances = Entrances { sockets: Some(true), devices: Some(2) };

impl Loop {
    fn start<D: Dataplane + Send + 'static>(dataplane: D) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/admin.sock");
        let admin = Admin::serve(&socket, Arc::new(Vec::new), None).unwrap();
        let (steps, todo) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(Syncer::new("node-a", ProxyConfig::default(), dataplane), admin, todo));
        Self { _directory: directory, socket, steps, task }
    }

    fn observe(&self, events: Vec<Event>) {
        self.steps.send(Step::Observe(events)).ok().unwrap();
    }

    /// A question that waits for as long as a test may take.
    fn wait(&self, version: u64) -> JoinHandle<Result<ServiceStatus, ClientError>> {
        let socket = self.socket.clone();
        tokio::spawn(async move { admin::service(&socket, "shop/web", Some(Duration::from_secs(300)), version).await })
    }

    async fn now(&self) -> ServiceStatus {
        admin::service(&self.socket, "shop/web", None, 0).await.unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<D: Dataplane>(mut syncer: Syncer<D>, mut admin: Admin, mut todo: mpsc::UnboundedReceiver<Step>) {
    let identity = Identity { node: "node-a".to_owned(), source: "kube".to_owned(), started_unix_s: 7 };
    let (mut reporter, mut entrances) = (Reporter::new(identity), SERVED);
    loop {
        tokio::select! {
            // What a test has sent first is done first.
            biased;
            step = todo.recv() => {
                match step {
                    None => return,
                    Some(Step::Observe(events)) => syncer.observe(events),
                    Some(Step::Attach(now)) => entrances = now,
                }
                let synced = syncer.sync();
                if let Some(diagnostics) = syncer.changed_diagnostics() {
                    reporter.diagnosed(Arc::new(diagnostics));
                }
                reporter.publish(&syncer, &synced, entrances);
            }
            request = admin.next() => match request {
                Request::Status(reply) => drop(reply.send(reporter.agent(&syncer, Vec::new()))),
                Request::Service(question, reply) => reporter.service(&syncer, question, reply),
                // Nobody counts flows here.
                Request::Names(..) | Request::Meters(..) => {}
                Request::Explain(question, reply) => drop(reply.send(status::explain(&syncer, &question))),
            },
        }
    }
}

fn service(name: &str, vip: u8) -> Service {
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap(), node_port: None };
    Service {
        cluster_ips: vec![[10, 96, 0, vip].into()],
        ports: vec![port],
        ..Service::new(ServiceName::new("shop", name))
    }
}

fn at(name: &str, vip: u8, version: u64) -> Vec<Event> {
    let object = ObjectName::Service(ServiceName::new("shop", name));
    let stamp = Stamp { version, triggered_unix_ns: None };
    vec![Event::Applied(Object::Service(service(name, vip))), Event::Seen { object, stamp }]
}

fn nothing() -> Vec<Event> {
    let listed = |kind| Event::Listed { kind, objects: Vec::new(), kept: Vec::new() };
    Kind::ALL.map(listed).into_iter().chain([Event::LocalAddresses(BTreeSet::new())]).collect()
}

fn memory(services_max: u32) -> BpfDataplane<MemoryMaps> {
    let limits = Limits { services_max, ..Limits::default() };
    BpfDataplane::new(Image::default(), limits, MemoryMaps::new())
}

/// State, the Service's version as programmed, and what it waits for.
fn told(status: &ServiceStatus) -> (State, Option<&str>, Vec<&str>) {
    let programmed = status.programmed.as_ref().and_then(|versions| versions.service.as_deref());
    (status.state, programmed, status.waiting_for.iter().map(String::as_str).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_answered_by_the_sync_that_programs_the_service() {
    let agent = Loop::start(memory(10));
    let waiting = agent.wait(0);
    agent.observe(nothing());
    assert_eq!(agent.now().await.state, State::Unknown);
    agent.observe(at("other", 2, 5));
    agent.observe(at("web", 1, 7));
    assert_eq!(told(&waiting.await.unwrap().unwrap()), (State::Programmed, Some("7"), vec![]));

    let newer = agent.wait(9);
    let same = agent.wait(7);
    assert_eq!(told(&same.await.unwrap().unwrap()).0, State::Programmed, "what is programmed is not waited for");
    agent.observe(at("web", 1, 8));
    agent.observe(at("web", 3, 12));
    assert_eq!(told(&newer.await.unwrap().unwrap()), (State::Programmed, Some("12"), vec![]), "or a newer one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_waits_for_is_said() {
    let agent = Loop::start(memory(1));
    agent.observe(at("web", 1, 7));
    let incomplete = agent.now().await;
    assert_eq!((incomplete.state, incomplete.programmed.is_none()), (State::Pending, true));
    assert!(incomplete.waiting_for[0].contains("(W12): Service, EndpointSlice, Node, ServiceCIDR"), "{incomplete:?}");

    agent.observe([nothing(), at("other", 2, 5)].concat());
    agent.observe(at("web", 1, 7));
    let refused = agent.now().await;
    assert_eq!(refused.state, State::Pending);
    assert!(refused.waiting_for[0].contains("raise `maps.servicesMax`"), "I7: {refused:?}");
    assert_eq!(refused.diagnostics.len(), 1);

    // In time it is not: the answer says how it stands then.
    let late = admin::service(&agent.socket, "shop/web", Some(Duration::from_secs(1)), 9).await.unwrap();
    assert_eq!(late.state, State::Pending);
    assert!(
        late.waiting_for[0].contains("resourceVersion 9 has not been seen; the newest of shop/web is 7"),
        "{late:?}"
    );

    let waiting = agent.wait(0);
    agent.observe(vec![Event::Deleted(ObjectName::Service(ServiceName::new("shop", "other")))]);
    assert_eq!(told(&waiting.await.unwrap().unwrap()), (State::Programmed, Some("7"), vec![]));
    agent.steps.send(Step::Attach(Entrances { devices: None, ..SERVED })).ok().unwrap();
    assert_eq!(told(&agent.now().await), (State::Pending, Some("7"), vec!["the device entrance serves nothing yet"]));
}

/// I3
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_is_named_until_it_succeeds() {
    let agent = Loop::start(Fake::failing_at([0]));
    agent.observe(nothing());
    agent.observe(at("web", 1, 7));
    let failed = agent.now().await;
    assert_eq!(failed.state, State::Pending);
    assert!(failed.waiting_for[0].contains("step 0 fails on purpose"), "{failed:?}");
    let all = admin::status(&agent.socket).await.unwrap();
    assert_eq!((all.behind.services, all.behind.names), (1, vec!["shop/web".to_owned()]));
    assert_eq!((all.behind.failures, all.behind.failed[0].service.as_deref()), (1, Some("shop/web")));
    agent.observe(Vec::new());
    assert_eq!(agent.now().await.state, State::Programmed);
    assert_eq!(admin::status(&agent.socket).await.unwrap().behind, status::BehindStatus::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_tells_what_it_holds_what_is_wrong_and_how_full_the_maps_are() {
    let agent = Loop::start(memory(10));
    agent.observe([nothing(), at("web", 1, 7), at("api", 1, 8)].concat());
    let status = admin::status(&agent.socket).await.unwrap();
    assert_eq!((&*status.node, &*status.source, status.started_unix_s), ("node-a", "kube", 7));
    assert_eq!(status.missing, [""; 0]);
    assert_eq!((status.objects["Service"], status.objects["Node"]), (2, 0));
    assert_eq!((&*status.entrances.sockets, status.entrances.devices), ("attached", Some(2)));
    // X1, I8: two Services claim one frontend.
    assert_eq!(status.diagnostics.kinds, BTreeMap::from([("conflict".to_owned(), 1)]));
    assert!(status.diagnostics.items[0].object.contains("shop/"), "{:?}", status.diagnostics);
    let used = |map: &str| status.maps.iter().find(|room| room.map == map).map(|room| (room.used, room.max));
    assert_eq!(used("services"), Some((2, 10)));
    assert_eq!(used("frontends_v4"), Some((2, 1 << 21)), "the frontend and the address (A2)");
    assert_eq!(used("backends_v6"), Some((0, 1 << 21)));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_from_the_objects_of_the_loop_as_it_does_from_manifests() {
    let agent = Loop::start(memory(10));
    let objects = || [nothing(), at("web", 1, 7), at("api", 2, 8)].concat();
    agent.observe(objects());
    let mut index = Index::new("node-a");
    objects().into_iter().for_each(|event| index.apply(event));
    let (config, absent) = (ProxyConfig::default(), BTreeMap::new());
    for (from, to) in [("10.244.0.9", "shop/web"), ("10.244.0.9", "10.96.0.1:81"), ("10.244.0.9", "shop/none")] {
        let request = ExplainRequest { from: from.to_owned(), to: to.to_owned(), in_interface: None, objects: true };
        let live = admin::explain(&agent.socket, &request).await.unwrap();
        let question = Question::parse(from, to, None).unwrap();
        let direct = explain(Observed { index: &index, config: &config, absent: &absent }, &question).unwrap();
        assert_eq!((live.answer, live.text), (direct.answer(), direct.text()), "{to}");
        assert_eq!(live.notes.len(), usize::from(to == "shop/none"), "{:?}", live.notes);
        let kinds = live.evidence.map(|evidence| evidence.objects.iter().map(|o| o["kind"].clone()).collect());
        assert_eq!(
            kinds,
            (to != "shop/none").then(|| vec![serde_json::json!("Service")]),
            "api is not concerned: {to}"
        );
    }
    let bad = ExplainRequest { from: "x".to_owned(), to: "shop/web".to_owned(), in_interface: None, objects: false };
    let error = admin::explain(&agent.socket, &bad).await.unwrap_err().to_string();
    assert!(error.contains("\"x\" is not an IP address"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_misbehaves_is_refused_and_others_are_answered() {
    let agent = Loop::start(memory(10));
    agent.observe(nothing());
    let long = "x".repeat(64 * 1024);
    for (request, want) in [
        ("GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "404"),
        ("DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "405"),
        ("POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]".to_owned(), "400"),
        (format!("POST /v1/explain HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n{long}"), "413"),
        (format!("GET /v1/status HTTP/1.1\r\nHost: {long}\r\n\r\n"), "431"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
    ] {
        let mut peer = UnixStream::connect(&agent.socket).await.unwrap();
        // What is too long may be refused before all of it was sent.
        let _unsent = peer.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut = peer.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("HTTP/1.1 {want}")), "{:.40}: {line}", request);
    }
    let _silent = silent(&agent).await;
    assert!(admin::status(&agent.socket).await.is_ok());
}

/// Connections that say nothing; fewer than may be open at a time.
async fn silent(agent: &Loop) -> Vec<UnixStream> {
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(&agent.socket).await.unwrap());
    }
    silent
}

#[tokio::test]
async fn that_no_agent_answers_is_told_with_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let error = admin::status(&socket).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { .. }), "{error}");
    assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
}
