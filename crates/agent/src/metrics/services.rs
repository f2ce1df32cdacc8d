//! Flows of the Service ports in the roster, read from the kernel at each scrape.
//!
//! Nothing is summed into a series "others": it would lose what was counted of a Service that goes, and a counter must not go back.
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, Opts};
use sheave_bpf::flow_counts::ServiceFlows;
use sheave_core::ServiceKey;

/// What the programs count of Service ports, read anew.
pub type ReadServices = Box<dyn Fn() -> ServicesRead + Send + Sync>;

/// The Service ports that are measured.
#[derive(Clone, Debug, Default)]
pub struct ServicesRead {
    /// Those that have a place, with what was counted of them.
    pub ports: Vec<(ServiceKey, ServiceFlows)>,
    /// How many are named and have none.
    pub omitted: usize,
}

const PORT: [&str; 5] = ["namespace", "service", "port", "protocol", super::family::IP_FAMILY];

/// The metrics of one scrape: made anew each time, so that two scrapes at a time do not add to each other.
struct Shape {
    begun: IntCounterVec,
    refused: IntCounterVec,
    omitted: IntGauge,
}

pub(super) struct Services {
    read: ReadServices,
    /// Never counted in; it says what the metrics are.
    shape: Shape,
}

impl Services {
    pub(super) fn new(read: ReadServices) -> Self {
        Self { read, shape: Shape::new() }
    }
}

impl Shape {
    fn new() -> Self {
        let counters = |name, help, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("invariant: names and labels are ours, and valid")
        };
        let begun = "New flows of a Service port that got a backend on this node, since it is held; of Services in `serviceMetrics`";
        let refused =
            "Packets and connections to a Service port that were refused or dropped, by reason; of the same Services";
        let omitted = "Service ports that `serviceMetrics.services` names and `serviceMetrics.max` leaves out";
        let reasons: Vec<_> = PORT.into_iter().chain(["reason"]).collect();
        Self {
            begun: counters("sheave_service_new_flows_total", begun, &PORT),
            refused: counters("sheave_service_refused_total", refused, &reasons),
            omitted: IntGauge::new("sheave_service_metrics_omitted", omitted).expect("invariant: a valid name"),
        }
    }

    fn add(&self, key: &ServiceKey, flows: &ServiceFlows) {
        let ServiceFlows { begun, rejected, no_local_endpoint, source_range } = *flows;
        let (port, protocol) = (&key.port, key.port.protocol.as_str());
        let family = crate::health::family_name(key.family);
        let labels = [&*port.service.namespace, &*port.service.name, &*port.port, protocol, family];
        self.begun.with_label_values(&labels).inc_by(begun);
        let reasons =
            [("no_endpoint", rejected), ("no_local_endpoint", no_local_endpoint), ("source_range", source_range)];
        for (reason, count) in reasons {
            let labels: Vec<_> = labels.into_iter().chain([reason]).collect();
            self.refused.with_label_values(&labels).inc_by(count);
        }
    }
}

impl Collector for Services {
    fn desc(&self) -> Vec<&Desc> {
        let Shape { begun, refused, omitted } = &self.shape;
        [begun.desc(), refused.desc(), omitted.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (shape, read) = (Shape::new(), (self.read)());
        read.ports.iter().for_each(|(key, flows)| shape.add(key, flows));
        shape.omitted.set(super::family::as_gauge(read.omitted));
        [shape.begun.collect(), shape.refused.collect(), shape.omitted.collect()].concat()
    }
}
