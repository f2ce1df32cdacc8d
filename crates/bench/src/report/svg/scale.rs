//! A logarithmic axis: values to pixels, and the ticks that are worth a label.

/// The round values that an axis may begin at, end at and name: 1, 2 and 5 times the powers of ten from 1e-3 to 1e15.
fn round_values() -> impl DoubleEndedIterator<Item = f64> {
    (-3..=15).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)))
}

/// An axis of less would make a few percent look like much.
const SPAN_MIN: f64 = 10.0;

fn below(value: f64) -> f64 {
    round_values().rfind(|round| *round < value * 0.999).unwrap_or(value / 2.0)
}

fn above(value: f64) -> f64 {
    round_values().find(|round| *round > value * 1.001).unwrap_or(value * 2.0)
}

/// Maps values from `low` to `high` to pixels from `start` to `end`, which may run downwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// From the first to the last round value around the values; `None` when no value is above zero.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, start: f64, end: f64) -> Option<Self> {
        let positive = values.into_iter().filter(|value| *value > 0.0);
        let (low, high) = positive.fold(None, |range: Option<(f64, f64)>, value| {
            Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        })?;
        // A marker on the very edge would be cut.
        let (mut low, mut high) = (below(low * 0.9), above(high * 1.1));
        while high / low < SPAN_MIN {
            (low, high) = (below(low), above(high));
        }
        Some(Self { low, high, start, end })
    }

    /// Exactly from `low` to `high`, both above zero.
    pub(super) fn exactly(low: f64, high: f64, start: f64, end: f64) -> Self {
        Self { low, high, start, end }
    }

    /// Where a value lies, in pixels; what lies outside is put on the edge.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        if part.is_finite() { self.start + (self.end - self.start) * part } else { (self.start + self.end) / 2.0 }
    }

    /// Values with a grid line and a label: powers of ten, or 1, 2 and 5 of each on an axis of less than two of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let inside: Vec<_> =
            round_values().filter(|value| *value >= self.low * 0.999 && *value <= self.high * 1.001).collect();
        if decades < 2.0 {
            return inside;
        }
        inside.into_iter().filter(|value| value.log10().fract().abs() < 1e-6).collect()
    }
}

/// The places of labels along an axis, in the order given, moved apart until none is nearer to the next than `gap`, and none
/// outside `low` to `high` as long as there is room.
pub(super) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places: Vec<f64> = order.iter().map(|index| wanted[*index].clamp(low, high)).collect();
    // Neighbours push each other apart by equal parts, so a cluster stays centred on where its labels belong.
    for _ in 0..200 {
        for index in 1..places.len() {
            let lacking = gap - (places[index] - places[index - 1]);
            if lacking > 0.0 {
                places[index - 1] = (places[index - 1] - lacking / 2.0).max(low);
                places[index] = (places[index] + lacking / 2.0).min(high);
            }
        }
    }
    let mut spread = vec![0.0; wanted.len()];
    for (index, place) in order.into_iter().zip(places) {
        spread[index] = place;
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_round_values_and_names_few_of_them() {
        for (name, values, want) in [
            ("many decades", vec![25_000.0, 3e9], vec![1e5, 1e6, 1e7, 1e8, 1e9]),
            ("less than two", vec![21_000.0, 60_000.0], vec![1e4, 2e4, 5e4, 1e5]),
            ("one value", vec![3.0], vec![1.0, 2.0, 5.0, 10.0]),
        ] {
            assert_eq!(Scale::around(values, 0.0, 100.0).unwrap().ticks(), want, "{name}");
        }
        assert!(Scale::around([0.0], 0.0, 1.0).is_none(), "zero has no logarithm");
    }

    #[test]
    fn equal_factors_are_equal_distances() {
        let scale = Scale::exactly(10.0, 1000.0, 100.0, 0.0);
        assert_eq!([10.0, 100.0, 1000.0, 1.0].map(|value| scale.at(value).round()), [100.0, 50.0, 0.0, 100.0]);
        assert_eq!(Scale::exactly(5.0, 5.0, 0.0, 10.0).at(5.0), 5.0, "an axis of one value puts it in the middle");
    }

    #[test]
    fn labels_move_apart_and_stay_in_order() {
        let places = spread(&[50.0, 51.0, 10.0, 99.0], 12.0, 0.0, 100.0);
        assert!(places[1] - places[0] > 11.9 && places[2] == 10.0 && places[3] == 99.0, "{places:?}");
    }
}
