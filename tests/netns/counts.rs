//! Flows as the kernel counts them for the Service and for the backend they go to: one for each connection of a real socket, by either entrance.
use crate::NEEDS;
use crate::manifests::ServiceSpec;
use crate::world::{BACKENDS, World, answer, eventually, outcome, targets, web};
use sheave_agent::config::SocketLb;
use sheave_bpf::flow_counts::{FlowCounts, Meter, PortFlows, ServiceFlows, ServiceId};
use sheave_bpf::read_back::read_back_live;
use sheave_core::{Family, Realized as _, ServiceKey};
use sheave_lab::probe::{Failure, Target, Transport};
use sheave_tests::kernel_or_skip;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

const BPFFS: &str = "/sys/fs/bpf";
/// By one client to one frontend.
const REQUESTS: usize = 24;

/// What the maps of the node hold of a Service port: its id, and what was counted.
type Counted = BTreeMap<ServiceKey, (ServiceId, PortFlows)>;

fn counted(world: &World) -> Counted {
    let read = || {
        let (image, _) = read_back_live(Path::new(BPFFS)).unwrap();
        let mut counts = FlowCounts::open(Path::new(BPFFS)).unwrap();
        let keys = image.keys();
        let meters = keys.iter().filter_map(|key| Meter::of(&image, key));
        meters.map(|meter| (meter.key.clone(), (meter.service, counts.port(&meter).unwrap()))).collect()
    };
    world.cluster.node("node-a").unwrap().sandbox().run(read).unwrap()
}

/// The Service port that a target is of.
fn key(service: &str, target: Target) -> ServiceKey {
    let (port, protocol) = if target.transport == Transport::Tcp { ("http", "TCP") } else { ("dns", "UDP") };
    let family = if target.addr.is_ipv4() { Family::V4 } else { Family::V6 };
    format!("test/{service}:{port}/{protocol}/{family}").parse().unwrap()
}

fn by_backend(flows: &PortFlows) -> BTreeMap<SocketAddr, u64> {
    let of = |backend: &sheave_core::Backend| SocketAddr::new(backend.addr, backend.port.get());
    flows.backends.iter().map(|(backend, flows)| (of(backend), *flows)).collect()
}

/// Requests to a target, by the backend that answered. A client's UDP port that comes again while its flow is not idle is no new flow.
fn dial(
    world: &World,
    place: &str,
    target: Target,
    seen: &mut BTreeSet<(SocketAddr, SocketAddr)>,
) -> BTreeMap<SocketAddr, u64> {
    let client = world.client(place);
    let mut answered = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = answer(&client, target);
        if target.transport == Transport::Tcp || seen.insert((target.addr, answer.peer)) {
            *answered.entry(answer.backend).or_default() += 1;
        }
    }
    answered
}

/// Flows that have begun between two readings, by backend; each is one of the Service port's, and nothing else has moved.
fn begun(before: &Counted, after: &Counted, of: &ServiceKey) -> BTreeMap<SocketAddr, u64> {
    let others = |counted: &Counted| -> Counted {
        counted.iter().filter(|(key, _)| *key != of).map(|(key, flows)| (key.clone(), flows.clone())).collect()
    };
    assert_eq!(others(after), others(before), "of no other than {of}");
    let (was, is) = (&before[of].1, &after[of].1);
    let was_by = by_backend(was);
    let moved = by_backend(is).into_iter().map(|(backend, flows)| (backend, flows - was_by[&backend]));
    let moved: BTreeMap<_, _> = moved.filter(|(_, flows)| *flows > 0).collect();
    assert_eq!(is.service.begun - was.service.begun, moved.values().sum::<u64>(), "{of}");
    assert_eq!(is.service, ServiceFlows { begun: is.service.begun, ..was.service }, "{of} refuses nothing");
    moved
}

