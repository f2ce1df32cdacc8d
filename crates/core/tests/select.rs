//! Which endpoints may be picked: each rule by two cases that differ in its condition and in the verdict.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_core::select::{Selected, select};
use sheave_core::{
    Backend, Endpoint, EndpointSlice, Family, Port, Protocol, ServiceName, ServicePortName, SliceName, SlicePort,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Endpoints as `NUMBER:CONDITIONS`, the conditions being letters of ready, serving, terminating.
fn endpoints(text: &str) -> Vec<Endpoint> {
    let endpoint = |word: &str| {
        let (number, conditions) = word.split_once(':').unwrap();
        let has = |letter| conditions.contains(letter);
        Endpoint {
            addr: addr(number.parse().unwrap()),
            ready: has('r'),
            serving: has('s'),
            terminating: has('t'),
            node: None,
        }
    };
    text.split_whitespace().map(endpoint).collect()
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

fn selected(slices: &[EndpointSlice]) -> Selected {
    let port =
        ServicePortName { service: ServiceName::new("shop", "web"), port: "http".into(), protocol: Protocol::Tcp };
    select(slices, &port, Family::V4)
}

/// Backends as `NUMBER:PORT`, port 80 left out.
fn text(backends: &BTreeSet<Backend>) -> String {
    let name = |backend: &Backend| {
        let IpAddr::V4(addr) = backend.addr else { panic!("{backend} is not IPv4") };
        match backend.port.get() {
            80 => addr.octets()[3].to_string(),
            port => format!("{}:{port}", addr.octets()[3]),
        }
    };
    backends.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn check(name: &str, slices: &[EndpointSlice], pick: &str, keep: &str) {
    let selected = selected(slices);
    assert_eq!((text(&selected.pick).as_str(), text(&selected.keep).as_str()), (pick, keep), "case: {name}");
    let reversed: Vec<_> = slices.iter().rev().cloned().collect();
    let port =
        ServicePortName { service: ServiceName::new("shop", "web"), port: "http".into(), protocol: Protocol::Tcp };
    assert_eq!(select(&reversed, &port, Family::V4), selected, "case in another order: {name}");
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
    check("W4 IPv4 asked", &[http("1:rs"), other.clone()], "1", "");
    let port =
        ServicePortName { service: ServiceName::new("shop", "web"), port: "http".into(), protocol: Protocol::Tcp };
    let v6 = select(&[http("1:rs"), other], &port, Family::V6);
    assert_eq!(v6.pick.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[fd00::1]:80"], "W4 IPv6 asked");
}
