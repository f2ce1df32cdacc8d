//! What should be served: addresses (A1, A2, A13), conflicts (X1, I8) and what an update touches.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use sheave_core::{
    Desired, Event, Frontend, Index, Object, ObjectName, Port, Protocol, Service, ServiceName, ServicePort,
};
use std::net::IpAddr;

fn service(name: &str, created_unix_s: i64, addrs: &[&str], ports: &[(&str, Protocol, u16)]) -> Service {
    let port = |(name, protocol, port): &(&str, Protocol, u16)| ServicePort {
        name: (*name).into(),
        protocol: *protocol,
        port: Port::new(*port).unwrap(),
        node_port: None,
    };
    Service {
        created_unix_s,
        cluster_ips: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        ports: ports.iter().map(port).collect(),
        origin: Some(format!("{name}.yaml:1").into()),
        ..Service::new(ServiceName::new("shop", name))
    }
}

/// Index and desired state, fed one event at a time.
struct Fed {
    index: Index,
    desired: Desired,
}

impl Fed {
    fn with(services: &[Service]) -> Self {
        let mut fed = Self { index: Index::new("node-a"), desired: Desired::default() };
        services.iter().for_each(|service| drop(fed.put(service.clone())));
        fed
    }

    /// Returns the touched keys and addresses.
    fn put(&mut self, service: Service) -> (Vec<String>, Vec<String>) {
        self.feed(Event::Applied(Object::Service(service)))
    }

    fn delete(&mut self, name: &str) -> (Vec<String>, Vec<String>) {
        self.feed(Event::Deleted(ObjectName::Service(ServiceName::new("shop", name))))
    }

    fn feed(&mut self, event: Event) -> (Vec<String>, Vec<String>) {
        self.index.apply(event);
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        (touched.keys.iter().map(ToString::to_string).collect(), touched.vips.iter().map(ToString::to_string).collect())
    }

    fn holder(&self, addr: &str, port: u16, protocol: Protocol) -> Option<String> {
        let frontend = Frontend { addr: addr.parse().unwrap(), port: Port::new(port).unwrap(), protocol };
        let key = self.desired.holder(&frontend)?;
        assert!(
            self.desired.serving(key).unwrap().frontends.contains(&frontend),
            "{key} holds {frontend} and serves it"
        );
        Some(key.to_string())
    }

    fn diagnostics(&self) -> Vec<String> {
        self.desired
            .diagnostics()
            .iter()
            .map(|d| format!("{} {}: {}", d.problem.as_str(), d.object, d.message))
            .collect()
    }
}

const HTTP: (&str, Protocol, u16) = ("http", Protocol::Tcp, 80);

#[test]
fn each_cluster_ip_is_served_on_each_port_of_its_family() {
    let ports = [HTTP, ("dns", Protocol::Udp, 53), ("dns", Protocol::Tcp, 53)];
    let fed = Fed::with(&[service("web", 0, &["10.96.0.1", "fd00::1"], &ports)]);
    for (addr, port, protocol, want) in [
        ("10.96.0.1", 80, Protocol::Tcp, Some("shop/web:http/TCP/IPv4")),
        ("fd00::1", 80, Protocol::Tcp, Some("shop/web:http/TCP/IPv6")),
        ("10.96.0.1", 53, Protocol::Udp, Some("shop/web:dns/UDP/IPv4")),
        ("10.96.0.1", 53, Protocol::Tcp, Some("shop/web:dns/TCP/IPv4")),
        ("10.96.0.1", 80, Protocol::Udp, None),
        ("10.96.0.2", 80, Protocol::Tcp, None),
    ] {
        assert_eq!(fed.holder(addr, port, protocol).as_deref(), want, "A1, A13, A14: {addr} {port} {protocol}");
    }
}

