//! The servers themselves: peers that misbehave, addresses that are taken.
use crate::agent::{Agent, config, free_address};
use crate::client::{DEADLINE, get, get_until, try_get};
use sheave_agent::config::Config;
use sheave_agent::monitor::Monitor;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// More than either server takes at a time.
const MANY: usize = 100;

/// Slowloris: a request a byte at a time, on as many connections as there are.
#[tokio::test]
async fn peers_that_never_finish_their_request_keep_no_probe_out() {
    let agent = Agent::synced();
    let mut slow = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(agent.healthz).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(get(agent.healthz, "/healthz").await.code, 200);
    // Those that came first made room.
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, slow[0].read_to_end(&mut rest)).await.expect("closed");
    assert!(ended.is_err() || rest.is_empty(), "without an answer");
}

/// The same who read no answer.
#[tokio::test]
async fn peers_that_read_nothing_keep_no_scrape_out() {
    let agent = Agent::synced();
    let mut deaf = Vec::new();
    for _ in 0..MANY {
        let mut stream = TcpStream::connect(agent.metrics).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50);
        stream.write_all(&request).await.unwrap();
        deaf.push(stream);
    }
    assert_eq!(get(agent.metrics, "/metrics").await.code, 200);
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let agent = Agent::synced();
    let mut stream = TcpStream::connect(agent.metrics).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
    // The server closes while this is written.
    let _unfinished = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(get(agent.metrics, "/healthz").await.code, 200);
}

fn start(config: &Config) -> Result<Monitor, String> {
    Monitor::start(config, Arc::new(Vec::new), None).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_address_that_is_taken_is_tried_again_or_ends_the_start() {
    let mut config = config();
    let taken = std::net::TcpListener::bind(free_address()).unwrap();
    let address = taken.local_addr().unwrap();
    config.kube_proxy.healthz_bind = Some(address);
    config.kube_proxy.bind_hard_fail = true;
    let error = start(&config).err().unwrap();
    for part in [&*address.to_string(), "healthzBindAddress", "bindAddressHardFail"] {
        assert!(error.contains(part), "{error}");
    }
    config.kube_proxy.bind_hard_fail = false;
    let _monitor = start(&config).unwrap();
    assert_eq!(get(config.kube_proxy.metrics_bind.unwrap(), "/healthz").await.code, 200, "the other one is served");
    drop(taken);
    get_until(address, "/healthz", |answer| answer.is_some_and(|answer| answer.code == 200)).await;
}

/// As Go does, which kube-proxy's probes count on where nodes have IPv6 alone.
#[tokio::test]
async fn an_unspecified_address_takes_connections_of_both_families() {
    let mut config = config();
    let port = free_address().port();
    config.kube_proxy.healthz_bind = Some(SocketAddr::from(([0, 0, 0, 0], port)));
    let _monitor = start(&config).unwrap();
    assert_eq!(get(SocketAddr::from(([127, 0, 0, 1], port)), "/livez").await.code, 200);
    assert_eq!(get(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), "/livez").await.code, 200);
}

#[tokio::test]
async fn a_server_without_an_address_is_off_and_all_of_them_end_with_the_agent() {
    let mut config = config();
    let metrics = config.kube_proxy.metrics_bind.unwrap();
    config.kube_proxy.healthz_bind = None;
    let monitor = start(&config).unwrap();
    assert_eq!(get(metrics, "/healthz").await.code, 200);
    drop(monitor);
    get_until(metrics, "/healthz", |answer| answer.is_none()).await;
    assert!(try_get(metrics, "/metrics").await.is_none());
}
