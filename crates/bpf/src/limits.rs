//! How much the maps may hold. Every limit has a name to turn (I7).
use sheave_abi::{BACKENDS_CHUNK, CHUNKS_MAX, SERVICES_CHUNK, SLOTS_CHUNK};

/// The most entries sheave puts into each map. What is not used costs nothing: the arrays grow chunk by chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Entries of `frontends_v4` and of `frontends_v6`, each: frontends, and addresses that are ours as a whole (A2).
    pub frontends_max: u32,
    /// Service ids: each family of each Service port has one.
    pub services_max: u32,
    /// Slots for backends in blocks; a block has room for the next power of two.
    pub slots_max: u32,
    /// Entries of `backends_v4` and of `backends_v6`, each.
    pub backends_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frontends_max: 1 << 18, services_max: 1 << 18, slots_max: 1 << 22, backends_max: 1 << 21 }
    }
}

/// A limit is higher than the map can grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`maps.{knob}` is {value}; it must be 1 to {ceiling}")]
pub struct BadLimit {
    /// The setting.
    pub knob: &'static str,
    /// Its value.
    pub value: u32,
    /// The most it can be.
    pub ceiling: u32,
}

impl Limits {
    /// Whether the maps can grow to these limits.
    ///
    /// # Errors
    /// The first limit that is zero or beyond what [`CHUNKS_MAX`] inner arrays hold. Index 0 is never a Service or backend.
    pub fn check(&self) -> Result<(), BadLimit> {
        let ceilings = [
            ("frontends_max", self.frontends_max, u32::MAX),
            ("services_max", self.services_max, CHUNKS_MAX * SERVICES_CHUNK - 1),
            ("slots_max", self.slots_max, CHUNKS_MAX * SLOTS_CHUNK),
            ("backends_max", self.backends_max, CHUNKS_MAX * BACKENDS_CHUNK - 1),
        ];
        match ceilings.into_iter().find(|(_, value, ceiling)| !(1..=*ceiling).contains(value)) {
            Some((knob, value, ceiling)) => Err(BadLimit { knob, value, ceiling }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_beyond_what_the_maps_can_hold_is_named_with_its_setting() {
        assert_eq!(Limits::default().check(), Ok(()));
        let over = Limits { slots_max: CHUNKS_MAX * SLOTS_CHUNK + 1, ..Limits::default() };
        assert_eq!(over.check().unwrap_err().to_string(), "`maps.slots_max` is 16777217; it must be 1 to 16777216");
        assert_eq!(Limits { services_max: 0, ..Limits::default() }.check().unwrap_err().knob, "services_max");
    }
}
