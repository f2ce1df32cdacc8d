//! From desired state to a ruleset.
use crate::fixture::{NODES, OUTSIDE, PODS, SERVICES, addr, network, port};
use sheave_baseline::{Ruleset, ServedPort};
use sheave_core::{
    Affinity, Desired, Endpoint, EndpointSlice, Event, Family, Index, Node, Object, ObjectName, ProxyConfig, Service,
    ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};

struct Fed {
    index: Index,
    desired: Desired,
}

impl Fed {
    fn new() -> Self {
        let node = Node {
            name: "node-a".into(),
            zone: None,
            addresses: Family::ALL.map(|family| addr(family, NODES, 1)).to_vec(),
            pod_cidrs: Vec::new(),
            leaving: None,
        };
        let mut fed = Self { index: Index::new("node-a"), desired: Desired::new(ProxyConfig::default()) };
        fed.feed(&mut [], Event::Applied(Object::Node(node)));
        fed
    }

    /// Takes an event in and brings rulesets up to date; returns the Services each of them was told of.
    fn feed(&mut self, rules: &mut [Ruleset], event: Event) -> Vec<Vec<String>> {
        self.index.apply(event);
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        let told = rules.iter_mut().map(|rules| rules.update(&self.desired, &touched));
        told.map(|services| services.iter().map(ToString::to_string).collect()).collect()
    }
}

fn service(name: &str, last: u32) -> Service {
    let http = ServicePort {
        name: "http".into(),
        protocol: sheave_core::Protocol::Tcp,
        port: port(80),
        node_port: Some(port(30_080)),
    };
    Service {
        cluster_ips: Family::ALL.map(|family| addr(family, SERVICES, last)).to_vec(),
        ports: vec![http],
        load_balancer_ips: vec![addr(Family::V4, OUTSIDE, 1)],
        external_ips: vec![addr(Family::V6, OUTSIDE, 2)],
        external_policy: TrafficPolicy::Local,
        affinity: Some(Affinity { timeout_s: 60 }),
        source_ranges: vec![network("10.176.0.0/16")],
        ..Service::new(ServiceName::new("shop", name))
    }
}

fn slice(family: Family, endpoints: &[(u32, &str)]) -> EndpointSlice {
    let endpoint = |(last, node): &(u32, &str)| Endpoint {
        node: Some((*node).into()),
        ..Endpoint::ready(addr(family, PODS, *last))
    };
    EndpointSlice {
        name: SliceName::new("shop", &format!("web-{family}")),
        service: ServiceName::new("shop", "web"),
        family,
        ports: vec![SlicePort { name: "http".into(), protocol: sheave_core::Protocol::Tcp, port: port(8080) }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn only(rules: &Ruleset) -> &ServedPort {
    let mut ports = rules.ports();
    let port = ports.next().expect("a port");
    assert_eq!(ports.next(), None);
    port
}

#[test]
fn a_ruleset_has_what_desired_state_has_of_its_family() {
    let mut fed = Fed::new();
    fed.feed(&mut [], Event::Applied(Object::Service(service("web", 1))));
    fed.feed(&mut [], Event::Applied(Object::EndpointSlice(slice(Family::V4, &[(1, "node-a"), (2, "node-b")]))));
    let [v4, v6] = Family::ALL.map(|family| Ruleset::of(&fed.desired, family));
    let backends = |last: &[u32]| crate::fixture::backends(Family::V4, last.iter().copied()).collect();
    let want = ServedPort {
        node_port: Some(port(30_080)),
        load_balancer_ips: vec![addr(Family::V4, OUTSIDE, 1)],
        // Without the load balancer's address, which desired state adds: the node is inside the range.
        source_ranges: vec![network("10.176.0.0/16")],
        external: TrafficPolicy::Local,
        affinity: Some(Affinity { timeout_s: 60 }),
        local: backends(&[1]),
        ..crate::fixture::service(Family::V4, "web", 1, [1, 2])
    };
    assert_eq!(only(&v4), &want);
    let v6 = only(&v6);
    assert_eq!(
        (v6.cluster_ip, &v6.external_ips[..]),
        (addr(Family::V6, SERVICES, 1), &[addr(Family::V6, OUTSIDE, 2)][..])
    );
    assert_eq!((v6.load_balancer_ips.len(), v6.source_ranges.len(), v6.cluster.len()), (0, 0, 0));
}

#[test]
fn an_update_makes_of_a_ruleset_what_a_fresh_one_is() {
    let mut fed = Fed::new();
    let mut rules = Family::ALL.map(Ruleset::new);
    let web = ObjectName::Service(ServiceName::new("shop", "web"));
    for (event, told) in [
        (Event::Applied(Object::Service(service("web", 1))), [vec!["shop/web"], vec!["shop/web"]]),
        (Event::Applied(Object::EndpointSlice(slice(Family::V4, &[(1, "node-a")]))), [vec!["shop/web"], vec![]]),
        (Event::Applied(Object::EndpointSlice(slice(Family::V6, &[(1, "node-b")]))), [vec![], vec!["shop/web"]]),
        (Event::Applied(Object::EndpointSlice(slice(Family::V6, &[(1, "node-b")]))), [vec![], vec![]]),
        (Event::Deleted(web), [vec!["shop/web"], vec!["shop/web"]]),
    ] {
        let what = format!("{event:?}");
        assert_eq!(fed.feed(&mut rules, event), told, "{what}");
        assert_eq!(rules, Family::ALL.map(|family| Ruleset::of(&fed.desired, family)), "{what}");
    }
}
