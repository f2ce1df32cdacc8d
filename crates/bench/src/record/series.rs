//! The values of one quantity, and how a file has them.
use super::{Quantity, Unit};
use serde::{Deserialize, Serialize, Serializer};

/// The values of one quantity at one point, in the order in which they were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Series {
    /// The quantity's unit, for whoever reads the file without this program.
    pub unit: Unit,
    /// Finite and not negative.
    pub values: Vec<f64>,
    /// How many of the values each round gave; empty when each gave one.
    pub per_round: Vec<u32>,
}

impl Series {
    /// The values of each round.
    pub fn rounds(&self) -> Vec<&[f64]> {
        if self.per_round.is_empty() {
            return self.values.chunks(1).collect();
        }
        let mut rest = self.values.as_slice();
        let take = |count: &u32| {
            let (round, later) = rest.split_at(usize::try_from(*count).unwrap_or(usize::MAX).min(rest.len()));
            rest = later;
            round
        };
        self.per_round.iter().map(take).collect()
    }

    /// What is wrong with it, if anything: where, and what.
    pub(super) fn fault(&self, quantity: Quantity) -> Option<(String, String)> {
        if self.unit != quantity.unit() {
            return Some(("unit".into(), format!("{:?}, but this quantity is in {:?}", self.unit, quantity.unit())));
        }
        if let Some(at) = self.values.iter().position(|value| !value.is_finite() || *value < 0.0) {
            return Some((format!("values[{at}]"), format!("{} is not a finite number from 0 up", self.values[at])));
        }
        let told: u64 = self.per_round.iter().map(|count| u64::from(*count)).sum();
        let is_whole = self.per_round.is_empty() || told == self.values.len() as u64;
        (!is_whole)
            .then(|| ("per_round".into(), format!("adds up to {told}, but there are {} values", self.values.len())))
    }

    pub(super) fn append(&mut self, other: &Self) {
        if !(self.per_round.is_empty() && other.per_round.is_empty()) {
            self.tell_rounds();
            let mut other = other.clone();
            other.tell_rounds();
            self.per_round.extend(other.per_round);
        }
        self.values.extend(&other.values);
    }

    fn tell_rounds(&mut self) {
        if self.per_round.is_empty() {
            self.per_round = vec![1; self.values.len()];
        }
    }
}

/// A series in a file. Equal values that follow each other are written once, with their number: a round of connections has
/// thousands of latencies, of three digits each.
#[derive(Serialize, Deserialize)]
struct Written {
    unit: Unit,
    #[serde(serialize_with = "whole_if_whole")]
    values: Vec<f64>,
    /// How often each of the values follows itself; empty when each stands once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    per_round: Vec<u32>,
}

/// More values than a run of a day has; a file that claims more is not believed.
const VALUES_MAX: u64 = 1 << 24;

/// A series that no run has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum SeriesError {
    #[error("`times` has {times} entries for {values} values")]
    Times { times: usize, values: usize },
    #[error("`times` adds up to {total} values, and no series has more than {VALUES_MAX}")]
    TooMany { total: u64 },
}

impl TryFrom<Written> for Series {
    type Error = SeriesError;

    fn try_from(written: Written) -> Result<Self, SeriesError> {
        let Written { unit, values, times, per_round } = written;
        if times.is_empty() {
            return Ok(Self { unit, values, per_round });
        }
        if times.len() != values.len() {
            return Err(SeriesError::Times { times: times.len(), values: values.len() });
        }
        let total = times.iter().map(|count| u64::from(*count)).sum();
        if total > VALUES_MAX {
            return Err(SeriesError::TooMany { total });
        }
        let repeated = |(value, count): (f64, u32)| std::iter::repeat_n(value, usize::try_from(count).unwrap_or(0));
        Ok(Self { unit, values: values.into_iter().zip(times).flat_map(repeated).collect(), per_round })
    }
}

impl From<Series> for Written {
    fn from(Series { unit, values, per_round }: Series) -> Self {
        let runs: Vec<&[f64]> = values.chunk_by(|a, b| a == b).collect();
        if runs.len() == values.len() || per_round.is_empty() {
            return Self { unit, values, times: Vec::new(), per_round };
        }
        let times = runs.iter().map(|run| u32::try_from(run.len()).unwrap_or(u32::MAX)).collect();
        Self { unit, values: runs.iter().map(|run| run[0]).collect(), times, per_round }
    }
}

/// `21` rather than `21.0`: most samples are whole numbers, and the file is kept in the repository.
fn whole_if_whole<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Number {
        Whole(i64),
        Other(f64),
    }
    /// Beyond this a float does not hold every whole number.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    let number = |value: &f64| match format!("{value:.0}").parse() {
        Ok(whole) if value.fract() == 0.0 && value.abs() < WHOLE_MAX => Number::Whole(whole),
        _ => Number::Other(*value),
    };
    serializer.collect_seq(values.iter().map(number))
}