#[test]
fn an_address_is_ours_while_a_service_has_it() {
    let mut fed = Fed::with(&[service("web", 0, &["10.96.0.1"], &[HTTP])]);
    let addr: IpAddr = "10.96.0.1".parse().unwrap();
    assert!(fed.desired.owns(addr), "A2");
    let (_, vips) = fed.put(service("api", 0, &["10.96.0.1"], &[("api", Protocol::Tcp, 81)]));
    assert_eq!(vips, Vec::<String>::new(), "it was ours before");
    fed.delete("web");
    assert!(fed.desired.owns(addr), "A2: the other one still has it");
    assert_eq!(fed.delete("api").1, ["10.96.0.1"]);
    assert!(!fed.desired.owns(addr), "A2: no active ClusterIP any more");
    assert_eq!(fed.desired, Desired::default(), "nothing is left behind");
}

#[test]
fn a_service_without_an_address_gives_no_rules() {
    let mut fed = Fed::with(&[service("web", 0, &[], &[HTTP])]);
    assert_eq!(fed.desired, Desired::default(), "W1, W2, W3");
    fed.put(service("web", 0, &["10.96.0.1"], &[HTTP]));
    assert!(fed.holder("10.96.0.1", 80, Protocol::Tcp).is_some(), "W3: a flip to ClusterIP");
    fed.put(service("web", 0, &[], &[HTTP]));
    assert_eq!(fed.desired, Desired::default(), "W3: and back");
}

#[test]
fn a_frontend_claimed_twice_goes_to_the_older_service() {
    for (case, a, b, want) in [
        ("older", 1, 2, "shop/a:http/TCP/IPv4"),
        ("older, the other way round", 2, 1, "shop/b:http/TCP/IPv4"),
        ("same age: by name", 1, 1, "shop/a:http/TCP/IPv4"),
    ] {
        let (a, b) = (service("a", a, &["10.96.0.1"], &[HTTP]), service("b", b, &["10.96.0.1"], &[HTTP]));
        for order in [[a.clone(), b.clone()], [b, a]] {
            let fed = Fed::with(&order);
            assert_eq!(fed.holder("10.96.0.1", 80, Protocol::Tcp).as_deref(), Some(want), "X1 {case}");
            let [message] = &fed.diagnostics()[..] else { panic!("I8: one loser, {:?}", fed.diagnostics()) };
            let (winner, loser) = if want.contains("/a:") { ("a", "b") } else { ("b", "a") };
            assert!(message.starts_with(&format!("conflict Service shop/{loser}: 10.96.0.1:80/tcp")), "{message}");
            assert!(message.contains(&format!("leads to Service shop/{winner}:http")), "names the winner: {message}");
        }
    }
}

#[test]
fn a_frontend_goes_to_the_next_claimant_when_its_holder_goes() {
    let claim = |name, created| service(name, created, &["10.96.0.1"], &[HTTP]);
    let mut fed = Fed::with(&[claim("a", 1), claim("b", 2), claim("c", 3)]);
    assert_eq!(fed.diagnostics().len(), 2);
    let (keys, vips) = fed.delete("a");
    assert_eq!(keys, ["shop/a:http/TCP/IPv4", "shop/b:http/TCP/IPv4"], "c is not touched: it stays a loser");
    assert_eq!(vips, Vec::<String>::new());
    assert_eq!(fed.holder("10.96.0.1", 80, Protocol::Tcp).as_deref(), Some("shop/b:http/TCP/IPv4"));
    let [message] = &fed.diagnostics()[..] else { panic!("{:?}", fed.diagnostics()) };
    assert!(message.contains("Service shop/c") && message.contains("leads to Service shop/b"), "{message}");
    fed.put(claim("a", 1));
    assert_eq!(fed.holder("10.96.0.1", 80, Protocol::Tcp).as_deref(), Some("shop/a:http/TCP/IPv4"), "and back");
}

