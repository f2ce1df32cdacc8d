//! How many endpoints each Service has, and which Services have a NodePort.
use crate::record::{Backends, Shape};
use sheave_core::Port;

/// The mix repeats after so many Services. The Kubernetes load test gives half of the pods to Services of 5, a quarter to
/// Services of 30 and a quarter to Services of 250 (kubernetes/perf-tests, clusterloader2/testing/load/config.yaml): for one
/// Service of 250 there are 8⅓ of 30 and 100 of 5.
const PERIOD: u32 = 328;
const BIG: [u32; 3] = [55, 164, 274];
const MEDIUM_EVERY: u32 = 13;
const MEDIUM_AT: u32 = 6;
/// The first port of the range that clusters are given for NodePorts by default.
const NODE_PORT_FIRST: u32 = 30_000;
/// NodePorts up to the last port that there is: more than a cluster has by default, and never fewer than 2768.
pub(crate) const NODE_PORTS_MAX: u32 = u16::MAX as u32 - NODE_PORT_FIRST + 1;

/// Sizes of all Services of a shape, and of one that comes and goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    shape: Shape,
    extra: Option<u32>,
}

impl Sizes {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, extra: None }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of the Service that comes and goes.
    pub(crate) fn extra(&self) -> u32 {
        self.shape.services
    }

    pub(crate) fn set_extra(&mut self, backends: Option<u32>) {
        self.extra = backends;
    }

    /// Endpoints of a Service.
    pub(crate) fn of(&self, service: u32) -> u32 {
        if service >= self.shape.services { self.extra.unwrap_or(0) } else { size(self.shape.backends, service) }
    }

    /// Endpoints of all Services before this one: the number of its first endpoint.
    pub(crate) fn first(&self, service: u32) -> u32 {
        endpoints_before(self.shape.backends, service)
    }

    /// Of the Services that come with the shape, each with such a port has one of its own.
    pub(crate) fn node_port(&self, service: u32) -> Option<Port> {
        let nth = self.with_node_port_before(service);
        let has = service < self.shape.services && self.with_node_port_before(service + 1) > nth;
        let port = u16::try_from(NODE_PORT_FIRST + nth).ok().and_then(Port::new);
        port.filter(|_| has)
    }

    /// Every second Service with a NodePort has a load balancer too.
    pub(crate) fn has_load_balancer(&self, service: u32) -> bool {
        self.node_port(service).is_some() && self.with_node_port_before(service) % 2 == 1
    }

    /// Services with a NodePort are spread evenly.
    fn with_node_port_before(&self, service: u32) -> u32 {
        let percent = u64::from(u8::from(self.shape.node_port_percent));
        u32::try_from(u64::from(service) * percent / 100).expect("invariant: at most as many as Services")
    }
}

/// Endpoints of a shape, all in all.
pub(crate) fn endpoints(shape: Shape) -> u64 {
    match shape.backends {
        Backends::Each(count) => u64::from(shape.services) * u64::from(count),
        Backends::LoadTestMix => u64::from(endpoints_before(Backends::LoadTestMix, shape.services)),
    }
}

/// Services of a shape with a NodePort.
pub(crate) fn node_ports(shape: Shape) -> u32 {
    Sizes::new(shape).with_node_port_before(shape.services)
}

fn size(backends: Backends, service: u32) -> u32 {
    match backends {
        Backends::Each(count) => count,
        Backends::LoadTestMix => mixed(service % PERIOD),
    }
}

fn mixed(place: u32) -> u32 {
    if BIG.contains(&place) {
        250
    } else if place % MEDIUM_EVERY == MEDIUM_AT {
        30
    } else {
        5
    }
}

fn endpoints_before(backends: Backends, service: u32) -> u32 {
    match backends {
        Backends::Each(count) => service * count,
        Backends::LoadTestMix => {
            let sum = |end: u32| (0..end).map(mixed).sum::<u32>();
            service / PERIOD * sum(PERIOD) + sum(service % PERIOD)
        }
    }
}
