//! How full the maps are that a limit of the configuration governs (I7): headroom, for metrics and status.
use crate::image::Image;
use crate::limits::Limits;
use sheave_core::Family;

/// Entries in use of one map, and how many it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The map's name.
    pub map: &'static str,
    /// Entries in use.
    pub used: usize,
    /// Entries it may have.
    pub max: usize,
}

/// Every map of which the usage is told.
pub const MAPS: [&str; 8] =
    ["frontends_v4", "frontends_v6", "services", "slots", "backends_v4", "backends_v6", "flows_v4", "flows_v6"];

impl Image {
    /// Of the maps that the agent fills. Costs no system call.
    #[must_use]
    pub fn usage(&self, limits: &Limits) -> [Usage; 6] {
        let of = |map, used: u32, max: u32| Usage { map, used: used as usize, max: max as usize };
        [
            of("frontends_v4", self.frontend_entries(Family::V4), limits.frontends_max),
            of("frontends_v6", self.frontend_entries(Family::V6), limits.frontends_max),
            of("services", self.service_ids.used(), limits.services_max),
            of("slots", self.slots_used(), limits.slots_max),
            of("backends_v4", self.backend_ids(Family::V4).used(), limits.backends_max),
            of("backends_v6", self.backend_ids(Family::V6).used(), limits.backends_max),
        ]
    }
}