#[test]
fn a_service_that_loses_several_frontends_is_one_diagnostic_with_its_file_and_field() {
    let (vips, ports) = (["10.96.0.1", "fd00::1"], [HTTP, ("api", Protocol::Tcp, 81)]);
    let mut fed = Fed::with(&[service("a", 1, &vips, &ports), service("b", 2, &vips, &ports)]);
    fed.put(service("c", 3, &["10.96.0.1"], &[HTTP]));
    let said: Vec<_> = fed.desired.diagnostics().iter().map(ToString::to_string).collect();
    let lost =
        "spec.clusterIPs: 10.96.0.1:80/tcp of port \"http\" leads to Service shop/a:http, whose claim comes first";
    let advice = "give one of the two another address or port";
    assert_eq!(
        said,
        [
            format!("b.yaml:1: Service shop/b: {lost} (3 more of its frontends are lost, too); {advice}"),
            format!("c.yaml:1: Service shop/c: {lost}; {advice}"),
        ],
        "I8"
    );
    fed.put(Service { origin: None, ..service("b", 2, &vips, &ports) });
    assert_eq!(fed.desired.diagnostics()[0].origin, None, "the API has no files");
}

#[test]
fn two_ports_of_one_service_on_one_number_are_a_conflict_too() {
    let fed = Fed::with(&[service("web", 0, &["10.96.0.1"], &[("b", Protocol::Tcp, 80), ("a", Protocol::Tcp, 80)])]);
    assert_eq!(fed.holder("10.96.0.1", 80, Protocol::Tcp).as_deref(), Some("shop/web:a/TCP/IPv4"));
    assert_eq!(fed.diagnostics().len(), 1, "I8");
}

/// A2; the parser says what is wrong with it, once.
#[test]
fn a_service_without_ports_owns_its_address_and_needs_no_second_diagnostic() {
    let fed = Fed::with(&[service("web", 0, &["10.96.0.1"], &[])]);
    assert!(fed.desired.owns("10.96.0.1".parse().unwrap()));
    assert_eq!(fed.diagnostics(), Vec::<String>::new());
}

#[test]
fn an_update_touches_only_what_it_changes() {
    let ports = [HTTP, ("api", Protocol::Tcp, 81)];
    let mut fed = Fed::with(&[service("web", 0, &["10.96.0.1"], &ports), service("other", 0, &["10.96.0.2"], &[HTTP])]);
    let moved = [HTTP, ("api", Protocol::Tcp, 82)];
    let (keys, vips) = fed.put(service("web", 0, &["10.96.0.1"], &moved));
    assert_eq!((keys, vips), (vec!["shop/web:api/TCP/IPv4".to_owned()], vec![]), "port api moved, port http did not");
    let (keys, vips) = fed.put(service("web", 0, &["10.96.0.3"], &moved));
    assert_eq!((keys.len(), vips), (2, vec!["10.96.0.1".to_owned(), "10.96.0.3".to_owned()]), "a new address");
}

/// `shop/NAME` at a ClusterIP of its own, with port 80 and a NodePort (0 = none).
fn with_node_port(name: &str, created_unix_s: i64, cluster_ip: &str, node_port: u16) -> Service {
    let mut service = service(name, created_unix_s, &[cluster_ip], &[HTTP]);
    service.ports[0].node_port = Port::new(node_port);
    service
}

fn node(addresses: &[&str]) -> Event {
    let addresses = addresses.iter().map(|addr| addr.parse().unwrap()).collect();
    let node = sheave_core::Node { name: "node-a".into(), zone: None, addresses, pod_cidrs: Vec::new(), leaving: None };
    Event::Applied(Object::Node(node))
}

fn ips(addrs: &[&str]) -> Vec<IpAddr> {
    addrs.iter().map(|addr| addr.parse().unwrap()).collect()
}

#[test]
fn every_kind_of_frontend_is_listed_and_leads_to_its_service() {
    let web = Service {
        load_balancer_ips: ips(&["1.2.3.4"]),
        external_ips: ips(&["9.9.9.9", "1.2.3.4"]),
        ..with_node_port("web", 0, "10.96.0.1", 30080)
    };
    let fed = Fed::with(&[web]);
    let key = &fed.desired.keys()[0];
    let serving = fed.desired.serving(key).unwrap();
    let kinds: Vec<_> = serving.frontends.iter().map(|(f, kind)| format!("{} {f}", kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            "NodePort 0.0.0.0:30080/tcp",
            "LoadBalancer 1.2.3.4:80/tcp",
            "ExternalIP 9.9.9.9:80/tcp",
            "ClusterIP 10.96.0.1:80/tcp"
        ],
        "A1, A4, A7, A10; of two kinds the stronger"
    );
    assert_eq!(fed.desired.frontends(), serving.frontends.keys().copied().collect::<Vec<_>>());
    assert_eq!(fed.desired.vips(), ips(&["10.96.0.1"]), "A2 is for ClusterIPs, A11 for the others");
    assert_eq!(fed.diagnostics(), Vec::<String>::new(), "a Service does not lose to itself");
}

