//! Which endpoints may be picked: each rule by two cases that differ in its condition and in the verdict.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_core::select::{Candidates, Vantage};
use sheave_core::{
    Backend, Endpoint, EndpointSlice, Family, Hints, Port, Protocol, ServiceName, ServicePortName, SliceName,
    SlicePort, TrafficPolicy,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Endpoints as `NUMBER:CONDITIONS`, the conditions being letters of ready, serving, terminating. Then, each after a `/`, the
/// node it is on (`@a`), hints for nodes (`n=a,b`) and for zones (`z=x,y`).
fn endpoints(text: &str) -> Vec<Endpoint> {
    text.split_whitespace().map(endpoint).collect()
}

fn endpoint(word: &str) -> Endpoint {
    let mut parts = word.split('/');
    let (number, conditions) = parts.next().unwrap().split_once(':').unwrap();
    let has = |letter| conditions.contains(letter);
    let mut endpoint = Endpoint {
        ready: has('r'),
        serving: has('s'),
        terminating: has('t'),
        ..Endpoint::ready(addr(number.parse().unwrap()))
    };
    let mut hints = Hints::default();
    for part in parts {
        let list = || part[2..].split(',').map(Into::into).collect();
        match &part[..1] {
            "@" => endpoint.node = Some(part[1..].into()),
            "n" => hints.nodes = list(),
            _ => hints.zones = list(),
        }
    }
    endpoint.hints = (hints != Hints::default()).then(|| Arc::new(hints));
    endpoint
}

fn addr(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 244, 0, number))
}

fn slice(ports: &[(&str, Protocol, u16)], text: &str) -> EndpointSlice {
    let port = |(name, protocol, port): &(&str, Protocol, u16)| SlicePort {
        name: (*name).into(),
        protocol: *protocol,
        port: Port::new(*port).unwrap(),
    };
    EndpointSlice {
        name: SliceName::new("shop", "web-1"),
        service: ServiceName::new("shop", "web"),
        family: Family::V4,
        ports: ports.iter().map(port).collect(),
        endpoints: endpoints(text),
    }
}

fn http(text: &str) -> EndpointSlice {
    slice(&[("http", Protocol::Tcp, 80)], text)
}

/// Node `a` in zone `x`.
const HERE: Vantage<'_> = Vantage { node: "a", zone: Some("x") };

fn candidates(slices: &[EndpointSlice], family: Family) -> Candidates<'_> {
    let port =
        ServicePortName { service: ServiceName::new("shop", "web"), port: "http".into(), protocol: Protocol::Tcp };
    Candidates::of(slices, &port, family, HERE)
}

/// Backends as `NUMBER:PORT`, port 80 left out.
fn text(backend: Backend) -> String {
    let IpAddr::V4(addr) = backend.addr else { return backend.to_string() };
    match backend.port.get() {
        80 => addr.octets()[3].to_string(),
        port => format!("{}:{port}", addr.octets()[3]),
    }
}

