//! Why a step of a plan is not carried out although the kernel was not asked (I7).
use crate::image::Image;
use crate::limits::Knob;
use crate::ops::Hash;
use sheave_core::{Change, Diagnostic, Frontend, ObjectRef, Problem, ServiceKey};
use std::fmt;
use std::io;
use std::net::IpAddr;

/// A limit, or an order to keep.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// A map has no room for a Service, or for its new set. Nothing of it was written.
    #[error("{full}; {key} {} until then", if *.held { "keeps the backends and frontends it has" } else { "is not served" })]
    Service {
        /// Which Service.
        key: ServiceKey,
        /// Which map.
        full: Full,
        /// Whether an earlier state of it stays in force.
        held: bool,
    },
    /// A map has no room for an address of which every port would be ours (A2).
    #[error("{full}; ports that {addr} does not have are not rejected until then")]
    Vip {
        /// Which address.
        addr: IpAddr,
        /// Which map.
        full: Full,
    },
    /// A map has no room for what holds for the node. All of it stays as it was.
    #[error("{full}; the node keeps the rules, addresses and ServiceCIDRs it has until then")]
    Rules {
        /// Which map.
        full: Full,
    },
    /// A Service port has more backends than a block of slots can hold.
    #[error("{key} has {count} usable endpoints and a Service port can have {max}; spread them over several Services")]
    TooManyBackends {
        /// Which Service.
        key: ServiceKey,
        /// How many it has.
        count: u32,
        /// How many it can have.
        max: u32,
    },
    /// The kernel's table of names takes shorter ones only; one that is cut off could be another one's.
    #[error(
        "{key} has a name of {len} characters and the table of names takes {max}; it is not served, give it a shorter one"
    )]
    LongName {
        /// Which Service.
        key: ServiceKey,
        /// Characters of its name.
        len: usize,
        /// Characters that fit.
        max: usize,
    },
    /// Something still uses what should go: the step that ends that was refused. No fault of this one; planned again.
    #[error("{user} still uses what should go")]
    InUse {
        /// What uses it.
        user: ServiceKey,
    },
    /// The frontend is led elsewhere already; planned again.
    #[error("{frontend} leads elsewhere")]
    Moved {
        /// The frontend.
        frontend: Frontend,
    },
}

/// A map that is full, and what to do. How full it is and how much is missing moves with every other Service, so a
/// diagnostic that said it would be a new one each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("map {map} is full (at most {max}); {remedy}")]
pub struct Full {
    /// The map.
    pub map: &'static str,
    /// Entries it may hold.
    pub max: u32,
    /// What to do.
    pub remedy: Remedy,
}

/// What makes room in a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// A setting.
    Raise(Knob),
    /// Of this there may be no more.
    Fewer(&'static str),
    /// The kernel has no larger one, and says so with this errno(3).
    Memory(i32),
}

impl Remedy {
    /// At a limit of `max`: the setting, as far as it can be raised.
    pub(crate) fn of(knob: Knob, max: u32) -> Self {
        if max < knob.ceiling() { Self::Raise(knob) } else { Self::Fewer(knob.counts()) }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raise(knob) => f.write_str(&knob.raise()),
            Self::Fewer(what) => write!(f, "that many is all it takes: have fewer {what}"),
            Self::Memory(errno) => {
                let cause = io::Error::from_raw_os_error(*errno);
                write!(f, "the kernel makes no larger one ({cause}): free memory, it is tried again")
            }
        }
    }
}

impl Refused {
    /// A hash could not grow, and the change needs the room.
    pub(crate) fn growth(change: &Change, hash: Hash, errno: i32, image: &Image) -> Self {
        let full = Full { map: hash.name(), max: image.room(hash), remedy: Remedy::Memory(errno) };
        match change {
            Change::Serve { key, .. } => Self::full(full, key, image),
            Change::ClaimVip { addr } => Self::Vip { addr: *addr, full },
            _ => unreachable!("invariant: no other change needs room in a hash that grows"),
        }
    }

    pub(crate) fn full(full: Full, key: &ServiceKey, image: &Image) -> Self {
        Self::Service { key: key.clone(), full, held: image.id(key).is_some() }
    }

    /// What to tell the user; nothing for a step that only waits for another one.
    #[must_use]
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        let object = match self {
            Self::Service { key, .. } | Self::TooManyBackends { key, .. } | Self::LongName { key, .. } => {
                ObjectRef::new("Service", &key.port.service.to_string())
            }
            Self::Vip { addr, .. } => ObjectRef::new("VIP", &addr.to_string()),
            Self::Rules { .. } => ObjectRef::new("Node", "this node"),
            Self::InUse { .. } | Self::Moved { .. } => return None,
        };
        let message = self.to_string();
        Some(Diagnostic { object, field: String::new(), problem: Problem::Capacity, message, origin: None })
    }
}