#[test]
fn each_kind_of_claim_that_is_lost_is_told_with_its_field() {
    let at = |name, created, cluster_ip| with_node_port(name, created, cluster_ip, 30080);
    let winner = Service { load_balancer_ips: ips(&["1.2.3.4"]), ..at("a", 1, "10.96.0.1") };
    for (case, loser, field, what) in [
        ("NodePort", at("b", 2, "10.96.0.2"), "spec.ports", "NodePort 0.0.0.0:30080/tcp"),
        (
            "LoadBalancer",
            Service { load_balancer_ips: ips(&["1.2.3.4"]), ..with_node_port("b", 2, "10.96.0.2", 0) },
            "status.loadBalancer.ingress",
            "LoadBalancer 1.2.3.4:80/tcp",
        ),
        (
            "external",
            Service { external_ips: ips(&["10.96.0.1"]), ..with_node_port("b", 0, "10.96.0.2", 0) },
            "spec.externalIPs",
            "external IP 10.96.0.1:80/tcp",
        ),
    ] {
        let fed = Fed::with(&[winner.clone(), loser]);
        let [said] = &fed.desired.diagnostics()[..] else { panic!("X1 {case}: {:?}", fed.diagnostics()) };
        assert_eq!((said.field.as_str(), &*said.object.name), (field, "shop/b"), "I8 {case}");
        assert!(said.message.starts_with(&format!("{what} of port \"http\" leads to Service shop/a:http")), "{said}");
    }
}

#[test]
fn a_node_port_that_loses_an_address_of_the_node_to_an_exact_frontend_is_told() {
    let any = with_node_port("any", 0, "10.96.0.1", 30080);
    let exact = Service {
        external_ips: ips(&["192.168.0.1"]),
        ..service("exact", 5, &["10.96.0.2"], &[("http", Protocol::Tcp, 30080)])
    };
    let other_port = Service {
        external_ips: ips(&["192.168.0.1"]),
        ..service("other", 5, &["10.96.0.3"], &[("http", Protocol::Tcp, 30081)])
    };
    let said = |fed: &Fed| fed.diagnostics();
    for order in [[&any, &exact, &other_port], [&exact, &other_port, &any]] {
        let mut fed = Fed::with(&[]);
        fed.feed(node(&["192.168.0.1"]));
        order.into_iter().for_each(|service| drop(fed.put(service.clone())));
        let [message] = &said(&fed)[..] else { panic!("X1, I8: {:?}", said(&fed)) };
        assert!(message.starts_with("conflict Service shop/any: NodePort 192.168.0.1:30080/tcp"), "{message}");
        assert!(message.contains("leads to Service shop/exact:http"), "{message}");
        fed.feed(node(&["192.168.0.2"]));
        assert_eq!(said(&fed), Vec::<String>::new(), "the address is no longer the node's");
        fed.feed(node(&["192.168.0.1"]));
        assert_eq!(said(&fed).len(), 1, "and is again");
        fed.delete("exact");
        assert_eq!(said(&fed), Vec::<String>::new(), "nobody has the exact address");
        fed.put(exact.clone());
        assert_eq!(said(&fed).len(), 1);
        fed.delete("any");
        assert_eq!(said(&fed), Vec::<String>::new(), "nobody has the NodePort");
        fed.put(Service { external_ips: Vec::new(), ..exact.clone() });
        fed.put(any.clone());
        assert_eq!(said(&fed), Vec::<String>::new(), "the exact one gave up the address");
    }
    let own = Service { external_ips: ips(&["192.168.0.1"]), ..with_node_port("own", 0, "10.96.0.4", 80) };
    let mut fed = Fed::with(&[]);
    fed.feed(node(&["192.168.0.1"]));
    fed.put(own);
    assert_eq!(said(&fed), Vec::<String>::new(), "a Service does not lose to itself");
}

