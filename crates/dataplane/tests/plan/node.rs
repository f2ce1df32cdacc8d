//! An agent's pure part over a [`Fake`], small objects, and plans in words.
use sheave_core::plan::{plan, plan_all};
use sheave_core::{
    Change, Desired, Endpoint, EndpointSlice, Event, Family, Index, Object, ObjectName, Plan, Port, Protocol,
    ProxyConfig, Service, ServiceName, ServicePort, SliceName, SlicePort, Touched,
};
use sheave_dataplane::{Applied, Dataplane, Fake};

pub(crate) const NODE: &str = "node-a";

pub(crate) struct Node {
    pub(crate) index: Index,
    pub(crate) desired: Desired,
    pub(crate) pending: Touched,
    pub(crate) fake: Fake,
}

impl Node {
    pub(crate) fn new(fake: Fake) -> Self {
        Self::with(ProxyConfig::default(), fake)
    }

    pub(crate) fn with(config: ProxyConfig, fake: Fake) -> Self {
        Self { index: Index::new(NODE), desired: Desired::new(config), pending: Touched::default(), fake }
    }

    pub(crate) fn see(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.index.apply(event));
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        self.pending.merge(touched);
    }

    pub(crate) fn plan(&self) -> Plan {
        plan(&self.desired, &self.fake, &self.pending)
    }

    pub(crate) fn sync(&mut self) -> Applied {
        let plan = self.plan();
        let applied = self.fake.apply(&plan);
        self.pending = applied.pending.clone();
        applied
    }

    /// Sees `events`, is synced: the steps of that, in words. After it nothing is left to do.
    pub(crate) fn steps(&mut self, events: impl IntoIterator<Item = Event>) -> (Vec<String>, Vec<String>) {
        self.see(events);
        let plan = self.plan();
        assert_eq!(plan, self.plan(), "equal inputs give equal plans");
        assert!(self.sync().pending.is_empty());
        assert!(plan_all(&self.desired, &self.fake).is_empty(), "I2");
        (words(&plan.make), words(&plan.break_))
    }
}

/// Is synced with `before`, sees `after`: the steps of that.
pub(crate) fn steps(before: Vec<Event>, after: Vec<Event>) -> (Vec<String>, Vec<String>) {
    let mut node = Node::new(Fake::default());
    node.steps(before);
    node.steps(after)
}

/// What [`steps`] should be.
pub(crate) fn want(make: &[&str], break_: &[&str]) -> (Vec<String>, Vec<String>) {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    (owned(make), owned(break_))
}

/// The steps, a few words each. A key is served frontends/Cluster set+kept; a Local set stands in brackets.
pub(crate) fn words(changes: &[Change]) -> Vec<String> {
    changes.iter().map(word).collect()
}

fn word(change: &Change) -> String {
    match change {
        Change::Rules { .. } => "rules".to_owned(),
        Change::Serve { key, serving } => {
            let (sets, kept) = (serving.cluster.len(), serving.keep.len());
            let local = if serving.local.is_empty() { String::new() } else { format!("[{}]", serving.local.len()) };
            let kept = if kept == 0 { String::new() } else { format!("+{kept}") };
            format!("serve {} {}/{sets}{local}{kept}", key.port.service.name, serving.frontends.len())
        }
        Change::ClaimVip { addr } => format!("claim {addr}"),
        Change::Release { frontend, .. } => format!("release {frontend}"),
        Change::ReleaseVip { addr } => format!("give back {addr}"),
        Change::Retire { key, backends } => {
            let backends: Vec<_> = backends.iter().map(ToString::to_string).collect();
            format!("retire {} of {}", backends.join(" "), key.port.service.name)
        }
        Change::Forget { key } => format!("forget {}", key.port.service.name),
    }
}

pub(crate) fn number(port: u16) -> Port {
    Port::new(port).expect("not 0")
}

pub(crate) fn port(name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol, port: number(port), node_port: None }
}

/// A Service of one TCP port at one address, both of the namespace shop.
pub(crate) fn web(addr: &str) -> Service {
    Service {
        created_unix_s: 1,
        cluster_ips: vec![addr.parse().expect("an address")],
        ports: vec![port("http", Protocol::Tcp, 80)],
        ..Service::new(ServiceName::new("shop", "web"))
    }
}

pub(crate) fn applied(service: Service) -> Event {
    Event::Applied(Object::Service(service))
}

pub(crate) fn service(name: &str, created_unix_s: i64, addr: &str) -> Event {
    applied(Service { name: ServiceName::new("shop", name), created_unix_s, ..web(addr) })
}

pub(crate) fn gone(name: &str) -> Event {
    Event::Deleted(ObjectName::Service(ServiceName::new("shop", name)))
}

/// The endpoint 10.244.0.n.
pub(crate) fn pod(n: u8) -> Endpoint {
    Endpoint::ready([10, 244, 0, n].into())
}

/// Not ready any more, and so on as the word says.
pub(crate) fn unready(n: u8, as_it_is: &str) -> Endpoint {
    let (serving, terminating) = (as_it_is != "down", as_it_is == "draining");
    Endpoint { ready: false, serving, terminating, ..pod(n) }
}

/// The only slice of a Service, of one target port for http.
pub(crate) fn slice(service: &str, target: u16, endpoints: Vec<Endpoint>) -> Event {
    let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let port = |protocol| SlicePort { name: "http".into(), protocol, port: number(target) };
    Event::Applied(Object::EndpointSlice(EndpointSlice {
        name: SliceName::new("shop", &format!("{service}-1")),
        service: ServiceName::new("shop", service),
        family: Family::V4,
        ports: protocols.map(port).into(),
        endpoints,
    }))
}

pub(crate) fn endpoints(service: &str, numbers: &[u8]) -> Event {
    slice(service, 80, numbers.iter().copied().map(pod).collect())
}
