//! Nanoseconds per packet at the device entrance and per decision, by `BPF_PROG_TEST_RUN`, as the cluster grows: flat is the aim.
//!
//! The kernel times the program alone. Every iteration is a run of its own, because a run rewrites its packet and the next
//! one would miss; the few tens of nanoseconds that starting and stopping the clock takes are in the figures, `clock` shows
//! them. Flows and Services are visited in a scattered order, so that caches help as little as in life.
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sheave_abi::{
    BENCH_DECISIONS, BackendId, FLOW_CLIENT_SIDE, FLOW_ESTABLISHED, FLOW_INGRESS, FlowKeyV4, FlowValue, IPPROTO_TCP,
    NetPort, ServiceId, SetWord,
};
use sheave_bpf::bench_select::SelectBench;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_bpf::map::Map;
use sheave_bpf::maps::Maps as _;
use sheave_bpf::ops::{BackendEntry, MapOp, ServiceEntry};
use sheave_bpf::pins::Pins;
use sheave_bpf::test_run::time_each;
use sheave_core::{Backend, Family, Frontend, FrontendKind, Port, Protocol};
use sheave_lab::Sandbox;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
const BACKENDS: u32 = 10;
const FLOWS: u32 = 100_000;
const BPFFS: &str = "/sys/fs/bpf";
/// Coprime to every size: visits everything in a scattered order.
const STRIDE: u32 = 7_919;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

struct Node {
    programs: Programs,
    select: SelectBench,
    services: u32,
    next: u32,
}

impl Node {
    /// Services with backends, and established flows to them.
    fn new(services: u32) -> Self {
        let bpffs = Path::new(BPFFS);
        let loader = Loader::new(bpffs, Limits::default(), 1 << 20, SocketLb::All);
        let programs = loader.load().expect("the programs load");
        let keys_max = NonZeroU32::new(services).expect("at least one Service");
        let select = SelectBench::load(bpffs, keys_max).expect("the programs load");
        let node = Self { programs, select, services, next: 0 };
        let mut maps = KernelMaps::open(bpffs).expect("the maps are pinned");
        for n in 0..services {
            service_ops(n).iter().for_each(|op| maps.exec(op).expect("the maps have room"));
        }
        let flows = Map::open(&Pins::new(bpffs).maps().join("flows_v4")).expect("the map is pinned");
        let keys: Vec<_> = (0..FLOWS).map(|n| flow_key(n, services)).collect();
        flows.put_all(&keys, &(0..FLOWS).map(flow_value).collect::<Vec<_>>()).expect("the map has room");
        node
    }

    /// Time of `count` runs on packets made one by one.
    fn time(&mut self, count: u64, mut packet: impl FnMut(u32, u32) -> Vec<u8>) -> Duration {
        let Self { programs, services, next, .. } = self;
        let program = programs.device_fd("ingress").expect("the program is loaded");
        let packets = (0..count).map(|_| {
            *next = next.wrapping_add(STRIDE);
            packet(*next, *services)
        });
        time_each(program, packets).expect("the program runs").iter().sum()
    }

    /// Time of `count` decisions about the frontends filled in, without what is around them.
    fn time_select(&mut self, count: u64) -> Duration {
        let repeat = u32::try_from(count.div_ceil(BENCH_DECISIONS.into())).ok().and_then(NonZeroU32::new);
        let cost = self.select.cost(repeat.expect("a few million at most")).expect("the programs run");
        let ns = cost.net_ns().max(0.0) * f64::from(u32::try_from(count).expect("a few million at most"));
        Duration::from_secs_f64(ns / 1e9)
    }
}

fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a60_0000 + service)
}

fn service_ops(n: u32) -> [MapOp; 4] {
    let service = ServiceId(NonZeroU32::MIN.saturating_add(n));
    let block = n * BACKENDS.next_power_of_two();
    let cluster = SetWord { block, count: BACKENDS };
    let port = Port::new(8080).expect("a port");
    let entries: Vec<_> = (1..=BACKENDS)
        .map(|i| {
            let id = n * BACKENDS + i;
            let backend = Backend { addr: Ipv4Addr::from(0x0ac8_0000 + id).into(), port };
            let id = BackendId(NonZeroU32::MIN.saturating_add(id - 1));
            (id, BackendEntry { backend, service, serving: true, in_cluster: true, in_local: false })
        })
        .collect();
    let ids = entries.iter().map(|(id, _)| *id).collect();
    [
        MapOp::WriteBackends { family: Family::V4, entries },
        MapOp::WriteSlots { first: block, ids },
        MapOp::WriteService { service, entry: ServiceEntry { cluster, ..ServiceEntry::default() } },
        MapOp::PutFrontend { frontend: frontend(vip(n)), kind: FrontendKind::ClusterIp, service },
    ]
}