#[test]
fn a_change_of_the_node_touches_only_whom_it_concerns() {
    let ranges = |service: Service| Service { source_ranges: vec!["192.168.0.0/24".parse().unwrap()], ..service };
    let balanced = |name, cluster_ip: &str| Service {
        load_balancer_ips: ips(&["1.2.3.4"]),
        ..service(name, 0, &[cluster_ip], &[HTTP])
    };
    let services = [
        service("plain", 0, &["10.96.0.1"], &[HTTP]),
        ranges(balanced("ranges", "10.96.0.2")),
        service("dns", 0, &["10.96.0.3"], &[HTTP]),
    ];
    let mut fed = Fed::with(&services);
    assert_eq!(fed.feed(node(&["192.168.0.1"])).0, ["shop/ranges:http/TCP/IPv4"], "R8: the node came inside");
    assert_eq!(fed.feed(node(&["192.168.0.1", "192.168.0.2"])).0, Vec::<String>::new(), "not its primary address");
    assert_eq!(fed.feed(node(&["10.1.0.1", "192.168.0.1"])).0, ["shop/ranges:http/TCP/IPv4"], "R8: it left");
    let local = Event::LocalAddresses(ips(&["10.96.0.3", "169.254.20.10"]).into_iter().collect());
    assert_eq!(
        fed.feed(local.clone()),
        (vec!["shop/dns:http/TCP/IPv4".to_owned()], vec!["10.96.0.3".to_owned()]),
        "A12"
    );
    assert_eq!(fed.feed(local), (vec![], vec![]), "W13");
    assert!(!fed.desired.owns("10.96.0.3".parse().unwrap()), "A12: its other ports are not ours either");
}

#[test]
fn a_cluster_ip_of_the_node_is_nobodys_and_comes_back() {
    let thief = Service { external_ips: ips(&["10.96.0.1"]), ..service("thief", 0, &["10.96.0.2"], &[HTTP]) };
    let web = service("web", 1, &["10.96.0.1"], &[HTTP]);
    let local = |addrs: &[&str]| Event::LocalAddresses(ips(addrs).into_iter().collect());
    let at = |fed: &Fed| fed.holder("10.96.0.1", 80, Protocol::Tcp);
    let (of_web, of_thief) = (Some("shop/web:http/TCP/IPv4".to_owned()), Some("shop/thief:http/TCP/IPv4".to_owned()));
    let mut fed = Fed::with(&[thief, web.clone()]);
    assert_eq!(at(&fed), of_web, "X1");
    fed.feed(local(&["10.96.0.1"]));
    assert_eq!(at(&fed), None, "A12, X1: the claim that comes next does not get it");
    assert!(!fed.desired.frontends().iter().any(|frontend| frontend.addr == ips(&["10.96.0.1"])[0]));
    fed.delete("web");
    assert_eq!(at(&fed), of_thief, "no ClusterIP any more");
    let (keys, vips) = fed.put(web);
    assert_eq!(at(&fed), None, "A12: and again one");
    assert_eq!((keys.len(), vips.len()), (2, 0), "{keys:?}: the one that lost it, and the one that is new");
    fed.feed(local(&[]));
    assert_eq!(at(&fed), of_web);
    assert!(fed.desired.owns(ips(&["10.96.0.1"])[0]), "A2");
}

