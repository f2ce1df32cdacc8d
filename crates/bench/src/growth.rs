//! How a cost grows with the cluster: the exponent *e* in cost ~ N^*e*.
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Two sizes always lie on a line, and one more leaves the line a single degree of freedom.
pub const SIZES_MIN: usize = 3;
/// With fewer sizes Student's t makes the interval so wide that it says nothing.
pub const INTERVAL_SIZES_MIN: usize = 4;

/// The slope of log cost over log size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// Least squares over all sizes: 0 is a cost that does not grow, 1 one that grows as the cluster does.
    pub exponent: f64,
    /// 95 % interval of the exponent, from how far the sizes lie off the line; `None` below [`INTERVAL_SIZES_MIN`] sizes.
    pub interval: Option<(f64, f64)>,
    /// The slope between the two largest sizes alone. A constant part of the cost hides growth at small sizes, so this is
    /// nearer to what happens beyond the largest one.
    pub tail: f64,
    /// How many sizes.
    pub sizes: usize,
    /// The least size and the largest.
    pub range: (f64, f64),
}

/// Why there is no exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFew {
    /// Fewer sizes than a line needs.
    #[error("{found} of the {SIZES_MIN} sizes that an exponent needs; add sizes to the scenario")]
    Sizes {
        /// Different sizes with a cost above zero.
        found: usize,
    },
}

impl Growth {
    /// From (size, cost) pairs, in any order, one for each size. Pairs that have no logarithm are left out.
    ///
    /// # Errors
    /// [`TooFew`] with fewer than [`SIZES_MIN`] different sizes.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Result<Self, TooFew> {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(size, cost)| *size > 0.0 && *cost > 0.0).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        let logs: Vec<_> = pairs.iter().map(|(size, cost)| (size.ln(), cost.ln())).collect();
        let (Some(first), [.., before, last], true) = (pairs.first(), logs.as_slice(), logs.len() >= SIZES_MIN) else {
            return Err(TooFew::Sizes { found: pairs.len() });
        };
        let (exponent, error) = least_squares(&logs);
        let interval = half_width(logs.len(), error).map(|half| (exponent - half, exponent + half));
        let tail = (last.1 - before.1) / (last.0 - before.0);
        Ok(Self { exponent, interval, tail, sizes: logs.len(), range: (first.0, last.0.exp().round()) })
    }
}

/// The slope and its standard error, of at least three points with different x.
fn least_squares(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let off: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    (slope, (off / (count - 2.0) / spread).sqrt())
}

fn half_width(sizes: usize, error: f64) -> Option<f64> {
    if sizes < INTERVAL_SIZES_MIN {
        return None;
    }
    let student = StudentsT::new(0.0, 1.0, (sizes - 2) as f64).ok()?;
    Some(student.inverse_cdf(0.975) * error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(cost: fn(f64) -> f64, sizes: &[f64]) -> Growth {
        Growth::of(sizes.iter().map(|size| (*size, cost(*size)))).unwrap()
    }

    #[test]
    fn the_exponent_of_a_power_is_that_power() {
        let sizes = [10.0, 100.0, 1e3, 1e4, 1e5];
        for (name, cost, want) in [
            ("constant", (|_| 21.0) as fn(f64) -> f64, 0.0),
            ("linear", |n| 3.0 * n, 1.0),
            ("square", |n| n * n, 2.0),
            ("root", f64::sqrt, 0.5),
        ] {
            let got = grown(cost, &sizes);
            let (low, high) = got.interval.unwrap();
            for value in [got.exponent, got.tail, low, high] {
                assert!((value - want).abs() < 1e-6, "{name}: {got:?}");
            }
            assert_eq!((got.sizes, got.range), (5, (10.0, 1e5)), "{name}");
        }
    }

    #[test]
    fn a_constant_part_hides_growth_from_the_exponent_but_not_from_the_tail() {
        let got = grown(|n| 5e6 + 45e3 * n, &[10.0, 1e3, 1e4, 1e5]);
        assert!(got.exponent < 0.8 && got.tail > 0.95, "{got:?}");
    }

    #[test]
    fn the_interval_is_that_of_a_text_book() {
        // scipy.stats.linregress on the logarithms: slope 0.98, stderr 0.0424264; scipy.stats.t.ppf(0.975, 2): 4.3026527.
        let costs = [1.0f64, 2.1, 2.9, 4.0].map(f64::exp);
        let sizes = [1.0f64, 2.0, 3.0, 4.0].map(f64::exp);
        let got = Growth::of(sizes.into_iter().zip(costs)).unwrap();
        let (low, high) = got.interval.unwrap();
        assert!((got.exponent - 0.98).abs() < 1e-9, "{got:?}");
        assert!((high - low - 2.0 * 4.302_652_73 * 0.042_426_406_9).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn too_few_sizes_are_said_to_be_too_few() {
        let twice = [(10.0, 1.0), (10.0, 2.0), (100.0, 1.0), (1000.0, 0.0)];
        assert_eq!(Growth::of(twice), Err(TooFew::Sizes { found: 2 }));
        assert_eq!(Growth::of([]), Err(TooFew::Sizes { found: 0 }));
        assert_eq!(grown(|n| n, &[1.0, 10.0, 100.0]).interval, None, "three sizes have no interval");
    }
}
