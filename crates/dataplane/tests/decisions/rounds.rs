//! Histories of a small world, and packets to ask about on the way.
use crate::world::{event, packet};
use proptest::collection::vec;
use proptest::prelude::*;
use sheave_core::{Event, Packet};

/// What happens at once, and packets after it was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) events: Vec<Event>,
    pub(crate) packets: Vec<Packet>,
    /// Where packets that are aimed at a frontend come from.
    pub(crate) aimed: Vec<(Packet, prop::sample::Index)>,
}

pub(crate) fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let aimed = vec((packet(), any::<prop::sample::Index>()), 12);
    let round = (vec(event(), 1..8), vec(packet(), 12), aimed);
    vec(round.prop_map(|(events, packets, aimed)| Round { events, packets, aimed }), 1..6)
}
