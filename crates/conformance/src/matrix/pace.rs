//! How long to wait on a machine that is slower than others: one factor, at every place where the matrix waits.
use std::time::Duration;

/// How many times longer than usual whatever has a deadline may take. It changes what is waited for and never what has to come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace(u8);

impl Default for Pace {
    /// That of a machine with processors of its own.
    fn default() -> Self {
        Self(1)
    }
}

impl Pace {
    /// So many times longer; 0 counts as 1.
    #[must_use]
    pub fn times(factor: u8) -> Self {
        Self(factor.max(1))
    }

    /// A limit as it is here.
    #[must_use]
    pub(super) fn of(self, limit: Duration) -> Duration {
        limit * u32::from(self.0)
    }
}
