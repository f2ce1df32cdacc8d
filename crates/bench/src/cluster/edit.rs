//! What a round of an operation changes.
use super::sizes::{Sizes, endpoints};
use crate::record::{Backends, Shape, SyncOperation};

/// Endpoints of the Service that a rolling update replaces.
pub const ROLLING_BACKENDS: u32 = 250;
/// In so many steps, one sync each: a Deployment's default maxSurge is 25 %, and pods become ready one after the other, so a
/// proxy sees more steps than four.
pub const ROLLING_STEPS: u32 = 10;
/// A Service of the load test's mix that is neither small nor big.
const MEDIUM: u32 = 30;

/// A change of the cluster, of which a dataplane hears at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// These endpoints (Service, endpoint) are replaced by others, with other addresses.
    Replace(Vec<(u32, u32)>),
    /// One Service more.
    Add {
        /// Its endpoints.
        backends: u32,
    },
    /// That Service is gone again.
    Remove,
}

/// The edits that one round of an operation measures, one sync each. A cold start has none.
#[must_use]
pub fn edits(shape: Shape, seed: u64, operation: SyncOperation, round: u32) -> Vec<Edit> {
    let mut random = fastrand::Rng::with_seed(seed ^ (u64::from(round) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    match operation {
        SyncOperation::ColdStart => Vec::new(),
        SyncOperation::EndpointChanged => {
            let service = random.u32(..shape.services);
            let size = Sizes::new(shape).of(service);
            vec![Edit::Replace(vec![(service, random.u32(..size))])]
        }
        SyncOperation::ServiceAdded => vec![added(shape)],
        SyncOperation::ServiceRemoved => vec![Edit::Remove],
        SyncOperation::RollingUpdate => rolling(shape, &mut random),
        SyncOperation::Churn => vec![Edit::Replace(churn(shape, &mut random))],
    }
}

/// What has to be there before the round, and is not measured.
#[must_use]
pub fn before(shape: Shape, operation: SyncOperation) -> Option<Edit> {
    match operation {
        SyncOperation::ServiceRemoved => Some(added(shape)),
        SyncOperation::RollingUpdate => Some(Edit::Add { backends: ROLLING_BACKENDS }),
        _ => None,
    }
}

/// What takes the round back where the next one could not build on it.
#[must_use]
pub fn after(operation: SyncOperation) -> Option<Edit> {
    matches!(operation, SyncOperation::ServiceAdded | SyncOperation::RollingUpdate).then_some(Edit::Remove)
}

fn added(shape: Shape) -> Edit {
    let Backends::Each(backends) = shape.backends else { return Edit::Add { backends: MEDIUM } };
    Edit::Add { backends }
}

/// Every endpoint of the Service that was added for this, in an order of its own.
fn rolling(shape: Shape, random: &mut fastrand::Rng) -> Vec<Edit> {
    let mut order: Vec<u32> = (0..ROLLING_BACKENDS).collect();
    random.shuffle(&mut order);
    let step = usize::try_from(ROLLING_BACKENDS.div_ceil(ROLLING_STEPS)).expect("invariant: a small number");
    let replace = |endpoints: &[u32]| Edit::Replace(endpoints.iter().map(|nth| (shape.services, *nth)).collect());
    order.chunks(step).map(replace).collect()
}

/// One endpoint out of a hundred, spread over all Services.
fn churn(shape: Shape, random: &mut fastrand::Rng) -> Vec<(u32, u32)> {
    const EVERY: u64 = 100;
    let sizes = Sizes::new(shape);
    let total = endpoints(shape);
    let mut next = random.u64(..EVERY.min(total));
    let (mut service, mut first) = (0, 0_u64);
    let mut chosen = Vec::new();
    while next < total {
        while next >= first + u64::from(sizes.of(service)) {
            first += u64::from(sizes.of(service));
            service += 1;
        }
        chosen.push((service, u32::try_from(next - first).expect("invariant: less than the Service's size")));
        next += EVERY;
    }
    chosen
}
