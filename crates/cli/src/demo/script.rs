//! What happens when: build, serve, add, drain, swap, stop.
use super::Arguments;
use super::api_server::ApiServer;
use super::control::Control;
use super::ledger::Ledger;
use super::live::{Interrupted, Live};
use super::manifests::{Manifests, background};
use super::process::AgentProcess;
use super::report::{Run, as_json, as_text};
use super::traffic::{Dial, Holders, Traffic, dials, failure, until_answered_by};
use super::world::{NODE, World};
use crate::output::{Output, note, print};
use anyhow::Context as _;
use serde_json::json;
use sheave_apistub::Api;
use sheave_lab::probe::{Client, Target};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const CLIENT: &str = "client";
const CLIENT_ADDRS: [&str; 2] = ["10.244.1.200", "fd00:244:1::200"];
/// The pod of `web` that is drained, and the one that comes to take its place on the other node.
const DRAINED: [&str; 2] = ["10.244.1.11", "fd00:244:1::11"];
const ADDED: [&str; 2] = ["10.244.2.31", "fd00:244:2::31"];
const WEB_SLICES: [&str; 2] = ["web-ipv4", "web-ipv6"];
/// A Service with one endpoint, now this one and now that one: each change is timed.
const SWAP_VIP: &str = "10.96.0.30";
const SWAP_BACKENDS: [(&str, &str); 2] = [("10.244.1.12", "node-a"), ("10.244.2.11", "node-b")];
const SWAPS: usize = 40;
/// After so many changes that no connection has found, the rest would only take time.
const NOT_SEEN_MAX: usize = 5;
/// A request that finds nothing served yet is given up after this time.
const PATIENCE: Duration = Duration::from_millis(200);
/// The agent has this long to serve everything: an unoptimised build takes 16 s for 100,000 Services on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What the exit status depends on.
pub(crate) struct Finished {
    pub(crate) failures: u64,
}

/// Everything that runs; dropped in this order.
struct Stage {
    agent: AgentProcess,
    _server: ApiServer,
    control: Control,
    world: World,
    ledger: Arc<Mutex<Ledger>>,
    live: Live,
    /// The agent's log: a file without a name, gone with the processes that hold it.
    log: File,
}