/// The client of flow `n`: an address and a port of its own.
fn client(n: u32) -> (Ipv4Addr, u16) {
    (Ipv4Addr::from(0x0a01_0000 + n % 4096), u16::try_from(1024 + n / 4096 % 60_000).expect("bounded"))
}

fn flow_key(n: u32, services: u32) -> FlowKeyV4 {
    let (src, src_port) = client(n);
    FlowKeyV4 {
        src: src.octets(),
        dst: vip(n % services).octets(),
        src_port: NetPort::from_host(src_port),
        dst_port: NetPort::from_host(80),
        protocol: IPPROTO_TCP,
        hook: FLOW_INGRESS,
        zero: [0; 2],
    }
}

/// To a backend; seen in the future, hence never idle.
fn flow_value(n: u32) -> FlowValue {
    let wide = |addr: [u8; 4]| {
        let mut wide = [0; 16];
        wide[..4].copy_from_slice(&addr);
        wide
    };
    let (src, src_port) = client(n);
    FlowValue {
        seen_ns: u64::MAX >> 1,
        src: wide(src.octets()),
        dst: wide([10, 200, 0, 1]),
        src_port: NetPort::from_host(src_port),
        dst_port: NetPort::from_host(8080),
        state: FLOW_ESTABLISHED,
        role: FLOW_CLIENT_SIDE,
        ..FlowValue::default()
    }
}

/// A TCP segment without data. Nobody verifies its checksums; updating them costs the same.
fn segment((src, src_port): (Ipv4Addr, u16), dst: Ipv4Addr, flags: u8) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    frame.extend(src_port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

fn device_entrance(criterion: &mut Criterion) {
    for services in SIZES {
        // Maps of their own for each size; they are gone with the sandbox.
        let sandbox = Sandbox::with_bpffs("bench").expect("namespaces can be made");
        let mut node = sandbox.run(move || Node::new(services)).expect("the sandbox runs");
        let mut group = criterion.benchmark_group("device_entrance");
        let mut bench = |name, packet: fn(u32, u32) -> Vec<u8>| {
            let id = BenchmarkId::new(name, services);
            group.bench_function(id, |bencher| bencher.iter_custom(|count| node.time(count, packet)));
        };
        bench("clock", |_, _| arp());
        bench("pass_no_frontend", |n, _| segment(client(n), Ipv4Addr::from(0xc0a8_0000 + n % 0xffff), SYN));
        bench("flow_forward", |n, services| segment(client(n % FLOWS), vip(n % FLOWS % services), ACK));
        bench("flow_new", |n, services| {
            let fresh = (Ipv4Addr::from(0x0b00_0000 + n % 0x00ff_ffff), 40_000);
            segment(fresh, vip(n % services), SYN)
        });
    }
}

fn frontend(addr: Ipv4Addr) -> Frontend {
    Frontend { addr: addr.into(), port: Port::new(80).expect("a port"), protocol: Protocol::Tcp }
}

/// `select` alone: what of a new flow's first packet is the decision.
fn decision(criterion: &mut Criterion) {
    for services in SIZES {
        let sandbox = Sandbox::with_bpffs("bench").expect("namespaces can be made");
        let mut node = sandbox.run(move || Node::new(services)).expect("the sandbox runs");
        let mut group = criterion.benchmark_group("select");
        let misses = (0..services).map(|n| frontend(Ipv4Addr::from(0xc0a8_0000 + n))).collect();
        for (name, frontends) in [
            ("hot", vec![frontend(vip(services / 2))]),
            ("random", (0..services).map(|n| frontend(vip(n))).collect()),
            ("miss", misses),
        ] {
            // Once: it takes long, and it would drive what is measured out of the caches.
            node.select.fill(&frontends).expect("the list has room");
            let id = BenchmarkId::new(name, services);
            group.bench_function(id, |bencher| bencher.iter_custom(|count| node.time_select(count)));
        }
    }
}

/// The shortest way through the program.
fn arp() -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame
}

fn benches(criterion: &mut Criterion) {
    if sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        device_entrance(criterion);
        decision(criterion);
    }
}

criterion_group! {
    name = packet;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    targets = benches
}
criterion_main!(packet);
