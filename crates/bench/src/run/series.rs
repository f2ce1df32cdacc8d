//! What took too long once is not tried again at a larger size.
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
}

impl Series {
    pub(super) fn note(&mut self, cut: Cut) {
        self.0.push(cut);
    }

    /// What forbids trying this, if anything does: the same at this size or a smaller one.
    pub(super) fn forbids(&self, dataplane: Dataplane, work: Option<Work>, shape: Shape) -> Option<Cut> {
        let same = |cut: &&Cut| (cut.dataplane, cut.work) == (dataplane, work) && cut.shape.is_within(shape);
        self.0.iter().find(same).copied()
    }
}

impl Cut {
    /// The point of a work that it stands in the way of.
    pub(super) fn point(&self, work: Work, shape: Shape) -> Point {
        let reason = if self.shape == shape {
            "the limit for one point".to_owned()
        } else {
            let Shape { services, backends, .. } = self.shape;
            format!("the limit for one point, reached at {services} Services with {backends} already")
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
}