/// Plays the whole demo and prints its result.
pub(crate) fn play(arguments: &Arguments, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Finished> {
    let manifests = Manifests::examples()?;
    let mut stage = Stage::build(arguments, &manifests, interrupted)?;
    let mut all = dials(&manifests.services(), stage.world.node_addrs());
    all.sort_by(|a, b| a.label.cmp(&b.label));
    let run = stage.perform(arguments, &all)?;
    stage.live.finish();
    let ledger = lock(&stage.ledger);
    match arguments.output {
        Output::Json => print(&format!("{:#}", as_json(&ledger, &run)))?,
        Output::Text => print(&format!("{}\n{}", as_text(&ledger, &run), next_commands()))?,
    }
    let failures = ledger.failures() + run.held.broken;
    drop(ledger);
    if arguments.keep {
        stage.stay_up()?;
    }
    Ok(Finished { failures })
}

impl Stage {
    fn build(arguments: &Arguments, manifests: &Manifests, interrupted: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let live = Live::new(Arc::clone(&ledger), Arc::clone(interrupted));
        live.phase("building two nodes and their pods from namespaces")?;
        let mut world = World::build(manifests, &[(CLIENT, CLIENT_ADDRS.map(addr))])?;
        world.add_like(addr(DRAINED[0]), "node-b", "web2-31", &ADDED.map(addr))?;
        live.phase(&format!("starting the API with {} more Services in the background", arguments.services))?;
        let api = Api::new();
        let documents = manifests.documents().iter().cloned().chain(swap_documents());
        for (n, document) in documents.chain(background(arguments.services)).enumerate() {
            if n % 1000 == 0 {
                live.tick()?;
            }
            api.apply(document).context("the API refuses a document of the demo")?;
        }
        let server = ApiServer::start(world.node(), &api)?;
        note_empty(manifests, &ledger);
        let mut slices = manifests.slice_documents();
        slices.extend(swap_documents().into_iter().skip(1));
        let control = Control::new(api, slices, Arc::clone(&ledger));
        live.phase("starting the agent of node-a")?;
        let log = tempfile::tempfile().context("making a file for the agent's log")?;
        let agent = AgentProcess::start(world.node(), NODE, server.url(), log.try_clone()?)?;
        Ok(Self { agent, _server: server, control, world, ledger, live, log })
    }

    fn perform(&mut self, arguments: &Arguments, dials: &[Dial]) -> anyhow::Result<Run> {
        self.wait_until_served(dials)?;
        self.live.phase("requests from a pod, from the node and from outside, TCP and UDP, IPv4 and IPv6")?;
        let started = Instant::now();
        let (traffic, mut clients) = Traffic::start(&self.world, CLIENT, dials, &self.ledger)?;
        let web: Vec<Dial> = dials.iter().filter(|dial| dial.label.starts_with("shop/web:")).cloned().collect();
        let mut holders = Holders::open(&self.world.client(CLIENT), &web, 6)?;
        self.change_endpoints(&mut holders)?;
        self.swap(&mut holders)?;
        traffic.stop();
        clients.insert(swap_dial().label, "pod".to_owned());
        anyhow::ensure!(!self.agent.ended(), "the agent ended by itself; its last words:\n{}", self.last_words());
        let background = arguments.services as usize;
        Ok(Run { clients, background, took: started.elapsed(), held: holders.counts() })
    }

    /// Waits for one right answer of each kind, before anything is counted: an agent that starts has not promised anything
    /// yet. Sockets and devices are served from different moments on, so TCP says nothing about UDP.
    fn wait_until_served(&mut self, dials: &[Dial]) -> anyhow::Result<()> {
        let patient = |client: &Client| Client::new(client.sandbox(), PATIENCE);
        let inside = [self.world.client(CLIENT), self.world.node_client()].map(|client| patient(&client));
        let outside = patient(&self.world.outside_client());
        let deadline = Instant::now() + START_TIMEOUT;
        for dial in dials.iter().chain([&swap_dial()]) {
            for client in &inside {
                self.wait_until_answered(client, dial, dial.target, deadline)?;
            }
            for &target in &dial.outside {
                self.wait_until_answered(&outside, dial, target, deadline)?;
            }
        }
        Ok(())
    }

    fn wait_until_answered(
        &mut self,
        client: &Client,
        dial: &Dial,
        target: Target,
        deadline: Instant,
    ) -> anyhow::Result<()> {
        while let Some(failure) = failure(client, dial, target, &self.ledger)? {
            self.live.tick()?;
            let alive = !self.agent.ended() && Instant::now() < deadline;
            anyhow::ensure!(
                alive,
                "the agent does not serve {} at {target} ({failure}); its last words:\n{}",
                dial.label,
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn change_endpoints(&mut self, holders: &mut Holders) -> anyhow::Result<()> {
        let Self { control, live, world, .. } = self;
        let mut watch = |millis| live.watch(Duration::from_millis(millis), || holders.round_trips());
        watch(1500)?;
        live.phase("shop/web: an endpoint is added")?;
        WEB_SLICES.iter().zip(ADDED).for_each(|(slice, new)| control.add(slice, addr(new), "node-b"));
        watch(1500)?;
        live.phase("shop/web: another endpoint is terminating")?;
        WEB_SLICES.iter().zip(DRAINED).for_each(|(slice, old)| control.terminate(slice, addr(old)));
        watch(1000)?;
        live.phase("shop/web: it is out of the slice")?;
        WEB_SLICES.iter().zip(DRAINED).for_each(|(slice, old)| control.remove(slice, addr(old)));
        watch(1000)?;
        live.phase("shop/web: its clients close, its server stops")?;
        holders.close(&DRAINED.map(addr).into());
        world.stop_server(addr(DRAINED[0]));
        Ok(live.watch(Duration::from_millis(1000), || holders.round_trips())?)
    }

    /// Changes the one endpoint of a Service again and again, and measures until the first connection that finds the new one.
    fn swap(&mut self, holders: &mut Holders) -> anyhow::Result<()> {
        self.live
            .phase(&format!("shop/swap: its only endpoint is replaced {SWAPS} times; how long until it is found?"))?;
        let (client, dial, mut not_seen) = (self.world.client(CLIENT), swap_dial(), 0);
        for n in 1..=SWAPS {
            let (backend, node) = SWAP_BACKENDS[n % SWAP_BACKENDS.len()];
            let changed = self.control.replace("swap-ipv4", addr(backend), node);
            match until_answered_by(&client, &dial, SocketAddr::new(addr(backend), 8080), &self.ledger)? {
                Some(found) => lock(&self.ledger).converged(&dial.label, found - changed),
                None => {
                    lock(&self.ledger).not_seen(&dial.label);
                    not_seen += 1;
                }
            }
            if not_seen == NOT_SEEN_MAX {
                self.live.phase("too many changes are not seen; the agent's last words:")?;
                note(&self.last_words());
                break;
            }
            self.live.watch(Duration::from_millis(25), || holders.round_trips())?;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        // Opened anew, so that reading does not move where the agent writes.
        let log = std::fs::read_to_string(format!("/proc/self/fd/{}", self.log.as_raw_fd())).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn stay_up(&mut self) -> anyhow::Result<()> {
        let pid = self.agent.pid();
        let sheave = std::env::current_exe().map_or_else(|_| "sheave".to_owned(), |path| path.display().to_string());
        note(&format!(
            "The lab stays up until Ctrl-C. In another terminal, as root, on the node:\n  nsenter -t {pid} -m -n {sheave} \
             dump\n  nsenter -t {pid} -m -n ip route\n  nsenter -t {pid} -m -n bpftool link\n  nsenter -t {pid} -m -n \
             tcpdump -ni any udp\nThe agent's log:\n  cat /proc/{pid}/fd/2"
        ));
        match self.live.watch(Duration::MAX / 4, || {}) {
            Err(Interrupted) => Ok(()),
            Ok(()) => Ok(()),
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("invariant: the script's addresses are addresses")
}

/// Services without a slice have an empty set from the start: refusing them is right.
fn note_empty(manifests: &Manifests, ledger: &Mutex<Ledger>) {
    let served: BTreeSet<_> = manifests.slices().into_iter().map(|slice| slice.service).collect();
    let empty: Vec<_> = manifests.services().into_iter().filter(|service| !served.contains(&service.name)).collect();
    for dial in dials(&empty, &[]) {
        lock(ledger).set(&dial.label, Instant::now(), BTreeSet::new());
    }
}

fn swap_dial() -> Dial {
    let target = Target::tcp(SocketAddr::new(addr(SWAP_VIP), 80));
    Dial { label: "shop/swap:http IPv4".to_owned(), target, outside: Vec::new() }
}

fn swap_documents() -> [serde_json::Value; 2] {
    let (backend, node) = SWAP_BACKENDS[0];
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "swap", "namespace": "shop" },
            "spec": {
                "type": "ClusterIP", "clusterIP": SWAP_VIP, "clusterIPs": [SWAP_VIP], "ipFamilies": ["IPv4"],
                "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080 }],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "swap-ipv4", "namespace": "shop", "labels": { "kubernetes.io/service-name": "swap" },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
            "endpoints": [{ "addresses": [backend], "conditions": { "ready": true }, "nodeName": node }],
        }),
    ]
}

fn next_commands() -> String {
    let sheave = std::env::current_exe().map_or_else(|_| "sheave".to_owned(), |path| path.display().to_string());
    format!(
        "Try next:\n  sudo {sheave} demo --services 10000   the same latencies with 10,000 Services more\n  sudo {sheave} \
         demo --keep             look around in the lab yourself\n  sudo {sheave} check                   what this machine \
         has for running sheave"
    )
}
