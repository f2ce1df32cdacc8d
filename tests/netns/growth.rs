//! Services come until the maps have grown twice, and go again, while requests run (I1, I7).
use crate::NEEDS;
use crate::manifests;
use crate::world::{World, eventually, outcome, targets, web};
use serde_json::{Value, json};
use sheave_agent::config::SocketLb;
use sheave_bpf::counters::Counters;
use sheave_bpf::ops::Hash;
use sheave_bpf::read_back::read_back_live;
use sheave_core::{Family, Realized as _};
use sheave_lab::probe::{Caller, Load, Manner, Sample, Target};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const BPFFS: &str = "/sys/fs/bpf";
const INTERVAL: Duration = Duration::from_millis(10);
/// Ports of each Service that comes.
const PORTS: u16 = 50;
/// What comes leads here, and what is asked all the time does not.
const OTHERS: &str = "far-1";

/// Services in one file: how many, from which number on, and what the frontends have room for with them.
struct Batch {
    name: &'static str,
    first: u16,
    services: u16,
    room: u32,
}

/// An entry for each port and one for the address (A2): 5,100 and 17,340 in all.
const BATCHES: [Batch; 2] = [
    Batch { name: "some", first: 0, services: 100, room: 1 << 14 },
    Batch { name: "many", first: 100, services: 240, room: 1 << 16 },
];

impl Batch {
    fn items(&self) -> Vec<Value> {
        (self.first..self.first + self.services).flat_map(service).collect()
    }

    /// The last port of the last Service.
    fn last(&self) -> Target {
        Target::tcp(SocketAddr::new(vip(self.first + self.services - 1).into(), PORTS))
    }
}

fn vip(n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(10, 97, high, low)
}

fn service(n: u16) -> [Value; 2] {
    let (name, vip) = (format!("other-{n:03}"), vip(n).to_string());
    let port = |port: u16| json!({"name": format!("p{port}"), "protocol": "TCP", "port": port});
    let target = |port: u16| json!({"name": format!("p{port}"), "protocol": "TCP", "port": 8080});
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "test"},
            "spec": {"clusterIP": vip, "clusterIPs": [vip], "ports": (1..=PORTS).map(port).collect::<Vec<_>>()},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "test", "labels": {"kubernetes.io/service-name": name}},
            "ports": (1..=PORTS).map(target).collect::<Vec<_>>(),
            "endpoints": [{"addresses": ["10.180.1.1"], "nodeName": "node-b", "conditions": {"ready": true}}],
        }),
    ]
}

/// What was refused and dropped so far, by reason.
fn refusals(world: &World) -> BTreeMap<&'static str, u64> {
    let node = world.cluster.node("node-a").unwrap().sandbox();
    let read = node.run(|| Counters::open(Path::new(BPFFS)).unwrap().read().unwrap()).unwrap();
    read.into_iter().filter(|(name, _)| name.contains("drop_") || name.contains("reject")).collect()
}

/// Room for frontends and for names, and how many Service ports are held.
fn held(world: &World) -> (u32, u32, usize) {
    let node = world.cluster.node("node-a").unwrap().sandbox();
    let (image, strays) = node.run(|| read_back_live(Path::new(BPFFS)).unwrap()).unwrap();
    assert_eq!(strays, []);
    (image.room(Hash::Frontends(Family::V4)), image.room(Hash::Names), image.keys().len())
}

#[test]
fn no_request_fails_or_goes_astray_while_maps_grow_twice_under_it() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    // TCP of pods at the socket and UDP of pods at the device; then all of it at the device.
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let service = web(&["near"]);
        let world = World::serving(socket_lb, &service);
        let before = refusals(&world);
        assert_eq!(held(&world).0, 1 << 12);
        let callers = targets(&service).into_iter().flat_map(|target| {
            [Manner::Fresh, Manner::Held].map(|manner| Caller { client: world.client("client"), target, manner })
        });
        let (load, samples) = Load::start(callers.collect(), INTERVAL).unwrap();
        for batch in &BATCHES {
            manifests::put(world.manifests(), batch.name, &batch.items());
            eventually("the last port of the batch is served", || {
                outcome(&world, "client", batch.last()).is_ok_and(|answer| answer.pod == OTHERS)
            });
            assert_eq!((held(&world).0, held(&world).1), (batch.room, batch.room), "{}", batch.name);
        }
        for batch in &BATCHES {
            std::fs::remove_file(world.manifests().join(format!("{}.json", batch.name))).unwrap();
        }
        eventually("what has gone is held no more", || held(&world) == (1 << 16, 1 << 16, 4));
        load.stop();
        let samples: Vec<Sample> = samples.iter().collect();
        let astray = |sample: &&Sample| sample.outcome.as_ref().map_or(true, |answer| answer.pod != "near");
        let astray: Vec<&Sample> = samples.iter().filter(astray).collect();
        assert!(astray.is_empty(), "{} of {}, socketLb {socket_lb:?}: {astray:?}", astray.len(), samples.len());
        assert!(samples.len() > 100, "{}", samples.len());
        assert_eq!(refusals(&world), before, "socketLb {socket_lb:?}");
    }
}