#[test]
fn what_others_have_at_a_cluster_ip_of_the_node_goes_and_comes_with_it() {
    use sheave_core::{NodePortAddresses, ProxyConfig};
    let everywhere = NodePortAddresses::Cidrs(vec!["0.0.0.0/0".parse().unwrap()]);
    let config = ProxyConfig { node_port_addresses: everywhere, ..ProxyConfig::default() };
    let mut fed = Fed { index: Index::new("node-a"), desired: Desired::new(config) };
    let more = [("more", Protocol::Tcp, 81)];
    fed.put(Service { external_ips: ips(&["10.96.0.1"]), ..service("other", 0, &["10.96.0.2"], &more) });
    fed.put(Service { external_ips: ips(&["10.96.0.3"]), ..service("third", 0, &["10.96.0.4"], &more) });
    fed.feed(Event::LocalAddresses(ips(&["10.96.0.1", "10.96.0.3"]).into_iter().collect()));
    let accepts = |fed: &Fed| fed.desired.rules().node_port_addrs.contains(&ips(&["10.96.0.1"])[0]);
    let at = |fed: &Fed, addr| fed.holder(addr, 81, Protocol::Tcp);
    assert!(at(&fed, "10.96.0.1").is_some() && accepts(&fed), "an address of the node, and no ClusterIP");
    let (keys, _) = fed.put(service("web", 1, &["10.96.0.1"], &[HTTP]));
    assert_eq!(keys, ["shop/other:more/TCP/IPv4", "shop/web:http/TCP/IPv4"], "the plan has to take it away");
    assert!(at(&fed, "10.96.0.1").is_none() && !accepts(&fed), "A12: neither external IP nor NodePort");
    assert!(at(&fed, "10.96.0.3").is_some(), "another address of the node is no ClusterIP");
    assert_eq!(fed.delete("web").0, ["shop/other:more/TCP/IPv4", "shop/web:http/TCP/IPv4"]);
    assert!(at(&fed, "10.96.0.1").is_some() && accepts(&fed), "and back");
}

#[test]
fn conflicts_are_told_to_have_changed_only_when_they_may_have() {
    let claim = |name, created| service(name, created, &["10.96.0.1"], &[HTTP]);
    let mut fed = Fed::with(&[service("other", 0, &["10.96.0.2"], &[HTTP])]);
    let conflicts = |fed: &mut Fed, event| {
        fed.index.apply(event);
        let changed = fed.index.take_changed();
        fed.desired.update(&fed.index, &changed).conflicts
    };
    let applied = |service| Event::Applied(Object::Service(service));
    assert!(!conflicts(&mut fed, applied(claim("a", 1))));
    assert!(conflicts(&mut fed, applied(claim("b", 2))), "b loses");
    assert!(!conflicts(&mut fed, applied(service("other", 0, &["10.96.0.3"], &[HTTP]))));
    assert!(conflicts(&mut fed, Event::Deleted(ObjectName::Service(ServiceName::new("shop", "a")))), "b loses no more");
    assert_eq!(fed.diagnostics(), Vec::<String>::new());
}

#[test]
fn a_frontend_lost_as_two_kinds_is_lost_once() {
    let both = |name, created, cluster_ip: &str| Service {
        load_balancer_ips: ips(&["1.2.3.4"]),
        external_ips: ips(&["1.2.3.4"]),
        ..service(name, created, &[cluster_ip], &[HTTP])
    };
    let fed = Fed::with(&[both("a", 1, "10.96.0.1"), both("b", 2, "10.96.0.2")]);
    let [message] = &fed.diagnostics()[..] else { panic!("{:?}", fed.diagnostics()) };
    assert!(!message.contains("more of its frontends"), "{message}");
}

