//! Kept up to date change by change, the desired state is what it would be made from the final objects at once, and nothing
//! is left behind by what is gone.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use sheave_core::{
    Affinity, Changed, Desired, Direction, Endpoint, EndpointSlice, Event, Family, HealthChecks, Hints, Index, Kind,
    NoLocalEndpoints, Node, NodePortAddresses, Object, ObjectName, Port, Protocol, ProxyConfig, Service, ServiceCidr,
    ServiceName, ServicePort, SliceName, SlicePort, TrafficPolicy,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Few names, addresses and numbers, so that they collide.
fn service_name() -> impl Strategy<Value = ServiceName> {
    select(vec!["a", "b", "c", "d"]).prop_map(|name| ServiceName::new("shop", name))
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn port() -> impl Strategy<Value = ServicePort> {
    let protocol = select(vec![Protocol::Tcp, Protocol::Udp]);
    (select(vec!["http", "dns"]), protocol, 80..82u16, select(vec![0, 80, 30080, 30081])).prop_map(
        |(name, protocol, port, node_port)| ServicePort {
            name: name.into(),
            protocol,
            port: Port::new(port).unwrap(),
            node_port: Port::new(node_port),
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let cluster_ips = subsequence(ips(&["10.96.0.1", "fd96::1"]), 0..=2);
    let shared = ips(&["1.2.3.4", "192.168.0.1", "10.96.0.1", "fd96::1", "fd00::1"]);
    let (balancer, external) = (subsequence(shared.clone(), 0..3), subsequence(shared, 0..3));
    let ranges: Vec<IpNet> =
        ["192.168.0.0/24", "203.0.113.0/24", "fd00::/64", "0.0.0.0/0"].map(|range| range.parse().unwrap()).to_vec();
    let affinity = select(vec![None, Some(Affinity { timeout_s: 60 })]);
    let check = select(vec![None, Port::new(31_000), Port::new(31_001)]);
    let rest = (policy(), policy(), affinity, subsequence(ranges, 0..3), check);
    (service_name(), 0..3i64, cluster_ips, vec(port(), 0..3), balancer, external, rest).prop_map(
        |(name, created_unix_s, cluster_ips, ports, load_balancer_ips, external_ips, rest)| {
            let (internal_policy, external_policy, affinity, source_ranges, health_check_node_port) = rest;
            Service {
                created_unix_s,
                cluster_ips,
                ports,
                load_balancer_ips,
                external_ips,
                internal_policy,
                external_policy,
                affinity,
                source_ranges,
                health_check_node_port,
                ..Service::new(name)
            }
        },
    )
}

fn endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let addrs = match family {
        Family::V4 => ips(&["10.0.1.1", "10.0.1.2", "10.0.2.1"]),
        Family::V6 => ips(&["fd10::1", "fd10::2"]),
    };
    let names = |names: &[&'static str]| {
        subsequence(names.to_vec(), 0..=2).prop_map(|names| names.into_iter().map(Arc::<str>::from).collect::<Vec<_>>())
    };
    let hints = prop::option::of((names(&["node-a", "node-b"]), names(&["x", "y"])));
    (select(addrs), any::<[bool; 3]>(), select(vec![None, Some("node-a"), Some("node-b")]), hints).prop_map(
        |(addr, [ready, serving, terminating], node, hints)| Endpoint {
            addr,
            ready,
            serving,
            terminating,
            node: node.map(Into::into),
            hints: hints.map(|(nodes, zones)| Arc::new(Hints { nodes, zones })),
        },
    )
}

fn slice_name() -> impl Strategy<Value = SliceName> {
    select(vec!["one", "two", "three", "four"]).prop_map(|name| SliceName::new("shop", name))
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let family = select(Family::ALL.to_vec());
    let endpoints = family.prop_flat_map(|family| (Just(family), vec(endpoint(family), 0..4)));
    (slice_name(), service_name(), endpoints, vec(port(), 0..3)).prop_map(
        |(name, service, (family, endpoints), ports)| {
            let target = |port: ServicePort| SlicePort { name: port.name, protocol: port.protocol, port: port.port };
            EndpointSlice { name, service, family, ports: ports.into_iter().map(target).collect(), endpoints }
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let addresses = subsequence(ips(&["192.168.0.1", "fd00::1", "192.168.0.2"]), 0..=3);
    (prop::option::of(select(vec!["x", "y"])), addresses.prop_shuffle()).prop_map(|(zone, addresses)| Node {
        name: "node-a".into(),
        zone: zone.map(Into::into),
        addresses,
        pod_cidrs: Vec::new(),
        leaving: None,
    })
}

fn service_cidr() -> impl Strategy<Value = ServiceCidr> {
    (select(vec!["kubernetes", "more"]), select(vec!["10.96.0.0/16", "10.97.0.0/16"]))
        .prop_map(|(name, cidr)| ServiceCidr { name: name.into(), cidrs: vec![cidr.parse().unwrap()] })
}

fn event() -> impl Strategy<Value = Event> {
    let listed = |kind, objects, kept| Event::Listed { kind, objects, kept };
    let local = subsequence(ips(&["10.96.0.1", "1.2.3.4", "192.168.0.2"]), 0..=2);
    prop_oneof![
        4 => service().prop_map(|service| Event::Applied(Object::Service(service))),
        6 => slice().prop_map(|slice| Event::Applied(Object::EndpointSlice(slice))),
        1 => service_name().prop_map(|name| Event::Deleted(ObjectName::Service(name))),
        1 => slice_name().prop_map(|name| Event::Deleted(ObjectName::EndpointSlice(name))),
        1 => node().prop_map(|node| Event::Applied(Object::Node(node))),
        1 => service_cidr().prop_map(|cidr| Event::Applied(Object::ServiceCidr(cidr))),
        1 => local.prop_map(|addrs| Event::LocalAddresses(addrs.into_iter().collect())),
        1 => vec(service(), 0..3).prop_map(move |services| {
            listed(Kind::Service, services.into_iter().map(Object::Service).collect(), Vec::new())
        }),
        1 => (vec(slice(), 0..3), slice_name()).prop_map(move |(slices, kept)| {
            let objects = slices.into_iter().map(Object::EndpointSlice).collect();
            listed(Kind::EndpointSlice, objects, vec![ObjectName::EndpointSlice(kept)])
        }),
    ]
}

fn config() -> impl Strategy<Value = ProxyConfig> {
    let everywhere = NodePortAddresses::Cidrs(vec!["0.0.0.0/0".parse().unwrap()]);
    let addresses = select(vec![NodePortAddresses::Primary, everywhere]);
    (addresses, any::<bool>()).prop_map(|(node_port_addresses, external_ips)| ProxyConfig {
        node_port_addresses,
        external_ips,
        ..ProxyConfig::default()
    })
}

/// An index in which every kind was listed, and nothing found.
fn empty() -> Index {
    let mut index = Index::new("node-a");
    for kind in Kind::ALL {
        index.apply(Event::Listed { kind, objects: Vec::new(), kept: Vec::new() });
    }
    index.apply(Event::LocalAddresses(BTreeSet::new()));
    index
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_history_leads_where_its_final_objects_lead(rounds in vec(vec(event(), 1..4), 1..20), config in config()) {
        let (mut index, mut desired) = (empty(), Desired::new(config.clone()));
        for events in rounds {
            events.into_iter().for_each(|event| index.apply(event));
            let before = desired.clone();
            let changed = index.take_changed();
            let touched = desired.update(&index, &changed);
            let rebuilt = Desired::rebuild(config.clone(), &index);
            prop_assert_eq!(&desired, &rebuilt);
            prop_assert_eq!(desired.diagnostics(), rebuilt.diagnostics());
            untouched_is_the_same(&before, &desired, &touched)?;
            let changed = index.take_changed();
            prop_assert!(desired.update(&index, &changed).is_empty(), "W13, I2");
        }
    }

    /// H3, H7
    #[test]
    fn what_is_counted_by_changes_is_what_counting_everything_gives(rounds in vec(vec(event(), 1..4), 1..20)) {
        let (mut index, mut desired) = (empty(), Desired::default());
        let (mut checks, mut no_local) = (HealthChecks::default(), NoLocalEndpoints::default());
        for events in rounds {
            events.into_iter().for_each(|event| index.apply(event));
            let changed = index.take_changed();
            let touched = desired.update(&index, &changed);
            checks.update(&index, &changed);
            no_local.update(&desired, &touched.keys);
            let everything = Changed { services: index.names(), node: true };
            let mut recounted = HealthChecks::default();
            recounted.update(&index, &everything);
            prop_assert_eq!(&checks, &recounted);
            let mut recounted = NoLocalEndpoints::default();
            recounted.update(&desired, &desired.keys().into_iter().collect());
            for (family, direction) in Family::ALL.into_iter().flat_map(|f| Direction::ALL.map(|d| (f, d))) {
                prop_assert_eq!(no_local.count(family, direction), recounted.count(family, direction));
            }
        }
    }

    #[test]
    fn nothing_is_left_behind_when_everything_is_gone(rounds in vec(vec(event(), 1..4), 1..10), config in config()) {
        let (mut index, mut desired) = (empty(), Desired::new(config.clone()));
        for events in rounds {
            events.into_iter().for_each(|event| index.apply(event));
            let changed = index.take_changed();
            desired.update(&index, &changed);
        }
        for kind in Kind::ALL {
            index.apply(Event::Listed { kind, objects: Vec::new(), kept: Vec::new() });
        }
        index.apply(Event::LocalAddresses(BTreeSet::new()));
        let changed = index.take_changed();
        desired.update(&index, &changed);
        let mut fresh = empty();
        fresh.take_changed();
        prop_assert_eq!(format!("{index:?}"), format!("{fresh:?}"));
        prop_assert_eq!(desired, Desired::rebuild(config, &fresh));
    }
}

/// What an update does not name needs no plan.
fn untouched_is_the_same(
    before: &Desired,
    after: &Desired,
    touched: &sheave_core::Touched,
) -> Result<(), TestCaseError> {
    let keys: BTreeSet<_> = before.keys().into_iter().chain(after.keys()).collect();
    for key in keys.iter().filter(|key| !touched.keys.contains(key)) {
        prop_assert_eq!(before.serving(key), after.serving(key), "{} is not touched", key);
    }
    let frontends: BTreeSet<_> = before.frontends().into_iter().chain(after.frontends()).collect();
    for frontend in frontends.iter().filter(|frontend| !touched.frontends.contains(frontend)) {
        prop_assert_eq!(before.holder(frontend), after.holder(frontend), "{} is not touched", frontend);
    }
    let vips: BTreeSet<_> = before.vips().into_iter().chain(after.vips()).collect();
    for vip in vips.iter().filter(|vip| !touched.vips.contains(vip)) {
        prop_assert_eq!(before.owns(*vip), after.owns(*vip), "{} is not touched", vip);
    }
    prop_assert!(touched.rules || before.rules() == after.rules());
    Ok(())
}
