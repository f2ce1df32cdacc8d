//! Order statistics.
use serde::Serialize;

/// A quantile that is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// A quarter of the values is less.
    Lower,
    /// The middle.
    Median,
    /// A quarter of the values is more.
    Upper,
    /// 1 of 100 values is more.
    P99,
    /// 1 of 1,000 values is more.
    P999,
}

impl Quantile {
    fn per_mille(self) -> usize {
        match self {
            Self::Lower => 250,
            Self::Median => 500,
            Self::Upper => 750,
            Self::P99 => 990,
            Self::P999 => 999,
        }
    }

    /// With fewer values it would only be another name for the largest one.
    fn values_min(self) -> usize {
        match self {
            Self::Lower | Self::Median | Self::Upper => 1,
            Self::P99 => 100,
            Self::P999 => 1000,
        }
    }
}

/// The quantile of values in ascending order, interpolated between neighbours (type 7 of Hyndman and Fan, 1996: what R and NumPy
/// do unless told otherwise). `None` when there are too few values for it.
pub fn quantile(ascending: &[f64], which: Quantile) -> Option<f64> {
    if ascending.len() < which.values_min() {
        return None;
    }
    let place = (ascending.len() - 1) * which.per_mille();
    let (below, part) = (place / 1000, (place % 1000) as f64 / 1000.0);
    let low = ascending[below];
    let high = ascending.get(below + 1).unwrap_or(&low);
    Some(low + (high - low) * part)
}

/// What is shown of a set of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many values.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// A quarter is less.
    pub lower: f64,
    /// The middle.
    pub median: f64,
    /// A quarter is more.
    pub upper: f64,
    /// The most.
    pub max: f64,
    /// 1 of 100 is more; `None` below 100 values.
    pub p99: Option<f64>,
    /// 1 of 1,000 is more; `None` below 1,000 values.
    pub p999: Option<f64>,
}

impl Summary {
    /// `None` for no values. The values are finite.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |which| quantile(&values, which);
        Some(Self {
            count: values.len(),
            min: *values.first()?,
            lower: at(Quantile::Lower)?,
            median: at(Quantile::Median)?,
            upper: at(Quantile::Upper)?,
            max: *values.last()?,
            p99: at(Quantile::P99),
            p999: at(Quantile::P999),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics_agree_with_numpy() {
        // numpy.quantile(x, [0.25, 0.5, 0.75]) of NumPy 2.
        for (values, want) in [
            (vec![7.0], [7.0, 7.0, 7.0]),
            (vec![1.0, 2.0], [1.25, 1.5, 1.75]),
            (vec![3.0, 1.0, 2.0, 4.0], [1.75, 2.5, 3.25]),
            (vec![15.0, 20.0, 35.0, 40.0, 50.0], [20.0, 35.0, 40.0]),
        ] {
            let got = Summary::of(values.iter().copied()).unwrap();
            assert_eq!([got.lower, got.median, got.upper], want, "{values:?}");
        }
    }

    #[test]
    fn a_tail_is_told_only_of_enough_values() {
        let up_to = |count: u32| Summary::of((1..=count).map(f64::from)).unwrap();
        assert_eq!(up_to(99).p99, None);
        assert!((up_to(100).p99.unwrap() - 99.01).abs() < 1e-9);
        assert_eq!(up_to(999).p999, None);
        assert!((up_to(1001).p999.unwrap() - 1000.0).abs() < 1e-9);
        assert_eq!(Summary::of([]), None);
    }
}
