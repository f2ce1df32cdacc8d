//! The programs that measure `select`: they decide as the entrances do, count their own decisions, and leave no other trace.
use crate::frame::{Frame, SYN};
use crate::rig::{BPFFS, NETS, Net, Rig, frontend, service_id, with_rig};
use sheave_abi::{
    BACKENDS_CHUNK, BENCH_DECISIONS, BENCH_DRAWN, BENCH_FORWARD, BENCH_NO_FRONTEND, BENCH_REJECT, BackendId, BackendV4,
    BackendV6, BenchDecision, FrontendKeyV4, FrontendKeyV6, FrontendValue, SERVICES_CHUNK, SLOTS_CHUNK, ServiceValue,
};
use sheave_bpf::bench_select::{BenchError, Outcomes, SelectBench, Work};
use sheave_bpf::chunks::Chunks;
use sheave_bpf::growing::Growing;
use sheave_bpf::ops::MapOp;
use sheave_bpf::pins::Pins;
use sheave_core::{Frontend, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const REPEAT: NonZeroU32 = NonZeroU32::new(50).unwrap();
const DECISIONS: u64 = 50 * BENCH_DECISIONS as u64;

fn bench(keys_max: u32) -> SelectBench {
    let keys_max = NonZeroU32::new(keys_max).unwrap();
    SelectBench::load(Path::new(BPFFS), keys_max).unwrap_or_else(|error| panic!("{error:#?}"))
}

/// What was dialled, as a test writes it.
fn dialled(net: Net, decision: &BenchDecision) -> (SocketAddr, u8) {
    (SocketAddr::new(addr(net, decision.key.addr), decision.key.port.to_host()), decision.key.protocol)
}

fn addr(net: Net, wide: [u8; 16]) -> IpAddr {
    if net.vip(1, 1).is_ipv4() { <[u8; 4]>::try_from(&wide[..4]).unwrap().into() } else { wide.into() }
}

/// Two Services, one without endpoints, and an address of which every port is claimed.
struct World {
    sets: BTreeMap<SocketAddr, BTreeSet<(u32, SocketAddr)>>,
    empty: Frontend,
    other_port: Frontend,
    nobody: Frontend,
}

impl World {
    fn new(rig: &mut Rig, net: Net) -> Self {
        let mut sets = BTreeMap::new();
        for (n, count) in [(1, 3), (2, 7)] {
            let vip = net.vip(n, 80);
            let backends: Vec<_> = (0..count).map(|host| net.backend(n * 100 + host, 8080)).collect();
            let ids = rig.service(u32::from(n), vip, Protocol::Tcp, &backends);
            sets.insert(vip, ids.iter().map(|BackendId(id)| id.get()).zip(backends).collect());
        }
        rig.service(3, net.vip(3, 80), Protocol::Tcp, &[]);
        rig.exec(&MapOp::PutVip { addr: net.vip(1, 80).ip() });
        Self {
            sets,
            empty: frontend(net.vip(3, 80), Protocol::Tcp),
            other_port: frontend(net.vip(1, 81), Protocol::Tcp),
            nobody: frontend(net.vip(9, 80), Protocol::Tcp),
        }
    }

    fn served(&self) -> Vec<Frontend> {
        self.sets.keys().map(|vip| frontend(*vip, Protocol::Tcp)).collect()
    }
}

type Entries<K, V> = Vec<(K, V)>;
/// Everything the programs read.
type Served = (
    (Entries<FrontendKeyV4, FrontendValue>, Entries<FrontendKeyV6, FrontendValue>),
    (Entries<u32, ServiceValue>, Entries<u32, u32>),
    (Entries<u32, BackendV4>, Entries<u32, BackendV6>),
);

fn served() -> Served {
    fn chunked<V: FromBytes + IntoBytes + Immutable>(map: &str, len: u32) -> Entries<u32, V> {
        Chunks::open(&pin(map), len).unwrap().entries().unwrap()
    }
    (
        (
            Growing::open(&pin("frontends_v4")).unwrap().table().entries().unwrap(),
            Growing::open(&pin("frontends_v6")).unwrap().table().entries().unwrap(),
        ),
        (chunked("services", SERVICES_CHUNK), chunked("slots", SLOTS_CHUNK)),
        (chunked("backends_v4", BACKENDS_CHUNK), chunked("backends_v6", BACKENDS_CHUNK)),
    )
}

fn pin(map: &str) -> PathBuf {
    Pins::new(Path::new(BPFFS)).maps().join(map)
}

#[test]
fn every_decision_of_the_measuring_program_is_counted_by_its_outcome() {
    for net in NETS {
        with_rig("bench-count", move |rig| {
            let world = World::new(rig, net);
            let mut bench = bench(8);
            let hits = Outcomes { forward: DECISIONS, ..Outcomes::default() };
            let rejects = Outcomes { reject: DECISIONS, ..Outcomes::default() };
            let misses = Outcomes { no_frontend: DECISIONS, ..Outcomes::default() };
            let drawn = Outcomes { drawn: DECISIONS, ..Outcomes::default() };
            for (case, keys, work, want, outcome) in [
                ("random hits", world.served(), Work::Decide, hits, BENCH_FORWARD),
                ("a hot hit", world.served()[..1].to_vec(), Work::Decide, hits, BENCH_FORWARD),
                ("no endpoint (E11)", vec![world.empty], Work::Decide, rejects, BENCH_REJECT),
                ("no such port (A2)", vec![world.other_port], Work::Decide, rejects, BENCH_REJECT),
                ("misses", vec![world.nobody], Work::Decide, misses, BENCH_NO_FRONTEND),
                ("nothing decided", world.served(), Work::Draw, drawn, BENCH_DRAWN),
            ] {
                bench.fill(&keys).unwrap();
                let ran = bench.run(work, REPEAT).unwrap();
                assert_eq!(ran.outcomes, want, "case: {case}");
                assert!(ran.last.iter().all(|decision| decision.outcome == outcome), "case: {case}: {:?}", ran.last);
                assert!(ran.ns_per_decision > 0.0, "case: {case}");
            }
        });
    }
}

#[test]
fn hits_and_misses_of_one_list_are_told_apart() {
    for net in NETS {
        with_rig("bench-mixed", move |rig| {
            let world = World::new(rig, net);
            let mut bench = bench(8);
            bench.fill(&[world.served(), vec![world.empty, world.nobody]].concat()).unwrap();
            let ran = bench.run(Work::Decide, REPEAT).unwrap();
            let Outcomes { forward, reject, no_frontend, raced, drawn } = ran.outcomes;
            assert_eq!((forward + reject + no_frontend, raced, drawn), (DECISIONS, 0, 0));
            // Half and a quarter each of 3,200 draws; ten standard deviations are 283 and 245.
            for (name, count, expected) in
                [("hits", forward, 1600_u64), ("refusals", reject, 800), ("misses", no_frontend, 800)]
            {
                assert!(count.abs_diff(expected) < 300, "{name}: {count}");
            }
        });
    }
}

#[test]
fn the_measuring_program_picks_every_backend_of_the_set_and_no_other() {
    for net in NETS {
        with_rig("bench-pick", move |rig| {
            let world = World::new(rig, net);
            let mut bench = bench(8);
            bench.fill(&world.served()).unwrap();
            let mut picked: BTreeMap<SocketAddr, BTreeSet<(u32, SocketAddr)>> = BTreeMap::new();
            // 64 decisions each; a backend of seven is missed by 20 runs less than once in 10^38.
            for _ in 0..20 {
                let ran = bench.run(Work::Decide, NonZeroU32::MIN).unwrap();
                assert_eq!(ran.last.len(), BENCH_DECISIONS as usize);
                for decision in &ran.last {
                    let (vip, protocol) = dialled(net, decision);
                    assert_eq!(protocol, sheave_abi::IPPROTO_TCP);
                    let backend = SocketAddr::new(addr(net, decision.addr), decision.port.to_host());
                    picked.entry(vip).or_default().insert((decision.backend, backend));
                }
            }
            assert_eq!(picked, world.sets);
        });
    }
}

#[test]
fn measuring_changes_no_counter_no_flow_and_nothing_that_is_served() {
    for net in NETS {
        with_rig("bench-trace", move |rig| {
            let world = World::new(rig, net);
            rig.ingress(&Frame::tcp(net.client(40_000), net.vip(1, 80), SYN), &["flow_new"]);
            let (served, flows) = (served(), rig.flows());
            assert_eq!(flows.len(), 2);
            let mut bench = bench(8);
            bench.fill(&[world.served(), vec![world.empty, world.nobody]].concat()).unwrap();
            bench.cost(REPEAT).unwrap();
            rig.assert_no_counter_moved();
            assert_eq!(rig.flows(), flows);
            assert!(self::served() == served);
        });
    }
}

#[test]
fn a_set_that_changes_is_seen_by_the_next_run() {
    for net in NETS {
        with_rig("bench-change", move |rig| {
            let vip = net.vip(1, 80);
            rig.service(1, vip, Protocol::Tcp, &[net.backend(1, 8080)]);
            let mut bench = bench(1);
            bench.fill(&[frontend(vip, Protocol::Tcp)]).unwrap();
            bench.run(Work::Decide, NonZeroU32::MIN).unwrap();
            rig.write_set(service_id(1), &[net.backend(2, 8081)]);
            let ran = bench.run(Work::Decide, NonZeroU32::MIN).unwrap();
            let seen: BTreeSet<_> =
                ran.last.iter().map(|chosen| SocketAddr::new(addr(net, chosen.addr), chosen.port.to_host())).collect();
            assert_eq!(seen, BTreeSet::from([net.backend(2, 8081)]));
        });
    }
}

#[test]
fn a_list_that_cannot_be_measured_is_refused_and_the_one_before_stays() {
    with_rig("bench-refused", move |rig| {
        let [v4, v6] = NETS;
        let world = World::new(rig, v4);
        let mut bench = bench(2);
        let early = bench.run(Work::Decide, NonZeroU32::MIN).unwrap_err();
        assert!(matches!(early, BenchError::NoKeys), "{early}");
        bench.fill(&world.served()).unwrap();
        let six = frontend(v6.vip(1, 80), Protocol::Tcp);
        for (keys, want) in [
            (vec![], "no frontend to decide about: fill in at least one"),
            (vec![world.empty; 3], "3 frontends for a list that was loaded with room for 2; load it with more room"),
            (
                vec![world.empty, six],
                "frontends of both families in one list, first 10.96.0.3, then fd00:96::1; fill in one family after the other",
            ),
        ] {
            assert_eq!(bench.fill(&keys).unwrap_err().to_string(), want);
            assert_eq!(bench.run(Work::Decide, NonZeroU32::MIN).unwrap().outcomes.forward, u64::from(BENCH_DECISIONS));
        }
    });
}

#[test]
fn measuring_makes_no_map_where_none_is_pinned() {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    let sandbox = sheave_lab::Sandbox::with_bpffs("bench-none").unwrap();
    let (error, made) = sandbox
        .run(|| {
            let error = SelectBench::load(Path::new(BPFFS), NonZeroU32::MIN).unwrap_err();
            (error.to_string(), Pins::new(Path::new(BPFFS)).root().exists())
        })
        .unwrap();
    assert!(error.starts_with("cannot open or create map frontends_v4"), "{error}");
    assert!(!made);
}
