//! A small run with everything in it that a report has to show: a loss, a cut-off, something that is not there, few rounds.
use jiff::Timestamp;
use sheave_bench::record::{
    Backends, ConnectOperation, ConnectRound, Dataplane, Environment, Grid, Load, LookupOperation, LookupRound,
    Percent, Phase, Point, Run, Scenario, Shape, SyncOperation, SyncRound, Work,
};
use std::time::Duration;

const SERVICES: [u32; 4] = [10, 100, 1000, 10_000];

pub(crate) fn environment() -> Environment {
    Environment {
        date: "2026-01-02T03:04:05Z".parse::<Timestamp>().expect("a date"),
        sheave: "0.1.0".into(),
        kernel: "6.18.5 #1 SMP".into(),
        arch: "x86_64".into(),
        cpu_model: "Example <CPU> & Sons".into(),
        cpus: 2,
        governor: None,
        memory_bytes: 24 << 30,
        virtualisation: Some("kvm".into()),
        tools: [("nft".to_owned(), "1.0.6".to_owned())].into(),
        sysctls: [("net.core.bpf_jit_enable".to_owned(), "1".to_owned())].into(),
        load_before: Load(0.1, 0.2, 0.3),
        load_after: Some(Load(1.5, 1.0, 0.5)),
    }
}

pub(crate) fn scenario() -> Scenario {
    Scenario {
        name: "small".into(),
        seed: 7,
        repeats: 6,
        point_limit_s: 10,
        grid: Grid {
            services: SERVICES.to_vec(),
            backends: vec![Backends::Each(10)],
            node_port_percent: vec![Percent::default()],
        },
        dataplanes: vec![Dataplane::SheaveEbpf, Dataplane::IptablesLegacy, Dataplane::Nftables],
    }
}

pub(crate) fn shape(services: u32) -> Shape {
    Shape::new(services, Backends::Each(10))
}

/// Six rounds around a wall time, the last of them slow.
fn sync(
    operation: SyncOperation,
    dataplane: Dataplane,
    services: u32,
    wall_us: u64,
    kernel_memory_bytes: u64,
) -> Point {
    let rounds = [100, 98, 103, 101, 99, 140].map(|percent| SyncRound {
        wall: Duration::from_nanos(wall_us * percent * 10),
        cpu_self: Some(Duration::from_nanos(wall_us * percent * 4)),
        cpu_children: Some(Duration::from_nanos(if dataplane.is_sheave() { 0 } else { wall_us * percent * 5 })),
        syscalls: Some(if dataplane.is_sheave() { 3 } else { 40 }),
        kernel_memory_bytes: Some(kernel_memory_bytes),
        ..SyncRound::default()
    });
    Point::sync(operation, dataplane, shape(services), &rounds)
}

fn connect(dataplane: Dataplane, services: u32, micros: u64) -> Point {
    let latencies = |round: u64| (0..120).map(|nth| Duration::from_nanos(micros * 1000 + nth * 10 + round)).collect();
    let round = |nth| ConnectRound {
        latencies: latencies(nth),
        latency_of_backend: Some(Duration::from_nanos(micros * 1000 - 100 * nth)),
        attempts: 240,
        ..ConnectRound::default()
    };
    Point::connect(ConnectOperation::LatencyRandom, dataplane, shape(services), &[0, 1, 2, 3, 4, 5].map(round))
}

pub(crate) fn run() -> Run {
    let mut run = Run::new(environment(), scenario());
    let change = SyncOperation::EndpointChanged;
    for services in SERVICES {
        let n = u64::from(services);
        run.points.push(sync(change, Dataplane::SheaveEbpf, services, 20, 87_000_000));
        run.points.push(sync(change, Dataplane::Nftables, services, 3000 + n / 10, 4_000 * n));
        run.points.push(if services < 10_000 {
            sync(change, Dataplane::IptablesLegacy, services, 4000 + 100 * n, 11_000 * n)
        } else {
            let work = Work::Sync(change);
            let limit = Duration::from_secs(10);
            let during = Phase::Operation;
            Point::cut_off(work, Dataplane::IptablesLegacy, shape(services), during, limit, "the limit for one point")
        });
        let hit = LookupRound { latency_ns: 70.5, instructions: None };
        run.points.push(Point::lookup(LookupOperation::HitRandom, Dataplane::SheaveEbpf, shape(services), &[hit; 3]));
    }
    for (dataplane, micros) in [(Dataplane::SheaveEbpf, 35), (Dataplane::Nftables, 34), (Dataplane::Direct, 30)] {
        run.points.push(connect(dataplane, 1000, micros));
    }
    let ipvs = Work::Sync(change);
    let (reason, remedy) = ("this kernel has no IP_VS", "modprobe ip_vs");
    run.points.push(Point::unavailable(ipvs, Dataplane::SheaveIpvs, shape(10), reason, remedy));
    run.points.push(Point::failed(ipvs, Dataplane::IptablesNft, shape(10), "iptables-nft-restore: line 7 | failed"));
    run
}
