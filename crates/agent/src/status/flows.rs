//! How many flows Services and backends got: what the admin socket tells of the programs' counts.
use serde::{Deserialize, Serialize};
use sheave_bpf::flow_counts::{PortFlows, ServiceFlows, ServiceId};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// The busiest Service ports: `GET /v1/flows`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowsStatus {
    /// For how long it was looked; 0: at what was counted since each of them is held.
    pub seconds: f64,
    /// Service ports that had new flows or refusals in that time.
    pub moved: usize,
    /// The first of them: by new flows and refusals in that time.
    pub ports: Vec<BusyPort>,
}

/// One of the busiest Service ports.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BusyPort {
    /// `NAMESPACE/NAME:PORT/PROTOCOL/FAMILY`.
    pub port: String,
    /// New flows per second; null if it was not looked for a time.
    pub per_second: Option<f64>,
    /// Refusals per second, whatever the reason; null the same.
    pub refused_per_second: Option<f64>,
    /// What was counted since it is held.
    #[serde(flatten)]
    pub flows: FlowCountsStatus,
}

/// What was counted of a Service port since it is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowCountsStatus {
    /// Flows that got a backend, each once.
    pub new_flows: u64,
    /// Refused: no endpoint is usable (E11).
    pub rejected: u64,
    /// Dropped: no usable endpoint on this node (E4, E5).
    pub no_local_endpoint: u64,
    /// Dropped: the source may not dial this address (R8).
    pub source_range: u64,
}

/// What was counted of a Service port and of its backends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortFlowsStatus {
    /// Since it is held, those of backends that are gone among them.
    #[serde(flatten)]
    pub flows: FlowCountsStatus,
    /// New flows of each backend since it serves, by `ADDRESS:PORT`.
    pub backends: BTreeMap<String, u64>,
}

impl From<ServiceFlows> for FlowCountsStatus {
    fn from(flows: ServiceFlows) -> Self {
        let ServiceFlows { begun, rejected, no_local_endpoint, source_range } = flows;
        Self { new_flows: begun, rejected, no_local_endpoint, source_range }
    }
}

impl From<PortFlows> for PortFlowsStatus {
    fn from(PortFlows { service, backends }: PortFlows) -> Self {
        let backends = backends.into_iter().map(|(backend, flows)| (backend.to_string(), flows));
        Self { flows: service.into(), backends: backends.collect() }
    }
}

impl FlowCountsStatus {
    /// New flows, and refusals whatever the reason.
    #[must_use]
    pub fn tally(&self) -> [u64; 2] {
        let Self { new_flows, rejected, no_local_endpoint, source_range } = *self;
        [new_flows, rejected.saturating_add(no_local_endpoint).saturating_add(source_range)]
    }
}

/// A Service port that had new flows or refusals, and how many in the time it was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    pub(crate) id: ServiceId,
    pub(crate) flows: FlowCountsStatus,
    by: [u64; 2],
}

/// What has moved between two readings of the counts, both by id, the busiest first. An id that began anew meanwhile, with less than before, is
/// another Service's.
pub(crate) fn moved(before: &[(ServiceId, ServiceFlows)], now: &[(ServiceId, ServiceFlows)]) -> Vec<Moved> {
    let before: BTreeMap<ServiceId, ServiceFlows> = before.iter().copied().collect();
    let difference = |(id, flows): &(ServiceId, ServiceFlows)| {
        let was = FlowCountsStatus::from(before.get(id).copied().unwrap_or_default()).tally();
        let flows = FlowCountsStatus::from(*flows);
        let [new, refused] = flows.tally();
        let by = if new < was[0] || refused < was[1] { [new, refused] } else { [new - was[0], refused - was[1]] };
        (by != [0, 0]).then_some(Moved { id: *id, flows, by })
    };
    let mut moved: Vec<_> = now.iter().filter_map(difference).collect();
    moved.sort_by_key(|moved| (Reverse(moved.by[0].saturating_add(moved.by[1])), moved.id));
    moved
}

impl FlowsStatus {
    /// Of what has moved: the first ones, with the names they have; who has none any more is left out.
    pub(crate) fn of(moved: &[Moved], names: Vec<Option<String>>, elapsed: Option<Duration>) -> Self {
        let per_second = |count: u64| Some(count as f64 / elapsed?.as_secs_f64().max(f64::EPSILON));
        let port = |(moved, port): (&Moved, Option<String>)| {
            let [new, refused] = moved.by.map(per_second);
            Some(BusyPort { port: port?, per_second: new, refused_per_second: refused, flows: moved.flows })
        };
        let ports = moved.iter().zip(names).filter_map(port).collect();
        Self { seconds: elapsed.unwrap_or_default().as_secs_f64(), moved: moved.len(), ports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn counted(rows: &[(u32, u64, u64)]) -> Vec<(ServiceId, ServiceFlows)> {
        let flows = |begun, rejected| ServiceFlows { begun, rejected, ..ServiceFlows::default() };
        rows.iter().map(|(id, new, no)| (ServiceId(NonZeroU32::new(*id).unwrap()), flows(*new, *no))).collect()
    }

    #[test]
    fn what_moved_most_between_two_readings_comes_first_with_its_rates() {
        let before = counted(&[(1, 1000, 0), (2, 10, 0), (3, 50, 7), (5, 9, 0)]);
        let now = counted(&[(1, 1000, 0), (2, 30, 0), (3, 50, 11), (4, 2, 0), (5, 3, 0)]);
        let moved = moved(&before, &now);
        let shown: Vec<_> = moved.iter().map(|moved| (moved.id.0.get(), moved.by)).collect();
        assert_eq!(shown, [(2, [20, 0]), (3, [0, 4]), (5, [3, 0]), (4, [2, 0])], "1 stood still, 5 is another's");
        let names = vec![Some("two".to_owned()), None];
        let status = FlowsStatus::of(&moved, names, Some(Duration::from_secs(2)));
        assert_eq!((status.seconds, status.moved, status.ports.len()), (2.0, 4, 1));
        let BusyPort { port, per_second, refused_per_second, flows } = &status.ports[0];
        assert_eq!((&**port, *per_second, *refused_per_second, flows.new_flows), ("two", Some(10.0), Some(0.0), 30));
    }

    #[test]
    fn without_a_time_the_totals_are_told_and_no_rates() {
        let moved = moved(&[], &counted(&[(1, 3, 1), (2, 40, 0)]));
        let status = FlowsStatus::of(&moved, vec![Some("a".to_owned()), Some("b".to_owned())], None);
        let ports: Vec<_> = status.ports.iter().map(|port| (&*port.port, port.per_second)).collect();
        assert_eq!((ports, status.seconds), (vec![("a", None), ("b", None)], 0.0));
        let json = serde_json::to_value(&status.ports[1]).unwrap();
        let want = serde_json::json!({ "port": "b", "perSecond": null, "refusedPerSecond": null, "newFlows": 3,
                                       "rejected": 1, "noLocalEndpoint": 0, "sourceRange": 0 });
        assert_eq!(json, want);
    }
}
