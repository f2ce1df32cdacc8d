//! What one [`ServiceKey`](crate::ServiceKey) serves: the common language of desired state, plan and dataplanes.
use crate::net::{Backend, Frontend};
use std::collections::BTreeSet;

/// What one family of one Service port serves.
///
/// Wanted in `Desired`, held in a dataplane. Equal means nothing to write (I2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Serving {
    /// Where clients dial. A frontend that lost to another Service (X1) is not in it.
    pub frontends: BTreeSet<Frontend>,
    /// What new flows may pick, uniformly at random (E9). Empty: reject (E11).
    pub pick: BTreeSet<Backend>,
    /// Serving, but not to be picked: flows that already name one of these go on (L2). Disjoint from `pick`.
    pub keep: BTreeSet<Backend>,
}
