//! How many times one is the other, and how sure that is.
use super::summary::{Quantile, quantile};
use serde::Serialize;

/// With fewer rounds a resampled interval says more about the resampling than about the machine.
pub const ROUNDS_MIN: usize = 5;
const RESAMPLES: usize = 1000;
/// The interval that is told, in thousandths of the resamples: 95 % of them.
const INTERVAL: (usize, usize) = (25, 975);
/// Fixed, so that the same data gives the same report.
const SEED: u64 = 0x5EA7E;

/// The ratio of two medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Median of the one divided by the median of the other.
    pub value: f64,
    /// 95 % interval, by bootstrap; `None` with fewer than [`ROUNDS_MIN`] rounds.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// `of` divided by `to`, one value for each round. Equal numbers of rounds are taken as measured in turns, and a resample
    /// draws the same rounds of both: drift of the machine, which both had, then cancels. `None` when there is no value, or when
    /// a median of zero leaves no ratio.
    pub fn between(of: &[f64], to: &[f64]) -> Option<Self> {
        let value = medians(of, to)?;
        let enough = of.len().min(to.len()) >= ROUNDS_MIN;
        Some(Self { value, interval: if enough { interval(of, to) } else { None } })
    }

    /// Whether it is below 1, as far as the rounds can tell: the whole interval is.
    pub fn is_surely_below_one(self) -> bool {
        self.interval.is_some_and(|(_, high)| high < 1.0)
    }

    /// Whether it is above 1, as far as the rounds can tell: the whole interval is.
    pub fn is_surely_above_one(self) -> bool {
        self.interval.is_some_and(|(low, _)| low > 1.0)
    }
}

fn medians(of: &[f64], to: &[f64]) -> Option<f64> {
    let ratio = Rounds::of(of).median()? / Rounds::of(to).median()?;
    is_ratio(ratio).then_some(ratio)
}

fn is_ratio(ratio: f64) -> bool {
    ratio.is_finite() && ratio > 0.0
}

fn interval(of: &[f64], to: &[f64]) -> Option<(f64, f64)> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let is_paired = of.len() == to.len();
    let (mut of, mut to) = (Rounds::of(of), Rounds::of(to));
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            of.clear();
            to.clear();
            for _ in 0..of.len() {
                let round = random.usize(..of.len());
                of.draw(round);
                if is_paired {
                    to.draw(round);
                }
            }
            for _ in 0..if is_paired { 0 } else { to.len() } {
                to.draw(random.usize(..to.len()));
            }
            let ratio = of.drawn_median() / to.drawn_median();
            is_ratio(ratio).then_some(ratio)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |per_mille: usize| ratios.get(ratios.len().saturating_sub(1) * per_mille / 1000).copied();
    Some((at(INTERVAL.0)?, at(INTERVAL.1)?))
}

/// Values that are resampled without sorting again: a draw is counted at the value's rank.
struct Rounds {
    ascending: Vec<f64>,
    /// For each round, the place of its value.
    ranks: Vec<usize>,
    /// For each place, how often it was drawn.
    drawn: Vec<usize>,
}

impl Rounds {
    fn of(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
        let mut ranks = vec![0; values.len()];
        for (rank, round) in order.iter().enumerate() {
            ranks[*round] = rank;
        }
        Self { ascending: order.iter().map(|round| values[*round]).collect(), ranks, drawn: vec![0; values.len()] }
    }

    fn len(&self) -> usize {
        self.ranks.len()
    }

    fn median(&self) -> Option<f64> {
        quantile(&self.ascending, Quantile::Median)
    }

    fn clear(&mut self) {
        self.drawn.fill(0);
    }

    fn draw(&mut self, round: usize) {
        self.drawn[self.ranks[round]] += 1;
    }

    /// The median of as many draws as there are rounds.
    fn drawn_median(&self) -> f64 {
        let nth = |nth: usize| {
            let mut seen = 0;
            let place = self.drawn.iter().position(|count| {
                seen += count;
                seen > nth
            });
            self.ascending[place.expect("invariant: as many were drawn as there are rounds")]
        };
        f64::midpoint(nth((self.len() - 1) / 2), nth(self.len() / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_that_both_had_cancels_when_they_were_measured_in_turns() {
        let drifting: Vec<f64> = (0..20).map(|round| 100.0 * 1.1f64.powi(round)).collect();
        let twice: Vec<f64> = drifting.iter().map(|value| value * 2.0).collect();
        let paired = Ratio::between(&twice, &drifting).unwrap();
        assert_eq!((paired.value, paired.interval), (2.0, Some((2.0, 2.0))));
        assert!(paired.is_surely_above_one());

        let apart = Ratio::between(&twice[..19], &drifting).unwrap();
        let (low, high) = apart.interval.unwrap();
        assert!(low < 1.5 && high > 2.0, "{apart:?}");
    }

    #[test]
    fn a_ratio_says_no_more_than_its_rounds_do() {
        let same = [10.0, 12.0, 9.0, 11.0, 10.5, 9.5];
        for (name, of, to, want) in [
            ("no rounds", vec![], vec![1.0], None),
            ("nothing to divide by", vec![1.0], vec![0.0], None),
            ("few rounds have no interval", vec![1.0, 1.0], vec![2.0, 2.0], Some((0.5, false))),
            ("the same is neither more nor less", same.to_vec(), same.to_vec(), Some((1.0, true))),
        ] {
            let got = Ratio::between(&of, &to);
            assert_eq!(got.map(|ratio| (ratio.value, ratio.interval.is_some())), want, "{name}");
            assert!(!got.is_some_and(Ratio::is_surely_below_one), "{name}");
            assert!(!got.is_some_and(Ratio::is_surely_above_one), "{name}");
        }
    }
}
