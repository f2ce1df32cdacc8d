//! What leads packets to Services and is not to be written yet: at a first start, until every device has its programs.
//!
//! Only the last word about each key is kept. To repeat all of them later would lead an address, for a moment, to whoever has the Service
//! id by then.
use crate::ops::MapOp;
use ipnet::IpNet;
use sheave_core::Frontend;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The entry an operation is about. Frontends come first: a port is served before the rest of its address is rejected (A2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Frontend(Frontend),
    Vip(IpAddr),
    ServiceCidr(IpNet),
}

/// Operations that wait, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Withheld(BTreeMap<Place, MapOp>);

impl Withheld {
    /// Takes an operation that says where packets are led, to a Service or to a refusal; false for the others, which only say
    /// what is there when they are.
    pub(crate) fn take(&mut self, op: &MapOp) -> bool {
        let (place, puts) = match op {
            MapOp::PutFrontend { frontend, .. } => (Place::Frontend(*frontend), true),
            MapOp::DeleteFrontend { frontend } => (Place::Frontend(*frontend), false),
            MapOp::PutVip { addr } => (Place::Vip(*addr), true),
            MapOp::DeleteVip { addr } => (Place::Vip(*addr), false),
            MapOp::PutRange { service: None, range } => (Place::ServiceCidr(*range), true),
            MapOp::DeleteRange { service: None, range } => (Place::ServiceCidr(*range), false),
            _ => return false,
        };
        // Of an entry that was not written there is nothing to delete.
        let unwritten = !puts && matches!(self.0.get(&place), Some(held) if is_put(held));
        match unwritten {
            true => drop(self.0.remove(&place)),
            false => drop(self.0.insert(place, op.clone())),
        }
        true
    }

    /// What is left to be written, in order.
    pub(crate) fn into_ops(self) -> Vec<MapOp> {
        self.0.into_values().collect()
    }
}

fn is_put(op: &MapOp) -> bool {
    matches!(op, MapOp::PutFrontend { .. } | MapOp::PutVip { .. } | MapOp::PutRange { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(last: u8) -> IpAddr {
        [10, 96, 0, last].into()
    }

    #[test]
    fn only_the_last_word_about_an_address_is_written() {
        let mut withheld = Withheld::default();
        for op in [
            MapOp::PutVip { addr: vip(2) },
            MapOp::PutVip { addr: vip(1) },
            MapOp::DeleteVip { addr: vip(2) },
            MapOp::PutVip { addr: vip(3) },
            MapOp::DeleteVip { addr: vip(3) },
            MapOp::PutVip { addr: vip(3) },
        ] {
            assert!(withheld.take(&op), "{op:?}");
        }
        assert_eq!(withheld.into_ops(), [MapOp::PutVip { addr: vip(1) }, MapOp::PutVip { addr: vip(3) }]);
    }

    #[test]
    fn what_leads_nowhere_is_not_withheld() {
        let mut withheld = Withheld::default();
        assert!(!withheld.take(&MapOp::DeleteAddr { addr: vip(1) }));
        assert!(withheld.into_ops().is_empty());
    }
}
