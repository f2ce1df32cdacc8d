//! The sync loop over maps in memory: what is written when, and what is said of it.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_agent::sync::Syncer;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::{
    Diagnostic, Event, Frontend, Kind, NodeRules, Object, ObjectName, ObjectRef, Plan, Port, Problem, Protocol,
    ProxyConfig, Realized, Service, ServiceKey, ServiceName, ServicePort, Serving,
};
use sheave_dataplane::{Applied, Dataplane};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

fn service(name: &str, vip: &str) -> Service {
    let port =
        ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: Port::new(80).unwrap(), node_port: None };
    Service {
        cluster_ips: vec![vip.parse().unwrap()],
        ports: vec![port],
        ..Service::new(ServiceName::new("shop", name))
    }
}

fn applied(service: Service) -> Event {
    Event::Applied(Object::Service(service))
}

/// Room for so many Services.
fn syncer(services_max: u32) -> Syncer<BpfDataplane<MemoryMaps>> {
    let limits = Limits { services_max, ..Limits::default() };
    Syncer::new("node-a", ProxyConfig::default(), BpfDataplane::new(Image::default(), limits, MemoryMaps::new()))
}

fn listed(kind: Kind) -> Event {
    Event::Listed { kind, objects: Vec::new(), kept: Vec::new() }
}

/// What a source and the node say of a cluster without objects.
fn nothing() -> Vec<Event> {
    Kind::ALL.map(listed).into_iter().chain([Event::LocalAddresses(BTreeSet::new())]).collect()
}

fn held(syncer: &Syncer<BpfDataplane<MemoryMaps>>) -> Vec<String> {
    syncer.dataplane().keys().iter().map(|key| key.port.service.to_string()).collect()
}

/// W12, I4
#[test]
fn nothing_is_written_before_every_kind_was_listed_and_the_nodes_addresses_were_told() {
    let mut syncer = syncer(10);
    syncer.observe(vec![applied(service("a", "10.96.0.1"))]);
    for kind in Kind::ALL {
        assert_eq!(syncer.sync().writes.ops, 0, "before {kind:?}");
        let objects = if kind == Kind::Service { vec![Object::Service(service("a", "10.96.0.1"))] } else { Vec::new() };
        syncer.observe(vec![Event::Listed { kind, objects, kept: Vec::new() }]);
    }
    assert_eq!(syncer.sync().writes.ops, 0, "before the node's addresses");
    syncer.observe(vec![Event::LocalAddresses(BTreeSet::new())]);
    assert!(syncer.sync().writes.ops > 0);
    assert_eq!(held(&syncer), ["shop/a"]);
    assert_eq!(syncer.sync().writes.ops, 0, "I2");
}

/// I3, I7
#[test]
fn a_service_that_had_no_room_is_served_as_soon_as_another_one_has_gone() {
    let mut syncer = syncer(1);
    syncer.observe(nothing());
    syncer.observe(vec![applied(service("a", "10.96.0.1"))]);
    assert!(syncer.sync().failed.is_empty());
    syncer.observe(vec![applied(service("b", "10.96.0.2"))]);
    assert!(syncer.sync().failed.is_empty());
    assert_eq!(held(&syncer), ["shop/a"]);
    let said = syncer.changed_diagnostics().unwrap();
    assert!(said.iter().any(|d| d.problem == Problem::Capacity && &*d.object.name == "shop/b"), "{said:?}");
    assert_eq!(syncer.changed_diagnostics(), None, "said once");

    // One round: the new one is refused before the old one is gone.
    let gone = Event::Deleted(ObjectName::Service(ServiceName::new("shop", "a")));
    syncer.observe(vec![gone, applied(service("c", "10.96.0.3"))]);
    assert!(syncer.sync().failed.is_empty());
    assert_eq!(held(&syncer).len(), 1);
    assert_ne!(held(&syncer), ["shop/a"]);
}

#[test]
fn what_is_wrong_is_told_when_it_changes_and_only_then() {
    let mut syncer = syncer(10);
    syncer.observe(nothing());
    let _first = (syncer.sync(), syncer.changed_diagnostics());
    let object = ObjectRef::new("Service", "shop/a");
    let diagnostic = Diagnostic {
        object: object.clone(),
        field: "spec.ports".to_owned(),
        problem: Problem::Invalid,
        message: "no port".to_owned(),
        origin: None,
    };
    syncer.observe(vec![Event::Diagnosed { object: object.clone(), diagnostics: vec![diagnostic.clone()] }]);
    assert_eq!(syncer.changed_diagnostics(), Some([diagnostic].into()));
    syncer.observe(vec![applied(service("b", "10.96.0.2"))]);
    let _second = syncer.sync();
    assert_eq!(syncer.changed_diagnostics(), None, "another Service changed");
    syncer.observe(vec![Event::Diagnosed { object, diagnostics: Vec::new() }]);
    assert_eq!(syncer.changed_diagnostics(), Some([].into()));
}

