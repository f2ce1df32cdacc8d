//! A load says of each request what became of it, and ends when it is told to.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_lab::Cluster;
use sheave_lab::probe::{Caller, Client, Failure, Load, Manner, Phase, Sample, Server, Target};
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const NEEDS: &str = "making network namespaces needs root";
const TIMEOUT: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(5);
const CALLERS: usize = 4;

/// A node with a client's and a server's pod.
fn cluster() -> Cluster {
    let addr = |text: &str| -> IpAddr { text.parse().unwrap() };
    let mut cluster = Cluster::builder("load")
        .node("node-a", [addr("172.30.0.1")], ["10.180.0.0/24".parse().unwrap()])
        .build()
        .unwrap();
    cluster.add_pod("node-a", "client", &[addr("10.180.0.1")]).unwrap();
    cluster.add_pod("node-a", "server", &[addr("10.180.0.2")]).unwrap();
    cluster
}

fn serve(cluster: &Cluster) -> Server {
    let pod = cluster.pod("server").unwrap();
    let addr = SocketAddr::new(pod.addrs()[0], 8080);
    Server::start(pod.sandbox(), pod.name(), &[Target::tcp(addr), Target::udp(addr)]).unwrap()
}

/// Half of the callers over TCP, half over UDP.
fn callers(cluster: &Cluster, server: &Server, manner: Manner) -> Vec<Caller> {
    let client = Client::new(cluster.pod("client").unwrap().sandbox(), TIMEOUT);
    let targets = server.targets().iter().cycle().take(CALLERS);
    targets.map(|&target| Caller { client: client.clone(), target, manner }).collect()
}

/// Samples until each caller has some that fit.
fn until_each_caller(samples: &Receiver<Sample>, count: usize, fits: impl Fn(&Sample) -> bool) {
    let mut seen = [0; CALLERS];
    while seen.iter().any(|&seen| seen < count) {
        let sample = samples.recv_timeout(TIMEOUT).unwrap();
        seen[sample.caller] += usize::from(fits(&sample));
    }
}

#[test]
fn fresh_callers_go_on_through_an_outage_and_stop_when_told() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    let server = serve(&cluster);
    let (load, samples) = Load::start(callers(&cluster, &server, Manner::Fresh), INTERVAL).unwrap();
    until_each_caller(&samples, 5, |sample| sample.outcome.is_ok());
    server.stop();
    let down = Instant::now();
    until_each_caller(&samples, 2, |sample| {
        sample.started > down && matches!(sample.outcome, Err(Failure::Refused(_)))
    });
    let _server = serve(&cluster);
    let up = Instant::now();
    until_each_caller(&samples, 5, |sample| sample.started > up && sample.outcome.is_ok());
    load.stop();
    let stopped = Instant::now();
    let late = samples.iter().filter(|sample| sample.started > stopped).count();
    assert!(late <= CALLERS, "{late} requests began after the load was stopped");
}

#[test]
fn held_callers_keep_one_connection_and_end_with_it() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    let server = serve(&cluster);
    let (_load, samples) = Load::start(callers(&cluster, &server, Manner::Held), INTERVAL).unwrap();
    let mut peers = [None; CALLERS];
    for sample in samples.iter().take(10 * CALLERS) {
        let answer = sample.outcome.unwrap();
        assert_eq!(*peers[sample.caller].get_or_insert(answer.peer), answer.peer, "one connection");
    }
    server.stop();
    let failures: Vec<Sample> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert_eq!(failures.len(), CALLERS, "each caller fails once: {failures:?}");
    for failure in failures {
        let fits = matches!(failure.outcome, Err(Failure::Reset(Phase::Exchange) | Failure::Refused(Phase::Exchange)));
        assert!(fits, "{failure:?}");
    }
}

#[test]
fn a_load_whose_reader_goes_away_ends_by_itself() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let cluster = cluster();
    let server = serve(&cluster);
    let (load, samples) = Load::start(callers(&cluster, &server, Manner::Fresh), INTERVAL).unwrap();
    drop(samples);
    drop(load);
    drop(server);
    let cgroup = cluster.node("node-a").unwrap().sandbox().cgroup().unwrap().path().to_owned();
    drop(cluster);
    assert!(!cgroup.exists(), "a caller's thread is still in {}", cgroup.display());
}