#[test]
fn a_new_zone_touches_services_with_hints_alone() {
    use sheave_core::{Endpoint, EndpointSlice, Family, Hints, SliceName, SlicePort};
    let slice = |service: &str, zones: Option<&str>| {
        let hints = zones.map(|zone| Hints { nodes: Vec::new(), zones: vec![zone.into()] }.into());
        let port = SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap() };
        Event::Applied(Object::EndpointSlice(EndpointSlice {
            name: SliceName::new("shop", service),
            service: ServiceName::new("shop", service),
            family: Family::V4,
            ports: vec![port],
            endpoints: vec![
                Endpoint { hints, ..Endpoint::ready([10, 0, 0, 1].into()) },
                Endpoint {
                    hints: Some(Hints { nodes: Vec::new(), zones: vec!["y".into()] }.into()),
                    ..Endpoint::ready([10, 0, 0, 2].into())
                },
            ],
        }))
    };
    let mut fed =
        Fed::with(&[service("hinted", 0, &["10.96.0.1"], &[HTTP]), service("plain", 0, &["10.96.0.2"], &[HTTP])]);
    fed.feed(slice("hinted", Some("x")));
    fed.feed(slice("plain", None));
    let zone = |zone: &str| {
        let node = sheave_core::Node {
            name: "node-a".into(),
            zone: Some(zone.into()),
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            leaving: None,
        };
        Event::Applied(Object::Node(node))
    };
    assert_eq!(fed.feed(zone("x")).0, ["shop/hinted:http/TCP/IPv4"], "W14: now its zone is meant");
    assert_eq!(fed.feed(zone("x")).0, Vec::<String>::new(), "W13");
    assert_eq!(fed.feed(zone("q")).0, ["shop/hinted:http/TCP/IPv4"], "W14: no endpoint is meant for it any more");
}

#[test]
fn what_is_touched_adds_up_and_is_empty_only_without_anything() {
    use sheave_core::Touched;
    let key = "shop/web:http/TCP/IPv4".parse().unwrap();
    let frontend =
        Frontend { addr: "10.96.0.1".parse().unwrap(), port: Port::new(80).unwrap(), protocol: Protocol::Tcp };
    let parts = [
        Touched { keys: [key].into(), ..Touched::default() },
        Touched { frontends: [frontend].into(), ..Touched::default() },
        Touched { vips: [frontend.addr].into(), ..Touched::default() },
        Touched { rules: true, ..Touched::default() },
    ];
    let mut all = Touched::default();
    assert!(all.is_empty());
    for part in &parts {
        assert!(!part.is_empty(), "{part:?}");
        all.merge(part.clone());
    }
    assert_eq!((all.keys.len(), all.frontends.len(), all.vips.len(), all.rules), (1, 1, 1, true));
}

#[test]
fn what_serves_but_stands_in_neither_set_is_kept() {
    use sheave_core::{Endpoint, EndpointSlice, Family, SliceName, SlicePort, TrafficPolicy};
    let at = |host: u8, node: &str| Endpoint { node: Some(node.into()), ..Endpoint::ready([10, 0, 0, host].into()) };
    let endpoints = vec![
        at(1, "node-b"),
        Endpoint { ready: false, terminating: true, ..at(2, "node-a") },
        Endpoint { ready: false, terminating: true, ..at(3, "node-b") },
        Endpoint { ready: false, ..at(4, "node-a") },
        Endpoint { ready: false, serving: false, ..at(5, "node-a") },
    ];
    let slice = EndpointSlice {
        name: SliceName::new("shop", "web-1"),
        service: ServiceName::new("shop", "web"),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap() }],
        endpoints,
    };
    for (policy, local, keep) in
        [(TrafficPolicy::Cluster, vec![], vec![2, 3, 4]), (TrafficPolicy::Local, vec![2], vec![3, 4])]
    {
        let mut fed = Fed::with(&[Service { external_policy: policy, ..service("web", 0, &["10.96.0.1"], &[HTTP]) }]);
        fed.feed(Event::Applied(Object::EndpointSlice(slice.clone())));
        let serving = fed.desired.serving(&fed.desired.keys()[0]).unwrap();
        let hosts = |set: &sheave_core::FlatSet<sheave_core::Backend>| -> Vec<u8> {
            let host = |addr: IpAddr| addr.to_string().rsplit('.').next().unwrap().parse().unwrap();
            set.keys().map(|backend| host(backend.addr)).collect()
        };
        assert_eq!(hosts(&serving.cluster), [1], "E1 {policy}");
        assert_eq!((hosts(&serving.local), hosts(&serving.keep)), (local, keep), "E2, L2 {policy}");
    }
}