/// A pod's connect() with `socketLb: host`, and its datagrams always, are the device's; the rest is the sockets'. Neither counts what the other
/// has decided.
#[test]
fn each_connection_counts_once_at_its_service_and_at_the_backend_that_answered() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Host, SocketLb::Off] {
        let service = web(&BACKENDS);
        let (world, mut seen) = (World::serving(socket_lb, &service), BTreeSet::new());
        for place in ["client", "node-a"] {
            for target in targets(&service) {
                let (key, before) = (key("web", target), counted(&world));
                let answered = dial(&world, place, target, &mut seen);
                let after = counted(&world);
                assert_eq!(begun(&before, &after, &key), answered, "{place} dials {target}, socketLb {socket_lb:?}");
                let sum = by_backend(&after[&key].1).values().sum::<u64>();
                assert_eq!(after[&key].1.service.begun, sum, "no backend has gone: {place} dials {target}");
            }
        }
    }
}

/// E11
#[test]
fn each_refusal_counts_at_the_service_that_has_no_endpoint() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let empty = web(&[]);
        let mut world = World::new(socket_lb);
        world.put(&empty);
        world.start_agent();
        for target in targets(&empty) {
            let refused = || matches!(outcome(&world, "client", target), Err(Failure::Refused(_)));
            eventually(&format!("{target} refuses"), refused);
            let (key, before) = (key("web", target), counted(&world));
            assert!((0..REQUESTS).all(|_| refused()), "{target}");
            let (was, is) = (before[&key].1.service, counted(&world)[&key].1.service);
            let want = ServiceFlows { rejected: was.rejected + REQUESTS as u64, ..was };
            assert_eq!(is, want, "{target}, socketLb {socket_lb:?}");
        }
    }
}

/// I5, L6: what is held goes on counting where it was; an id that was free is nobody's, whatever an agent has left there.
#[test]
fn a_restart_keeps_the_counts_of_what_is_held_and_an_id_brings_none_along() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let mut world = World::serving(SocketLb::Off, &service);
    let named = |name: &'static str, vips: [IpAddr; 2]| ServiceSpec { name, vips: vips.into(), ..web(&["far-1"]) };
    let gone = named("gone", ["10.96.0.11", "fd96::11"].map(|vip| vip.parse().unwrap()));
    world.put(&gone);
    world.until_served(&gone);
    let http = targets(&gone)[0];
    assert_eq!(http.transport, Transport::Tcp);
    dial(&world, "client", http, &mut BTreeSet::new());
    let before = counted(&world);
    let (id, flows) = before[&key("gone", http)].clone();
    assert!(flows.service.begun >= REQUESTS as u64 && by_backend(&flows).values().all(|flows| *flows > 0), "{flows:?}");
    world.remove(&gone);
    eventually("it is gone", || !counted(&world).contains_key(&key("gone", http)));
    world.stop_agent();
    // What it counted is still there: after a restart nobody knows any more that the id was in use.
    let left = move || FlowCounts::open(Path::new(BPFFS)).unwrap().service(id).unwrap();
    assert_eq!(world.cluster.node("node-a").unwrap().sandbox().run(left).unwrap(), flows.service);
    let heir = named("heir", ["10.96.0.12", "fd96::12"].map(|vip| vip.parse().unwrap()));
    world.put(&heir);
    world.start_agent();
    eventually("the next one is held", || counted(&world).contains_key(&key("heir", http)));
    let after = counted(&world);
    let ids: BTreeSet<ServiceId> = after.values().map(|(id, _)| *id).collect();
    assert!(ids.contains(&id), "the id is given away again: {id:?} in {ids:?}");
    for (key, (id, flows)) in &after {
        match before.get(key) {
            Some((was_id, was)) => assert_eq!((id, flows), (was_id, was), "{key}"),
            None => assert_eq!(
                (flows.service, by_backend(flows).values().sum::<u64>()),
                (ServiceFlows::default(), 0),
                "{key}"
            ),
        }
    }
}
