//! Who asks what: callers for every Service and family, and a collector that hands each outcome to the ledger.
use super::ledger::{CHANGE_LIMIT, Ledger, Outcome, Request};
use super::report::Held;
use super::world::{World, target};
use sheave_core::{Family, Port, Service};
use sheave_lab::SandboxError;
use sheave_lab::probe::{self, Caller, Client, Failure, Load, Manner, Sample, Target, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Each caller asks once in this time.
const INTERVAL: Duration = Duration::from_millis(20);

/// One family of one Service port, as clients dial it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dial {
    /// `namespace/name:port family`, as the ledger calls it.
    pub(crate) label: String,
    /// What to dial inside the cluster.
    pub(crate) target: Target,
    /// What to dial outside: the NodePort at the node, and the addresses of the load balancer.
    pub(crate) outside: Vec<Target>,
}

/// Everything there is to dial, for a node with these addresses.
pub(crate) fn dials(services: &[Service], node: &[IpAddr]) -> Vec<Dial> {
    let mut dials = Vec::new();
    for service in services {
        for addr in &service.cluster_ips {
            for port in &service.ports {
                let label = format!("{}:{} {}", service.name, port.name, Family::of(*addr));
                let at = |&(addr, port_number): &(IpAddr, Port)| {
                    target(port.protocol, SocketAddr::new(addr, port_number.get()))
                };
                let node_ports =
                    port.node_port.into_iter().flat_map(|number| node.iter().map(move |addr| (*addr, number)));
                let vips = service.load_balancer_ips.iter().map(|addr| (*addr, port.port));
                let of_family = node_ports.chain(vips).filter(|(other, _)| other.is_ipv4() == addr.is_ipv4());
                let outside = of_family.filter_map(|dialled| at(&dialled)).collect();
                dials.extend(at(&(*addr, port.port)).map(|target| Dial { label, target, outside }));
            }
        }
    }
    dials
}

/// Requests that go on until they are told to stop.
pub(crate) struct Traffic {
    load: Load,
    collector: JoinHandle<()>,
}

impl Traffic {
    /// Starts a caller in the pod and one on the node for each dial, and one outside for each address there. Returns who asks
    /// whom, in words.
    pub(crate) fn start(
        world: &World,
        pod: &str,
        dials: &[Dial],
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Result<(Self, BTreeMap<String, String>), SandboxError> {
        let (mut callers, mut labels, mut clients) = (Vec::new(), Vec::new(), BTreeMap::new());
        for Dial { label, target, outside } in dials {
            clients
                .insert(label.clone(), if outside.is_empty() { "pod, node" } else { "pod, node, outside" }.to_owned());
            let inside = [world.client(pod), world.node_client()].map(|client| (client, *target));
            let all = inside.into_iter().chain(outside.iter().map(|target| (world.outside_client(), *target)));
            for (client, target) in all {
                callers.push(Caller { client, target, manner: Manner::Fresh });
                labels.push(label.clone());
            }
        }
        let (load, samples) = Load::start(callers, INTERVAL)?;
        let ledger = Arc::clone(ledger);
        let collector = std::thread::spawn(move || collect(&samples, &labels, &ledger));
        Ok((Self { load, collector }, clients))
    }

    /// Stops, after the requests that are under way.
    pub(crate) fn stop(self) {
        self.load.stop();
        self.collector.join().expect("invariant: the collector does not panic");
    }
}

fn collect(samples: &Receiver<Sample>, labels: &[String], ledger: &Mutex<Ledger>) {
    for Sample { caller, started, finished, outcome, .. } in samples {
        let request =
            Request { service: labels[caller].clone(), began: started, ended: finished, outcome: said(&outcome) };
        lock(ledger).count(&request);
    }
}

fn said(outcome: &probe::Outcome) -> Outcome {
    match outcome {
        Ok(answer) => Outcome::Answered(answer.backend),
        Err(Failure::Refused(_)) => Outcome::Refused,
        Err(Failure::Reset(_)) => Outcome::Failed("reset"),
        Err(Failure::Closed) => Outcome::Failed("closed early"),
        Err(Failure::TimedOut(_)) => Outcome::Failed("timed out"),
        Err(Failure::Unreachable(_)) => Outcome::Failed("unreachable"),
        Err(Failure::Moved { .. }) => Outcome::Failed("moved"),
        Err(Failure::WrongAnswer(_)) => Outcome::Failed("wrong answer"),
        Err(Failure::Other { .. }) => Outcome::Failed("other error"),
    }
}

/// Asks once.
fn ask(client: &Client, dial: &Dial) -> Result<Request, SandboxError> {
    ask_at(client, dial, dial.target)
}

fn ask_at(client: &Client, dial: &Dial, target: Target) -> Result<Request, SandboxError> {
    let began = Instant::now();
    let outcome = said(&client.request(target)?);
    Ok(Request { service: dial.label.clone(), began, ended: Instant::now(), outcome })
}

/// Asks once without counting it: what was wrong, if anything was.
pub(crate) fn failure(
    client: &Client,
    dial: &Dial,
    target: Target,
    ledger: &Mutex<Ledger>,
) -> Result<Option<&'static str>, SandboxError> {
    let request = ask_at(client, dial, target)?;
    Ok(lock(ledger).failure(&request))
}

/// Asks until an answer comes from `backend` and returns when that was; every answer on the way is counted. `None`: the
/// change took longer than a change may take.
pub(crate) fn until_answered_by(
    client: &Client,
    dial: &Dial,
    backend: SocketAddr,
    ledger: &Mutex<Ledger>,
) -> Result<Option<Instant>, SandboxError> {
    let deadline = Instant::now() + CHANGE_LIMIT;
    while Instant::now() < deadline {
        let request = ask(client, dial)?;
        lock(ledger).count(&request);
        if request.outcome == Outcome::Answered(backend) {
            return Ok(Some(request.ended));
        }
    }
    Ok(None)
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that stay open while everything changes (L1).
pub(crate) struct Holders {
    held: Vec<(probe::Held, Option<IpAddr>)>,
    counts: Held,
}

impl Holders {
    /// Opens `each` connections to every dial that goes by TCP.
    pub(crate) fn open(client: &Client, dials: &[Dial], each: usize) -> Result<Self, SandboxError> {
        let mut holders = Self { held: Vec::new(), counts: Held::default() };
        for dial in dials.iter().filter(|dial| dial.target.transport == Transport::Tcp) {
            for _ in 0..each {
                holders.counts.connections += 1;
                match client.hold(dial.target)? {
                    Ok(held) => holders.held.push((held, None)),
                    Err(_) => holders.counts.broken += 1,
                }
            }
        }
        Ok(holders)
    }

    /// One round trip on each. The backend of a connection never changes: another one answering breaks it, too.
    pub(crate) fn round_trips(&mut self) {
        let counts = &mut self.counts;
        self.held.retain_mut(|(held, backend)| {
            let answer = held.round_trip();
            let same = answer.as_ref().is_ok_and(|a| backend.is_none_or(|backend| backend == a.backend.ip()));
            *backend = answer.ok().map(|answer| answer.backend.ip());
            counts.round_trips += u64::from(same);
            counts.broken += u64::from(!same);
            same
        });
    }

    /// Closes the connections to these backends, as a client does that is asked to go before a server ends.
    pub(crate) fn close(&mut self, backends: &BTreeSet<IpAddr>) {
        self.held.retain(|(_, backend)| backend.is_none_or(|backend| !backends.contains(&backend)));
    }

    /// What has been counted.
    pub(crate) fn counts(&self) -> Held {
        self.counts
    }
}
