//! Who asks what: callers for every Service and family, and a collector that hands each outcome to the ledger.
use super::ledger::{CHANGE_LIMIT, Ledger, Outcome, Request};
use super::report::Held;
use super::world::{World, target};
use sheave_core::{Family, Service};
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
    /// What to dial.
    pub(crate) target: Target,
}

/// Everything there is to dial.
pub(crate) fn dials(services: &[Service]) -> Vec<Dial> {
    let mut dials = Vec::new();
    for service in services {
        for addr in &service.cluster_ips {
            for port in &service.ports {
                let label = format!("{}:{} {}", service.name, port.name, Family::of(*addr));
                let target = target(port.protocol, SocketAddr::new(*addr, port.port.get()));
                dials.extend(target.map(|target| Dial { label, target }));
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
    /// Starts a caller in the pod for each dial, and one on the node for each that goes by TCP: UDP of the node itself
    /// does not pass the entrances yet. Returns who asks whom, in words.
    pub(crate) fn start(
        world: &World,
        pod: &str,
        dials: &[Dial],
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Result<(Self, BTreeMap<String, String>), SandboxError> {
        let (mut callers, mut labels, mut clients) = (Vec::new(), Vec::new(), BTreeMap::new());
        for Dial { label, target } in dials {
            let from_node = (target.transport == Transport::Tcp).then(|| world.node_client());
            clients.insert(label.clone(), if from_node.is_some() { "pod, node" } else { "pod" }.to_owned());
            for client in [Some(world.client(pod)), from_node].into_iter().flatten() {
                callers.push(Caller { client, target: *target, manner: Manner::Fresh });
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
        Err(Failure::WrongAnswer(_)) => Outcome::Failed("wrong answer"),
        Err(Failure::Other { .. }) => Outcome::Failed("other error"),
    }
}

/// Asks once.
fn ask(client: &Client, dial: &Dial) -> Result<Request, SandboxError> {
    let began = Instant::now();
    let outcome = said(&client.request(dial.target)?);
    Ok(Request { service: dial.label.clone(), began, ended: Instant::now(), outcome })
}

/// Asks once without counting it: what was wrong, if anything was.
pub(crate) fn failure(
    client: &Client,
    dial: &Dial,
    ledger: &Mutex<Ledger>,
) -> Result<Option<&'static str>, SandboxError> {
    let request = ask(client, dial)?;
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