/// A dataplane that says it does not do SCTP.
struct WithoutSctp<D>(D);

impl<D: Realized> Realized for WithoutSctp<D> {
    fn rules(&self) -> Option<Arc<NodeRules>> {
        self.0.rules()
    }
    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        self.0.serving(key)
    }
    fn settled(&self, key: &ServiceKey) -> bool {
        self.0.settled(key)
    }
    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.0.holder(frontend)
    }
    fn owns(&self, addr: IpAddr) -> bool {
        self.0.owns(addr)
    }
    fn keys(&self) -> Vec<ServiceKey> {
        self.0.keys()
    }
    fn frontends(&self) -> Vec<Frontend> {
        self.0.frontends()
    }
    fn vips(&self) -> Vec<IpAddr> {
        self.0.vips()
    }
}

impl<D: Dataplane> Dataplane for WithoutSctp<D> {
    fn apply(&mut self, plan: &Plan) -> Applied {
        self.0.apply(plan)
    }
    fn lacks(&self, service: &Service) -> Vec<Diagnostic> {
        let sctp = service.ports.iter().filter(|port| port.protocol == Protocol::Sctp);
        let lack = |_| Diagnostic {
            object: ObjectRef::new("Service", &service.name.to_string()),
            field: "spec.ports.protocol".to_owned(),
            problem: Problem::Unsupported,
            message: "not this one".to_owned(),
            origin: None,
        };
        sctp.map(lack).collect()
    }
}

/// I7
#[test]
fn what_the_dataplane_leaves_out_of_a_service_is_told_as_long_as_the_service_asks_for_it() {
    let dataplane = WithoutSctp(BpfDataplane::new(Image::default(), Limits::default(), MemoryMaps::new()));
    let mut syncer = Syncer::new("node-a", ProxyConfig::default(), dataplane);
    syncer.observe(nothing());
    let asking = || {
        let mut asking = service("a", "10.96.0.1");
        asking.ports.push(ServicePort { protocol: Protocol::Sctp, ..asking.ports[0].clone() });
        asking
    };
    syncer.observe(vec![applied(asking())]);
    let _first = syncer.sync();
    let told = syncer.changed_diagnostics().unwrap();
    let told: Vec<_> = told.iter().map(|d| (d.field.as_str(), d.problem)).collect();
    assert_eq!(told, [("spec.ports.protocol", Problem::Unsupported)]);
    assert!(syncer.dataplane().keys().iter().any(|key| key.port.protocol == Protocol::Tcp), "the rest of it is served");
    syncer.observe(vec![applied(service("b", "10.96.0.2"))]);
    let _second = syncer.sync();
    assert_eq!(syncer.changed_diagnostics(), None, "another Service changed");
    let edits: [fn(Service) -> Event; 2] = [
        |service| applied(Service { ports: service.ports[..1].to_vec(), ..service }),
        |service| Event::Deleted(ObjectName::Service(service.name)),
    ];
    for edit in edits {
        syncer.observe(vec![applied(asking())]);
        let _asked = (syncer.sync(), syncer.changed_diagnostics());
        syncer.observe(vec![edit(asking())]);
        let _edited = syncer.sync();
        assert_eq!(syncer.changed_diagnostics(), Some([].into()));
    }
}

/// A12
#[test]
fn a_cluster_ip_is_served_except_while_it_is_the_nodes_own() {
    let mut syncer = syncer(10);
    syncer.observe(nothing());
    syncer.observe(vec![applied(service("dns", "10.96.0.10")), applied(service("web", "10.96.0.1"))]);
    let vips = |syncer: &mut Syncer<BpfDataplane<MemoryMaps>>, addresses: &[&str]| -> Vec<String> {
        let addresses = addresses.iter().map(|addr| addr.parse().unwrap()).collect();
        syncer.observe(vec![Event::LocalAddresses(addresses)]);
        assert!(syncer.sync().failed.is_empty());
        assert_eq!(syncer.sync().writes.ops, 0, "I2");
        syncer.dataplane().vips().iter().map(IpAddr::to_string).collect()
    };
    assert_eq!(vips(&mut syncer, &["192.168.0.2"]), ["10.96.0.1", "10.96.0.10"]);
    assert_eq!(vips(&mut syncer, &["192.168.0.2", "10.96.0.10"]), ["10.96.0.1"]);
    assert_eq!(vips(&mut syncer, &["192.168.0.2"]), ["10.96.0.1", "10.96.0.10"]);
}
