//! How much the maps may hold. Every limit has a name to turn (I7).
use sheave_abi::{BACKENDS_CHUNK, CHUNKS_MAX, SERVICES_CHUNK, SLOTS_CHUNK};
use std::fmt;

/// The most entries sheave puts into each map. They cost nothing until they are used: the maps grow on line. By default there is room for
/// a cluster beyond what Kubernetes can hold; a lower limit keeps what a cluster asks for from taking a node's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Entries of `frontends_v4` and of `frontends_v6`, each: frontends, and addresses that are ours as a whole (A2).
    pub frontends_max: u32,
    /// Service ids: each family of each Service port has one.
    pub services_max: u32,
    /// Slots for backends in blocks; a block has room for the next power of two, at least four.
    pub slots_max: u32,
    /// Entries of `backends_v4` and of `backends_v6`, each.
    pub backends_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frontends_max: 1 << 21, services_max: 1 << 20, slots_max: 1 << 23, backends_max: 1 << 21 }
    }
}

/// A setting that limits a map, as the configuration has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knob {
    /// [`Limits::frontends_max`].
    Frontends,
    /// [`Limits::services_max`].
    Services,
    /// [`Limits::slots_max`].
    Slots,
    /// [`Limits::backends_max`].
    Backends,
    /// Entries of each table of flows; a flow takes two.
    Flows,
}

/// The most buckets of a hash map (`htab_map_alloc`).
const HASH_MAX: u32 = 1 << 31;
/// As many as there can be slots: a hash of so many has 256 MiB of buckets.
const FRONTENDS_MAX: u32 = CHUNKS_MAX * SLOTS_CHUNK;

impl Knob {
    /// All settings.
    pub const ALL: [Self; 5] = [Self::Frontends, Self::Services, Self::Slots, Self::Backends, Self::Flows];

    /// Whether the maps can grow to this value.
    ///
    /// # Errors
    /// A value that leaves room for nothing, or is beyond what the kernel or [`CHUNKS_MAX`] inner arrays hold. Index 0 is
    /// never a Service or backend.
    pub fn check(self, value: u32) -> Result<(), BadLimit> {
        // A flow takes two entries.
        let floor = if self == Self::Flows { 2 } else { 1 };
        let ceiling = self.ceiling();
        let fits = (floor..=ceiling).contains(&value);
        fits.then_some(()).ok_or(BadLimit { knob: self, value, floor, ceiling })
    }

    /// The highest value.
    pub(crate) fn ceiling(self) -> u32 {
        match self {
            Self::Frontends => FRONTENDS_MAX,
            Self::Services => CHUNKS_MAX * SERVICES_CHUNK - 1,
            Self::Slots => CHUNKS_MAX * SLOTS_CHUNK,
            Self::Backends => CHUNKS_MAX * BACKENDS_CHUNK - 1,
            Self::Flows => HASH_MAX,
        }
    }

    /// What takes room there.
    pub(crate) fn counts(self) -> &'static str {
        match self {
            Self::Frontends => "Service ports and addresses",
            Self::Services => "Service ports",
            Self::Slots | Self::Backends => "endpoints",
            Self::Flows => "flows",
        }
    }

    /// What makes a higher value count.
    pub(crate) fn raise(self) -> String {
        match self {
            Self::Frontends | Self::Services | Self::Slots | Self::Backends => {
                format!("raise `{self}` and start the agent again")
            }
            // The programs write these tables: there is no moment at which a larger one holds the same.
            Self::Flows => format!(
                "raise `{self}`, stop the agent, run `sheave cleanup`, which cuts Service traffic, and start the agent \
                 again"
            ),
        }
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontends => "maps.frontendsMax",
            Self::Services => "maps.servicesMax",
            Self::Slots => "maps.slotsMax",
            Self::Backends => "maps.backendsMax",
            Self::Flows => "maps.flowsMax",
        })
    }
}

/// A limit that cannot be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{knob}` is {value}; it must be {floor} to {ceiling}")]
pub struct BadLimit {
    /// The setting.
    pub knob: Knob,
    /// Its value.
    pub value: u32,
    /// The least it can be.
    pub floor: u32,
    /// The most it can be.
    pub ceiling: u32,
}

impl Limits {
    /// Whether the maps can grow to these limits.
    ///
    /// # Errors
    /// As [`Knob::check`], for the first limit that cannot be kept.
    pub fn check(&self) -> Result<(), BadLimit> {
        let Self { frontends_max, services_max, slots_max, backends_max } = *self;
        Knob::Frontends.check(frontends_max)?;
        Knob::Services.check(services_max)?;
        Knob::Slots.check(slots_max)?;
        Knob::Backends.check(backends_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_what_the_maps_can_hold_is_named_with_its_setting() {
        assert_eq!(Limits::default().check(), Ok(()));
        let over = Limits { slots_max: CHUNKS_MAX * SLOTS_CHUNK + 1, ..Limits::default() };
        assert_eq!(over.check().unwrap_err().to_string(), "`maps.slotsMax` is 16777217; it must be 1 to 16777216");
        assert_eq!(Limits { services_max: 0, ..Limits::default() }.check().unwrap_err().knob, Knob::Services);
        for knob in Knob::ALL {
            let error = knob.check(0).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{knob}` is 0; it must be ")), "{error}");
        }
    }
}
