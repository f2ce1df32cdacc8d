//! I1 on the live kernel: while sets are replaced as fast as they can be, each new flow finds the old one or the new one.
use crate::NEEDS;
use crate::world::{BACKENDS, World, targets, web};
use sheave_agent::config::SocketLb;
use sheave_agent::sync::Syncer;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::limits::Limits;
use sheave_bpf::read_back::read_back;
use sheave_core::{Endpoint, EndpointSlice, Event, Object, ProxyConfig};
use sheave_kube_source::manifests::Manifests;
use sheave_lab::probe::{Client, Failure, Outcome, Target};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

const CHANGES: usize = 10_000;
const BPFFS: &str = "/sys/fs/bpf";

/// The sets there are, one after the other, and which of them a request may meet.
struct History {
    /// As bits: backend *i* of [`BACKENDS`] is in the set.
    sets: Vec<usize>,
    begun: AtomicUsize,
    done: AtomicUsize,
    over: AtomicBool,
}

impl History {
    /// All backends, then random sets, an empty one among eight.
    fn random(mut seed: u64) -> Self {
        let mut next = || {
            // xorshift64 (Marsaglia, 2003)
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 61).unwrap()
        };
        let sets = [0b111].into_iter().chain((0..CHANGES).map(|_| next())).collect();
        Self { sets, begun: AtomicUsize::new(0), done: AtomicUsize::new(0), over: AtomicBool::new(false) }
    }

    /// What is wrong with a request that began when `first` was in force and ended when `last` had been begun.
    fn objection(&self, first: usize, last: usize, outcome: &Outcome) -> Option<String> {
        let met = &self.sets[first..=last];
        let fine = match outcome {
            Ok(answer) => {
                let backend = BACKENDS.iter().position(|pod| *pod == answer.pod).unwrap();
                met.iter().any(|set| set & (1 << backend) != 0)
            }
            Err(Failure::Refused(_)) => met.contains(&0),
            Err(_) => false,
        };
        (!fine).then(|| format!("sets {met:?} of {first}..={last}: {outcome:?}"))
    }
}

/// Asks until the changes are over; returns how often, and what was wrong.
fn probe(client: Client, target: Target, history: Arc<History>) -> JoinHandle<(usize, Vec<String>)> {
    thread::spawn(move || {
        let (mut requests, mut objections) = (0, Vec::new());
        while !history.over.load(Ordering::SeqCst) {
            let first = history.done.load(Ordering::SeqCst);
            let outcome = client.request(target).unwrap();
            let last = history.begun.load(Ordering::SeqCst);
            objections.extend(history.objection(first, last, &outcome).map(|why| format!("{target}: {why}")));
            requests += 1;
        }
        (requests, objections)
    })
}

/// What the agent does, without waiting for anything in between.
fn change_sets(manifests: &Path, own: BTreeSet<IpAddr>, history: &History) {
    let (image, _) = read_back(Path::new(BPFFS)).unwrap();
    let dataplane = BpfDataplane::new(image, Limits::default(), KernelMaps::open(Path::new(BPFFS)).unwrap());
    let mut syncer = Syncer::new("node-a", ProxyConfig::default(), dataplane);
    let listed = Manifests::read(manifests).unwrap().listed("node-a");
    let slices: Vec<EndpointSlice> = listed.iter().flat_map(slices).collect();
    syncer.observe(listed);
    syncer.observe(vec![Event::LocalAddresses(own)]);
    assert!(syncer.sync().failed.is_empty());
    for (number, &set) in history.sets.iter().enumerate().skip(1) {
        history.begun.store(number, Ordering::SeqCst);
        syncer.observe(slices.iter().map(|slice| Event::Applied(Object::EndpointSlice(only(slice, set)))).collect());
        let synced = syncer.sync();
        assert!(synced.failed.is_empty(), "{:?}", synced.failed);
        history.done.store(number, Ordering::SeqCst);
    }
}

fn slices(event: &Event) -> Vec<EndpointSlice> {
    let Event::Listed { objects, .. } = event else { return Vec::new() };
    let slice = |object: &Object| if let Object::EndpointSlice(slice) = object { Some(slice.clone()) } else { None };
    objects.iter().filter_map(slice).collect()
}

/// The slice with these of its endpoints, which stand in the order of [`BACKENDS`].
fn only(slice: &EndpointSlice, set: usize) -> EndpointSlice {
    let chosen = slice.endpoints.iter().enumerate().filter(|(place, _)| set & (1 << place) != 0);
    let endpoints: Vec<Endpoint> = chosen.map(|(_, endpoint)| endpoint.clone()).collect();
    EndpointSlice { endpoints, ..slice.clone() }
}

#[test]
fn a_flow_finds_the_old_set_or_the_new_one_through_ten_thousand_random_changes() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for (socket_lb, seed) in [(SocketLb::All, 0x5eed_0001), (SocketLb::Off, 0x5eed_0002)] {
        let service = web(&BACKENDS);
        let mut world = World::serving(socket_lb, &service);
        world.stop_agent();
        let history = Arc::new(History::random(seed));
        let probes: Vec<_> =
            targets(&service).into_iter().map(|target| probe(world.client("client"), target, history.clone())).collect();
        let node = world.cluster.node("node-a").unwrap();
        let (manifests, own) = (world.manifests().to_owned(), node.all_addrs().collect());
        let writer = history.clone();
        let changed = node.sandbox().start("writer", move || change_sets(&manifests, own, &writer)).unwrap().join();
        history.over.store(true, Ordering::SeqCst);
        let probed: Vec<_> = probes.into_iter().map(|probe| probe.join().unwrap()).collect();
        changed.unwrap();
        let requests: Vec<usize> = probed.iter().map(|(requests, _)| *requests).collect();
        let objections: Vec<String> = probed.into_iter().flat_map(|(_, objections)| objections).collect();
        eprintln!("{socket_lb:?}: {CHANGES} changes, requests: {requests:?}");
        assert!(objections.is_empty(), "{} of {requests:?}, {socket_lb:?}: {objections:#?}", objections.len());
        assert!(requests.iter().all(|requests| *requests > 0), "{requests:?}");
    }
}
