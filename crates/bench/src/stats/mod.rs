//! What can be said of samples: order statistics and ratios, each with its spread, and nothing where there are too few.
mod ratio;
mod summary;

pub use ratio::{ROUNDS_MIN, Ratio};
pub use summary::{Quantile, Summary, quantile};
