//! What finds no room is named where people look: an Event, the metrics, the finding that `sheave status` shows; the others are served (I7, H9).
use crate::agent::{Agent, NODE, applied, config, empty, service, slice};
use crate::client::{DEADLINE, get};
use sheave_apistub::{Api, Server};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::{Event, Object, ObjectName, ServiceName};
use sheave_kube_source::KubeConfig;
use sheave_kube_source::events::{EventPace, recorder};
use std::net::Ipv4Addr;
use std::time::Duration;

/// What is to be written is written at once.
fn quick() -> EventPace {
    EventPace { cluster_spread: Duration::ZERO, node_spread: Duration::ZERO, ..EventPace::default() }
}

type Limited = Agent<BpfDataplane<MemoryMaps>>;

async fn agent(limits: Limits, server: &Server) -> Limited {
    let (recorder, writer) = recorder(NODE, quick());
    tokio::spawn(writer.run(KubeConfig::url(server.url()).connect().await.unwrap()));
    let dataplane = BpfDataplane::new(Image::default(), limits, MemoryMaps::new());
    let mut agent = Agent::of(&config(), dataplane, Some(recorder));
    agent.hear(empty());
    agent
}

/// The note of the Event that this is out of room.
async fn told(server: &Server, kind: &str, name: &str) -> String {
    let address = server.url().trim_start_matches("http://").parse().unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let events = get(address, "/apis/events.k8s.io/v1/events").await.json();
        let found = events["items"].as_array().unwrap().iter().find(|event| {
            event["reason"] == "CapacityExceeded"
                && event["regarding"]["kind"] == kind
                && event["regarding"]["name"] == name
        });
        if let Some(event) = found {
            return event["note"].as_str().unwrap().to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "an Event about {kind} {name}: {events}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn metric(agent: &Limited, series: &str) -> String {
    let text = get(agent.metrics, "/metrics").await.body;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} in {text}")).to_owned()
}

/// Which of the Services are served.
fn served(agent: &Limited) -> Vec<String> {
    let keys = sheave_core::Realized::keys(agent.syncer.dataplane());
    keys.iter().map(|key| key.port.service.name.to_string()).collect()
}

/// Each Service takes two frontends (ClusterIP, NodePort), an id, two blocks of four slots, two backends; then each address wants an entry
/// beside the frontends (A2), which is told at the node.
#[tokio::test]
async fn a_service_without_room_is_named_everywhere_and_served_once_another_has_gone() {
    let wide = Limits::default();
    for (limits, map, knob, max, left) in [
        (Limits { frontends_max: 4, ..wide }, "frontends_v4", "maps.frontendsMax", 4, 2),
        (Limits { services_max: 2, ..wide }, "services", "maps.servicesMax", 2, 0),
        (Limits { slots_max: 16, ..wide }, "slots", "maps.slotsMax", 16, 0),
        (Limits { backends_max: 4, ..wide }, "backends_v4", "maps.backendsMax", 4, 0),
    ] {
        let server = Server::on_loopback(&Api::new()).unwrap();
        let mut agent = agent(limits, &server).await;
        let mut events = Vec::new();
        for (name, vip) in [("first", 1), ("second", 2), ("third", 3)] {
            events.extend([applied(service(name, vip, 0)), Event::Applied(Object::EndpointSlice(slice(name, 1, 1)))]);
        }
        agent.hear(events);
        assert_eq!(served(&agent), ["first", "second"], "{map}");
        let want = format!(
            "map {map} is full (at most {max}); raise `{knob}` and start the agent again; shop/third:http/TCP/IPv4"
        );
        let note = told(&server, "Service", "third").await;
        assert!(note.starts_with(&want), "{map}: {note}");
        assert_ne!(metric(&agent, "sheave_diagnostics{kind=\"capacity\"}").await, "0", "{map}");
        assert_eq!(metric(&agent, &format!("sheave_map_entries_max{{map=\"{map}\"}}")).await, max.to_string());
        let behind: Vec<_> = agent.syncer.behind().map(ToString::to_string).collect();
        assert_eq!(behind, ["shop/third"], "{map}");

        agent.hear(vec![Event::Deleted(ObjectName::Service(ServiceName::new("shop", "first")))]);
        assert_eq!(served(&agent), ["second", "third"], "{map}: without a restart");
        assert_eq!(metric(&agent, "sheave_diagnostics{kind=\"capacity\"}").await, left.to_string(), "{map}");
        if left > 0 {
            let note = told(&server, "Node", NODE).await;
            assert!(note.contains("ports that 10.96.0.1 does not have are not rejected until then"), "{note}");
        }
        assert_eq!(agent.syncer.behind().len(), 0, "{map}");
    }
}

/// Addresses of the node: all of them stay as they were, and Services are served.
#[tokio::test]
async fn a_node_with_more_addresses_than_there_is_room_for_is_told_at_its_node() {
    let server = Server::on_loopback(&Api::new()).unwrap();
    let mut agent = agent(Limits::default(), &server).await;
    let addresses = |count: u32| (0..count).map(|n| Ipv4Addr::from_bits(0x0a00_0001 + n).into()).collect();
    agent.hear(vec![Event::LocalAddresses(addresses(16_385)), applied(service("web", 1, 0))]);
    let note = told(&server, "Node", NODE).await;
    let want = "map node_addrs_v4 is full (at most 16384); that many is all it takes: have fewer addresses on the node; the node keeps";
    assert!(note.starts_with(want), "{note}");
    assert_eq!(metric(&agent, "sheave_diagnostics{kind=\"capacity\"}").await, "1");
    assert_eq!(served(&agent), ["web"]);
    agent.hear(vec![Event::LocalAddresses(addresses(3))]);
    assert_eq!(metric(&agent, "sheave_diagnostics{kind=\"capacity\"}").await, "0");
    assert_eq!(metric(&agent, "sheave_map_entries{map=\"node_addrs_v4\"}").await, "4", "and loopback (A6)");
}
