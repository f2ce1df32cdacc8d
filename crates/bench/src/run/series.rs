//! What took too long once is not tried again at a larger size.
use super::clock::Limit;
use crate::record::{Backends, Dataplane, Phase, Point, Shape, Work};
use std::time::Duration;

/// Everything that was cut off so far.
#[derive(Default)]
pub(super) struct Series(Vec<Cut>);

/// A measurement that took too long.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) dataplane: Dataplane,
    /// `None` for the set-up, without which no work can begin.
    pub(super) work: Option<Work>,
    pub(super) shape: Shape,
    pub(super) during: Phase,
    pub(super) after: Duration,
    pub(super) limit: Limit,
}

impl Series {
    pub(super) fn note(&mut self, cut: Cut) {
        // The end of the run says nothing about the dataplane.
        if cut.limit == Limit::Point {
            self.0.push(cut);
        }
    }

    /// What forbids trying this, if anything does: the same at this size or a smaller one.
    pub(super) fn forbids(&self, dataplane: Dataplane, work: Option<Work>, shape: Shape) -> Option<Cut> {
        let same = |cut: &&Cut| match work {
            Some(_) => (cut.dataplane, cut.work) == (dataplane, work),
            None => cut.work.is_none() && cut.dataplane.sets_up_like(dataplane),
        };
        let cut = self.0.iter().filter(same).find(|cut| cut.shape.is_within(shape));
        cut.map(|cut| Cut { dataplane, ..*cut })
    }
}

impl Cut {
    /// The point of a work that it stands in the way of.
    pub(super) fn point(&self, work: Work, shape: Shape) -> Point {
        let reason = if self.shape == shape {
            self.limit.text().to_owned()
        } else {
            let Shape { services, backends, .. } = self.shape;
            format!("{}, reached at {services} Services with {backends} already", self.limit.text())
        };
        Point::cut_off(work, self.dataplane, shape, self.during, self.after, reason)
    }
}

impl Shape {
    /// Whether the other one is at least as large in every respect.
    fn is_within(self, other: Self) -> bool {
        let backends = match (self.backends, other.backends) {
            (Backends::Each(a), Backends::Each(b)) => a <= b,
            (a, b) => a == b,
        };
        backends && self.services <= other.services && self.node_port_percent <= other.node_port_percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::SyncOperation;

    #[test]
    fn what_was_cut_off_is_not_tried_where_nothing_is_smaller() {
        let shape = |services, backends| Shape::new(services, backends);
        let work = Some(Work::Sync(SyncOperation::ColdStart));
        let mut series = Series::default();
        series.note(Cut {
            dataplane: Dataplane::Nftables,
            work,
            shape: shape(1000, Backends::Each(10)),
            during: Phase::Operation,
            after: Duration::from_secs(8),
            limit: Limit::Point,
        });
        for (dataplane, asked, at, want) in [
            (Dataplane::Nftables, work, shape(1000, Backends::Each(10)), true),
            (Dataplane::Nftables, work, shape(10_000, Backends::Each(10)), true),
            (Dataplane::Nftables, work, shape(10_000, Backends::Each(1)), false),
            (Dataplane::Nftables, work, shape(100, Backends::Each(250)), false),
            (Dataplane::Nftables, work, shape(10_000, Backends::LoadTestMix), false),
            (Dataplane::Nftables, None, shape(10_000, Backends::Each(10)), false),
            (Dataplane::SheaveEbpf, work, shape(10_000, Backends::Each(10)), false),
        ] {
            assert_eq!(series.forbids(dataplane, asked, at).is_some(), want, "{dataplane} {asked:?} {at:?}");
        }
    }

    #[test]
    fn what_one_variant_cannot_set_up_the_other_cannot_either_and_the_end_of_the_run_forbids_nothing() {
        let shape = Shape::new(10, Backends::Each(1));
        for (limit, want) in [(Limit::Point, true), (Limit::Run, false)] {
            let mut series = Series::default();
            let (dataplane, during, after) = (Dataplane::IptablesNft, Phase::Setup, Duration::from_secs(8));
            series.note(Cut { dataplane, work: None, shape, during, after, limit });
            let forbids = |dataplane| series.forbids(dataplane, None, shape).is_some();
            assert_eq!(forbids(Dataplane::IptablesNftPartial), want, "{limit:?}");
            assert!(!forbids(Dataplane::IptablesLegacy));
        }
    }
}