fn texts(backends: impl IntoIterator<Item = Backend>) -> String {
    backends.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

fn picked(slices: &[EndpointSlice], policy: TrafficPolicy, vantage: Vantage<'_>) -> String {
    texts(candidates(slices, Family::V4).choose(policy, vantage).picked)
}

/// What is not picked, as `NUMBER REASON`.
fn excluded(slices: &[EndpointSlice], policy: TrafficPolicy) -> Vec<String> {
    let choice = candidates(slices, Family::V4).choose(policy, HERE);
    choice.excluded.into_iter().map(|(backend, reason)| format!("{} {reason}", text(backend))).collect()
}

/// The Cluster set, and what serves beside it.
fn check(name: &str, slices: &[EndpointSlice], pick: &str, keep: &str) {
    let chosen = |slices: &[EndpointSlice]| {
        let candidates = candidates(slices, Family::V4);
        let choice = candidates.choose(TrafficPolicy::Cluster, HERE);
        let keep = candidates.serving().filter(|backend| !choice.picked.contains(backend));
        (texts(choice.picked.iter().copied()), texts(keep))
    };
    assert_eq!(chosen(slices), (pick.to_owned(), keep.to_owned()), "case: {name}");
    let reversed: Vec<_> = slices.iter().rev().cloned().collect();
    assert_eq!(chosen(&reversed), (pick.to_owned(), keep.to_owned()), "case in another order: {name}");
}

#[test]
fn conditions_decide_who_is_picked_and_who_is_kept() {
    for (name, given, pick, keep) in [
        ("E1 the ready ones", "1:rs 2:rs", "1 2", ""),
        ("E1 draining ones only when none is ready", "1:st 2:st", "1 2", ""),
        ("E1 one ready is enough to leave the draining", "1:st 2:rs", "2", "1"),
        ("E3 ready wins whatever the others say", "1:r 2:rst 3:rt", "1 2 3", ""),
        ("E3 neither ready nor serving: never", "1: 2:t", "", ""),
        ("E3 serving but neither ready nor terminating: never picked", "1:s", "", "1"),
        ("L2 terminating but serving is kept", "1:rs 2:st", "1", "2"),
        ("L2 terminating and not serving is not", "1:rs 2:t", "1", ""),
        ("E11 nothing usable is an empty choice", "", "", ""),
    ] {
        check(name, &[http(given)], pick, keep);
    }
}

#[test]
fn the_same_address_and_port_counts_once_and_the_living_entry_wins() {
    for (name, first, second, pick, keep) in [
        ("W9 ready beats ready and terminating", "1:rs", "1:st", "1", ""),
        ("W9 not terminating beats terminating, even if it is worse", "1:", "1:st", "", ""),
        ("W9 the other way round: only the terminating entry", "", "1:st", "1", ""),
        ("W9 ready without terminating beats ready with", "1:rs 2:rs", "1:rt", "1 2", ""),
        ("of two living ones the better", "1:s", "1:rs", "1", ""),
        ("of two dying ones the better", "1:t", "1:st", "1", ""),
    ] {
        check(name, &[http(first), http(second)], pick, keep);
    }
}

#[test]
fn ports_are_matched_by_name_and_protocol_and_numbered_by_the_slice() {
    use Protocol::{Tcp, Udp};
    for (name, slices, pick) in [
        ("W6 by name", vec![slice(&[("http", Tcp, 80)], "1:rs")], "1"),
        ("W6 another name", vec![slice(&[("https", Tcp, 80)], "1:rs")], ""),
        ("W6 another protocol", vec![slice(&[("http", Udp, 80)], "1:rs")], ""),
        ("W6 the number comes from the slice", vec![slice(&[("http", Tcp, 8080)], "1:rs")], "1:8080"),
        (
            "W6 and may differ between slices",
            vec![slice(&[("http", Tcp, 80)], "1:rs"), slice(&[("http", Tcp, 81)], "1:rs 2:rs")],
            "1 1:81 2:81",
        ),
        ("W6 a slice without ports", vec![slice(&[], "1:rs")], ""),
    ] {
        check(name, &slices, pick, "");
    }
}

#[test]
fn a_slice_counts_only_for_its_family() {
    let other = EndpointSlice {
        family: Family::V6,
        endpoints: vec![Endpoint { addr: "fd00::1".parse().unwrap(), ..endpoints("1:rs").remove(0) }],
        ..http("")
    };
    let slices = [http("1:rs"), other];
    check("W4 IPv4 asked", &slices, "1", "");
    let v6 = candidates(&slices, Family::V6).choose(TrafficPolicy::Cluster, HERE).picked;
    assert_eq!(texts(v6), "[fd00::1]:80", "W4 IPv6 asked");
}

#[test]
fn the_local_set_has_what_is_on_this_node_and_falls_back_by_itself() {
    use TrafficPolicy::{Cluster, Local};
    for (name, given, cluster, local) in [
        ("E2 ready and here", "1:rs/@a 2:rs/@b", "1 2", "1"),
        ("E2 nothing here", "1:rs/@b", "1", ""),
        ("E2 W7 without a node is not here", "1:rs", "1", ""),
        ("E2 draining and here, when none here is ready", "1:st/@a 2:rs/@b", "2", "1"),
        ("E2 draining and here, but one here is ready", "1:st/@a 2:rs/@a", "2", "2"),
        ("E2 draining elsewhere is not here", "1:st/@b 2:st/@a", "1 2", "2"),
        ("E2 topology never applies", "1:rs/@a/z=y 2:rs/@b/z=x", "2", "1"),
        ("E2 not ready is not picked, here either", "1:s/@a 2:rs/@b", "2", ""),
        ("E11 nothing anywhere", "1:s/@a 2:t/@b", "", ""),
    ] {
        let got = (picked(&[http(given)], Cluster, HERE), picked(&[http(given)], Local, HERE));
        assert_eq!(got, (cluster.to_owned(), local.to_owned()), "case: {name}");
    }
}

#[test]
fn hints_narrow_the_cluster_set_only_when_every_ready_endpoint_has_one_and_one_names_this_place() {
    let (nowhere, elsewhere) = (Vantage { zone: None, ..HERE }, Vantage { zone: Some("q"), ..HERE });
    for (name, here, given, want) in [
        ("E7 zone", HERE, "1:rs/z=x 2:rs/z=y", "1"),
        ("E7 several zones", HERE, "1:rs/z=x,y 2:rs/z=y 3:rs/z=y,x", "1 3"),
        ("E7 one without a hint", HERE, "1:rs/z=x 2:rs", "1 2"),
        ("E7 none names this zone", elsewhere, "1:rs/z=x 2:rs/z=y", "1 2"),
        ("E7 the node has no zone", nowhere, "1:rs/z=x 2:rs/z=y", "1 2"),
        ("E7 only the ready count: another without a hint", HERE, "1:rs/z=x 2:s 3:rs/z=y", "1"),
        ("E7 only the ready count: the match is not ready", HERE, "1:s/z=x 2:rs/z=y", "2"),
        ("E7 a draining one without a hint disables nothing", HERE, "1:rs/z=x 2:st 3:rs/z=y", "1"),
        ("E1 E7 hints do not matter when all are draining", HERE, "1:st/z=x 2:st/z=y", "1 2"),
        ("E7 node before zone", HERE, "1:rs/n=a/z=y 2:rs/n=b/z=x", "1"),
        ("E7 a node hint is missing: zone", HERE, "1:rs/n=a/z=y 2:rs/z=x", "2"),
        ("E7 no node hint names this node: zone", HERE, "1:rs/n=c/z=y 2:rs/n=b/z=x", "2"),
        ("E7 node hints alone", HERE, "1:rs/n=a 2:rs/n=b", "1"),
        ("E7 node hints alone, none for this node", HERE, "1:rs/n=c 2:rs/n=b", "1 2"),
        ("E7 a node's name is no zone", Vantage { node: "x", zone: Some("q") }, "1:rs/z=x 2:rs/z=y", "1 2"),
        ("E7 a zone's name is no node", Vantage { node: "q", zone: Some("a") }, "1:rs/n=a 2:rs/n=b", "1 2"),
    ] {
        assert_eq!(picked(&[http(given)], TrafficPolicy::Cluster, here), want, "case: {name}");
    }
}

#[test]
fn whatever_is_not_picked_is_named_with_the_reason() {
    use TrafficPolicy::{Cluster, Local};
    let down = |number| format!("{number} not ready (E3)");
    for (policy, given, want) in [
        (Cluster, "1:rs 2: 3:t 4:s", vec![down(2), down(3), down(4)]),
        (Cluster, "1:rs 2:st", vec!["2 terminating while others are ready (E1)".into()]),
        (Cluster, "1:rs/z=x 2:rs/z=y", vec!["2 meant for other zones (E7)".into()]),
        (Cluster, "1:rs/n=a 2:rs/n=b", vec!["2 meant for other nodes (E7)".into()]),
        (Cluster, "1:st 2:st", vec![]),
        (Local, "1:rs/@a 2:rs/@b 3:st/@b", vec!["2 not local (E2)".into(), "3 not local (E2)".into()]),
        (Local, "1:rs/@a 2:st/@a", vec!["2 terminating while others on this node are ready (E2)".into()]),
        (Local, "1:s/@b 2:rs/@b", vec![down(1), "2 not local (E2)".into()]),
        (Local, "1:rs/@a/z=y", vec![]),
    ] {
        assert_eq!(excluded(&[http(given)], policy), want, "{policy} {given}");
    }
}

/// Whether an entry is here, and its hints, are the winner's (W9).
#[test]
fn of_two_entries_for_one_address_the_winner_says_where_it_is() {
    let slices = [http("1:rs/@a"), http("1:st/@b")];
    assert_eq!(picked(&slices, TrafficPolicy::Local, HERE), "1", "W9: the living one is here");
    let slices = [http("1:st/@a"), http("1:rs/@b")];
    assert_eq!(picked(&slices, TrafficPolicy::Local, HERE), "", "W9: the living one is not");
}
