//! A synthetic cluster of any size: Services of one TCP port, with their endpoints in one slice each. Endpoints have a node
//! and a hint, in text of their own, as a source hands them over.
use sheave_core::{
    Endpoint, EndpointSlice, Event, Family, Hints, Kind, Object, Port, Protocol, Service, ServiceName, ServicePort,
    SliceName, SlicePort,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const VIPS: u32 = u32::from_be_bytes([10, 96, 0, 1]);
const NODES: u32 = 5_000;
const PODS: u32 = u32::from_be_bytes([10, 128, 0, 1]);

/// The complete lists of so many Services with so many endpoints each.
#[must_use]
pub fn lists(services: u32, endpoints: u32) -> Vec<Event> {
    let list = |kind, objects| Event::Listed { kind, objects, kept: Vec::new() };
    vec![
        list(Kind::Node, Vec::new()),
        list(Kind::ServiceCidr, Vec::new()),
        list(Kind::Service, (0..services).map(|n| objects(n, 0)).map(|[service, _]| service).collect()),
        list(Kind::EndpointSlice, (0..services).map(|n| objects(n, endpoints)).map(|[_, slice]| slice).collect()),
    ]
}

/// A Service and its slice.
#[must_use]
pub fn objects(n: u32, endpoints: u32) -> [Object; 2] {
    [Object::Service(service(n)), Object::EndpointSlice(slice(n, endpoints, 0))]
}

/// The slice of a Service whose first `gone` endpoints are not there.
#[must_use]
pub fn slice(service: u32, endpoints: u32, gone: u32) -> EndpointSlice {
    let name = name(service);
    EndpointSlice {
        name: SliceName { namespace: Arc::clone(&name.namespace), name: format!("{}-abcde", name.name).into() },
        service: name,
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(8080) }],
        endpoints: (gone..endpoints).map(|n| endpoint(PODS + service * endpoints + n)).collect(),
    }
}

fn name(service: u32) -> ServiceName {
    ServiceName::new(&format!("team-{}", service % 100), &format!("service-{service}"))
}

fn service(n: u32) -> Service {
    Service {
        created_unix_s: 1_700_000_000 + i64::from(n),
        cluster_ips: vec![IpAddr::V4(Ipv4Addr::from_bits(VIPS + n))],
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: port(80), node_port: None }],
        ..Service::new(name(n))
    }
}

fn endpoint(addr: u32) -> Endpoint {
    let zones = vec![format!("region-1{}", ["a", "b", "c"][addr as usize % 3]).into()];
    Endpoint {
        node: Some(format!("node-{}.region-1.example", addr % NODES).into()),
        hints: Some(Arc::new(Hints { nodes: Vec::new(), zones })),
        ..Endpoint::ready(IpAddr::V4(Ipv4Addr::from_bits(addr)))
    }
}

fn port(number: u16) -> Port {
    Port::new(number).expect("ports of the cluster are not 0")
}
