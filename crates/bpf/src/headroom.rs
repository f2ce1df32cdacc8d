//! How full the maps are: what is used of each, and what it may hold at most (I7).
use crate::image::Image;
use crate::limits::Limits;
use sheave_abi::{NODE_ADDRS_MAX, RANGES_MAX};
use sheave_core::Family;
use sheave_dataplane::Room;

/// The maps that the agent fills, in an order that stays. Costs the same however much they hold, the node's addresses apart.
#[must_use]
pub fn rooms(image: &Image, limits: &Limits) -> Vec<Room> {
    let [v4, v6] = Family::ALL;
    let room = |map, used: u32, max: u32| Room { map, used: used.into(), max: max.into() };
    vec![
        room("frontends_v4", image.frontend_entries(v4), limits.frontends_max),
        room("frontends_v6", image.frontend_entries(v6), limits.frontends_max),
        room("services", image.services_used(), limits.services_max),
        room("slots", image.slots_used(), limits.slots_max),
        room("backends_v4", image.backend_ids(v4).used(), limits.backends_max),
        room("backends_v6", image.backend_ids(v6).used(), limits.backends_max),
        room("ranges_v4", image.range_entries(v4), RANGES_MAX),
        room("ranges_v6", image.range_entries(v6), RANGES_MAX),
        room("node_addrs_v4", image.addr_entries(v4), NODE_ADDRS_MAX),
        room("node_addrs_v6", image.addr_entries(v6), NODE_ADDRS_MAX),
    ]
}
