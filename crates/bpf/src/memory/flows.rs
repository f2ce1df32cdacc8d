//! Counts of flows modelled in memory: what the programs add and what the agent clears.
use crate::image::Image;
use sheave_abi::{BackendId, ServiceId};
use sheave_core::Family;
use std::collections::HashMap;

/// New flows by Service port and by backend; what is not in here has none.
#[derive(Debug, Default)]
pub struct Flows {
    services: HashMap<ServiceId, u64>,
    backends: HashMap<(Family, BackendId), u64>,
}

impl Flows {
    /// A flow begins.
    pub fn count(&mut self, family: Family, service: ServiceId, backend: BackendId) {
        *self.services.entry(service).or_default() += 1;
        *self.backends.entry((family, backend)).or_default() += 1;
    }

    /// Flows that began at a Service and at a backend of it.
    #[must_use]
    pub fn of(&self, family: Family, service: ServiceId, backend: BackendId) -> (u64, u64) {
        let of = |count: Option<&u64>| count.copied().unwrap_or_default();
        (of(self.services.get(&service)), of(self.backends.get(&(family, backend))))
    }

    pub(super) fn clear_service(&mut self, service: ServiceId) {
        self.services.remove(&service);
    }

    pub(super) fn clear_backends(&mut self, family: Family, ids: &[BackendId]) {
        self.backends.retain(|(of, id), _| *of != family || !ids.contains(id));
    }

    /// As [`crate::flow_counts::FlowCounts::adopt`].
    pub fn adopt(&mut self, image: &Image) {
        self.services.retain(|id, _| image.key(*id).is_some());
        self.backends.retain(|(family, id), _| image.backend(*family, *id).is_some());
    }
}
