//! The Service ports whose flows are measured one by one: those that are wanted, as many as a limit allows.
//!
//! Who has a place keeps it for as long as it is held under its id, so that nothing that is measured comes and goes with the load. A place that
//! becomes free goes to the lowest id that waits.
use crate::image::Image;
use crate::ops::MapOp;
use sheave_abi::ServiceId;
use sheave_core::{ServiceKey, ServiceName};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Wanted = Box<dyn Fn(&ServiceName) -> bool + Send + Sync>;

/// The places, shared by who gives them and who measures.
pub struct Roster {
    wanted: Wanted,
    max: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    given: BTreeMap<ServiceId, ServiceKey>,
    waiting: BTreeMap<ServiceId, ServiceKey>,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("max", &self.max).field("places", &self.places).finish_non_exhaustive()
    }
}

impl Roster {
    /// At most `max` places, for the ports of Services that are `wanted`.
    #[must_use]
    pub fn new(max: usize, wanted: impl Fn(&ServiceName) -> bool + Send + Sync + 'static) -> Self {
        Self { wanted: Box::new(wanted), max, places: Mutex::default() }
    }

    /// Who has a place, by id, and how many wait for one.
    pub fn read(&self) -> (Vec<(ServiceId, ServiceKey)>, usize) {
        let places = self.places();
        (places.given.iter().map(|(id, key)| (*id, key.clone())).collect(), places.waiting.len())
    }

    /// Takes in what is held already.
    pub(crate) fn adopt(&self, image: &Image) {
        image.keys_by_id().for_each(|(id, key)| self.enter(id, key));
    }

    /// Follows an operation that was performed.
    pub(crate) fn note(&self, op: &MapOp) {
        match op {
            MapOp::PutName { service, key } => self.enter(*service, key),
            MapOp::DeleteName { service } => self.leave(*service),
            _ => {}
        }
    }

    fn enter(&self, id: ServiceId, key: &ServiceKey) {
        if !(self.wanted)(&key.port.service) {
            return;
        }
        let mut places = self.places();
        let list = if places.given.len() < self.max { &mut places.given } else { &mut places.waiting };
        list.insert(id, key.clone());
    }

    fn leave(&self, id: ServiceId) {
        let mut places = self.places();
        places.waiting.remove(&id);
        if places.given.remove(&id).is_some()
            && let Some((id, key)) = places.waiting.pop_first()
        {
            places.given.insert(id, key);
        }
    }

    /// Each change is one insertion or removal: what a thread that panicked has left is whole.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn put(id: u32, service: &str) -> MapOp {
        MapOp::PutName { service: of(id), key: format!("{service}:http/TCP/IPv4").parse().unwrap() }
    }

    fn of(id: u32) -> ServiceId {
        ServiceId(NonZeroU32::new(id).unwrap())
    }

    fn shown(roster: &Roster) -> String {
        let (given, waiting) = roster.read();
        let given: Vec<_> = given.iter().map(|(id, key)| format!("{} {}", id.0, key.port.service.name)).collect();
        format!("{}; {waiting} wait", given.join(", "))
    }

    #[test]
    fn a_place_is_kept_until_its_service_goes_and_then_goes_to_the_lowest_id_that_waits() {
        let roster = Roster::new(2, |service| &*service.namespace == "shop");
        for (op, want) in [
            (put(5, "shop/a"), "5 a; 0 wait"),
            (put(2, "back/b"), "5 a; 0 wait"),
            (put(4, "shop/c"), "4 c, 5 a; 0 wait"),
            (put(3, "shop/d"), "4 c, 5 a; 1 wait"),
            (put(1, "shop/e"), "4 c, 5 a; 2 wait"),
            (MapOp::DeleteName { service: of(2) }, "4 c, 5 a; 2 wait"),
            (MapOp::DeleteName { service: of(5) }, "1 e, 4 c; 1 wait"),
            (MapOp::DeleteName { service: of(3) }, "1 e, 4 c; 0 wait"),
            (MapOp::DeleteName { service: of(1) }, "4 c; 0 wait"),
            (put(1, "shop/f"), "1 f, 4 c; 0 wait"),
        ] {
            roster.note(&op);
            assert_eq!(shown(&roster), want, "after {op:?}");
        }
    }

    #[test]
    fn what_is_held_at_start_has_its_places_by_id() {
        let mut image = Image::default();
        [put(7, "shop/a"), put(3, "shop/b"), put(5, "shop/c")].iter().for_each(|op| image.commit(op));
        let roster = Roster::new(2, |_| true);
        roster.adopt(&image);
        assert_eq!(shown(&roster), "3 b, 5 c; 1 wait");
    }
}
