//! Servers of healthCheckNodePorts (H3).
use crate::agent::{Agent, NODE, applied, config, empty, free_address, service, slice};
use crate::client::{DEADLINE, get, get_until, try_get};
use sheave_apistub::{Api, Server};
use sheave_core::{Event, Leaving, Node, Object, ObjectName, ServiceName};
use sheave_dataplane::Fake;
use sheave_kube_source::KubeConfig;
use sheave_kube_source::events::{EventPace, recorder};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

fn endpoints(service: &str, here: u8) -> Event {
    Event::Applied(Object::EndpointSlice(slice(service, here, 2)))
}

/// H3
#[tokio::test]
async fn a_load_balancer_learns_how_many_endpoints_are_here() {
    let mut agent = Agent::synced();
    let address = free_address();
    agent.hear(vec![applied(service("web", 1, address.port()))]);
    for (here, code) in [(0, 503), (1, 200), (3, 200), (0, 503)] {
        agent.hear(vec![endpoints("web", here)]);
        let answer = get(address, "/").await;
        assert_eq!(answer.code, code, "{here} here");
        assert_eq!(answer.header("x-load-balancing-endpoint-weight"), Some(&*here.to_string()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let want = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": N,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(answer.body, want.replace('N', &here.to_string()));
    }
    // That the node goes is the business of /healthz (KEP-3836).
    agent.hear(vec![endpoints("web", 1)]);
    let node = Node { leaving: Some(Leaving::ScaledDown), ..crate::agent::node() };
    agent.hear(vec![Event::Applied(Object::Node(node))]);
    assert_eq!((get(address, "/healthz").await.code, get(agent.healthz, "/healthz").await.code), (200, 503));
}

/// H3
#[tokio::test]
async fn a_node_whose_proxy_is_unhealthy_is_not_to_be_used() {
    let mut config = config();
    config.kube_proxy.sync_period = Duration::ZERO;
    let mut agent = Agent::of(&config, Fake::default(), None);
    let address = free_address();
    agent.hear(empty());
    agent.hear(vec![applied(service("web", 1, address.port())), endpoints("web", 1)]);
    assert_eq!(get(address, "/").await.code, 200);
    // With a period of 0 a change that is not in the kernel yet is late at once.
    agent.observe(vec![endpoints("web", 2)]);
    let answer = get(address, "/").await;
    assert_eq!((answer.code, answer.json()["serviceProxyHealthy"].as_bool()), (503, Some(false)));
    assert_eq!(answer.json()["localEndpoints"], 1);
}

/// H3
#[tokio::test]
async fn servers_follow_their_services() {
    let mut agent = Agent::synced();
    let (first, second) = (free_address(), free_address());
    agent.hear(vec![applied(service("web", 1, first.port())), endpoints("web", 1)]);
    assert_eq!(get(first, "/").await.code, 200);
    agent.hear(vec![applied(service("web", 1, second.port()))]);
    assert_eq!(get(second, "/").await.code, 200, "a port that changes keeps the count");
    get_until(first, "/", |answer| answer.is_none()).await;
    // One gives its port to another in the same turn.
    agent.hear(vec![
        Event::Deleted(ObjectName::Service(ServiceName::new("shop", "web"))),
        applied(service("api", 2, second.port())),
    ]);
    get_until(second, "/", |answer| answer.is_some_and(|answer| answer.body.contains("\"api\""))).await;
    agent.hear(vec![Event::Deleted(ObjectName::Service(ServiceName::new("shop", "api")))]);
    get_until(second, "/", |answer| answer.is_none()).await;
}

/// H3, H9
#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again() {
    let api = Api::new();
    let server = Server::on_loopback(&api).unwrap();
    let (recorder, writer) = recorder(NODE, EventPace { node_spread: Duration::ZERO, ..EventPace::default() });
    tokio::spawn(writer.run(KubeConfig::url(server.url()).connect().await.unwrap()));
    let mut agent = Agent::of(&config(), Fake::default(), Some(recorder));
    agent.hear(empty());
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, free) = (taken.local_addr().unwrap(), free_address());
    let services = [("web", 1, address), ("api", 2, free)];
    agent.hear(services.map(|(name, vip, at)| applied(service(name, vip, at.port()))).to_vec());
    agent.hear(vec![endpoints("web", 1), endpoints("api", 1)]);
    assert_eq!(get(free, "/").await.code, 200, "the others are served");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while api.count("Event") < 2 {
        assert!(tokio::time::Instant::now() < deadline, "Starting and the failure");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    agent.checks_tried_again().await;
    let metrics = get(agent.metrics, "/metrics").await.body;
    assert!(metrics.contains("\nsheave_health_check_servers 2\n"), "{metrics}");
    assert!(metrics.contains("\nsheave_health_check_servers_failing 1\n"), "{metrics}");
    drop(taken);
    while try_get(address, "/").await.is_none() {
        agent.checks_tried_again().await;
    }
    assert_eq!(get(address, "/").await.code, 200);
    let events = get(server_address(&server), "/apis/events.k8s.io/v1/namespaces/shop/events").await.json();
    let [event] = &events["items"].as_array().unwrap()[..] else { panic!("one Event: {events}") };
    assert_eq!(
        (event["reason"].as_str(), event["type"].as_str()),
        (Some("FailedToStartServiceHealthcheck"), Some("Warning"))
    );
    assert_eq!(event["regarding"]["name"], "web");
}

fn server_address(server: &Server) -> SocketAddr {
    server.url().trim_start_matches("http://").parse().unwrap()
}

/// H3, A5
#[tokio::test]
async fn servers_listen_where_node_ports_are_accepted_and_follow_the_nodes_addresses() {
    let mut config = config();
    let cidrs = ["127.0.0.2/32", "2001:db8::/128"].map(|cidr| cidr.parse().unwrap()).to_vec();
    config.kube_proxy.node_port_addresses = sheave_core::NodePortAddresses::Cidrs(cidrs);
    let mut agent = Agent::of(&config, Fake::default(), None);
    agent.hear(empty());
    let port = free_address().port();
    let second = SocketAddr::from(([127, 0, 0, 2], port));
    agent.hear(vec![applied(service("web", 1, port)), endpoints("web", 1)]);
    assert!(try_get(second, "/").await.is_none(), "the node does not have it yet");
    agent.hear(vec![Event::LocalAddresses([second.ip()].into())]);
    assert_eq!(get(second, "/").await.code, 200);
    assert!(try_get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await.is_none(), "not accepted");
    agent.hear(vec![Event::LocalAddresses([].into())]);
    get_until(second, "/", |answer| answer.is_none()).await;
}
