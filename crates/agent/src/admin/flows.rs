//! Answers about flows: the counts are read on a thread of their own, and the loop is asked for names and ids alone.
use super::request::{Loop, Request};
use crate::status::flows::moved;
use crate::status::{FlowsStatus, ServiceStatus};
use sheave_bpf::flow_counts::{FlowCounts, ServiceFlows, ServiceId};
use sheave_core::ServiceName;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::warn;

/// Reads the counts, one question after the other.
#[derive(Clone)]
pub(super) struct Flows {
    pub(super) requests: Loop,
    pub(super) counts: Arc<Mutex<FlowCounts>>,
}

impl Flows {
    /// The `top` Service ports with most new flows and refusals: within a time from now on, or ever for no time.
    pub(super) async fn busiest(&self, top: usize, time: Duration) -> FlowsStatus {
        let begun = Instant::now();
        let before = if time.is_zero() { Vec::new() } else { self.services().await };
        sleep(time).await;
        let now = self.services().await;
        let elapsed = (!time.is_zero()).then(|| begun.elapsed());
        let all = moved(&before, &now);
        let ids = all.iter().take(top).map(|moved| moved.id).collect();
        let names = self.requests.ask(|reply| Request::Names(ids, reply)).await.unwrap_or_default();
        FlowsStatus::of(&all, names, elapsed)
    }

    /// Adds what was counted to what is told of a Service's ports.
    pub(super) async fn add_to(&self, service: ServiceName, status: &mut ServiceStatus) {
        let meters = self.requests.ask(|reply| Request::Meters(service, reply)).await.unwrap_or_default();
        let read = self
            .read(move |counts| meters.iter().map(|meter| Ok((meter.key.to_string(), counts.port(meter)?))).collect());
        let counted: Vec<_> = read.await;
        for (name, flows) in counted {
            if let Some(port) = status.ports.iter_mut().find(|port| port.port == name) {
                port.flows = Some(flows.into());
            }
        }
    }

    async fn services(&self) -> Vec<(ServiceId, ServiceFlows)> {
        self.read(FlowCounts::services).await
    }

    /// Nothing of what cannot be read, which is logged.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut FlowCounts) -> io::Result<Vec<T>> + Send + 'static,
    ) -> Vec<T> {
        let counts = Arc::clone(&self.counts);
        let read = spawn_blocking(move || read(&mut counts.lock().unwrap_or_else(PoisonError::into_inner)));
        let read = read.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        read.inspect_err(|error| warn!(%error, "the admin socket tells no flows")).unwrap_or_default()
    }
}
