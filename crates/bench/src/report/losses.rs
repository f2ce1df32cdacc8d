//! Where a peer is better than sheave.
use super::comparison::{Machine, Panel, Spot};
use super::figure;
use super::measure::Measure;
use crate::record::{Dataplane, Work};
use crate::stats::Ratio;

/// A peer that is better by one measure of one work, at one size or more.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) work: Work,
    pub(crate) measure: Measure,
    pub(crate) peer: Dataplane,
    /// Other peers that are better by the same measure.
    pub(crate) also: Vec<Dataplane>,
    /// What was held: `10 backends each`.
    pub(crate) held: String,
    /// `at 10 and 100 Services`, of all that were compared.
    pub(crate) sizes: String,
    /// The size with the largest difference, with the axis.
    pub(crate) worst: String,
    /// There.
    pub(crate) peer_value: String,
    /// There; or why there is none.
    pub(crate) own_value: String,
    /// Peer to sheave, there; `None` when sheave has no figure.
    pub(crate) ratio: Option<Ratio>,
    /// Whether the difference is larger than the spread.
    pub(crate) sure: bool,
}

/// The result of all comparisons.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Principal measures first, then by how large the difference is.
    pub(crate) found: Vec<Loss>,
    /// How many comparisons there were: works, measures, peers and what is held.
    pub(crate) compared: usize,
    /// In how many of them a peer is better: beyond the spread, and by its median where there are too few rounds to tell.
    sure: usize,
    unsure: usize,
}

impl Losses {
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut losses = Self::default();
        for work in machine.works() {
            for (index, panel) in machine.panels(work).into_iter().enumerate() {
                losses.compare(machine, &panel);
                if index == 0 {
                    for measure in &Measure::of(work)[1..] {
                        losses.compare(machine, &machine.panel(work, *measure, panel.axis));
                    }
                }
            }
        }
        losses.sure = losses.found.iter().filter(|loss| loss.sure).count();
        losses.unsure = losses.found.len() - losses.sure;
        losses.found.sort_by(|a, b| a.rank().cmp(&b.rank()).then(b.size().total_cmp(&a.size())));
        losses.fold();
        losses
    }

    /// One line for each measure of each kind of cluster: the peer with the largest difference, and the names of the others.
    fn fold(&mut self) {
        let mut folded: Vec<Loss> = Vec::new();
        for loss in std::mem::take(&mut self.found) {
            match folded.iter_mut().find(|first| first.holds(&loss)) {
                Some(first) => first.also.push(loss.peer),
                None => folded.push(loss),
            }
        }
        self.found = folded;
    }

    fn compare(&mut self, machine: &Machine, panel: &Panel) {
        let Some(own) = panel.line(machine.reference()) else { return };
        for line in panel.lines.iter().filter(|line| line.dataplane.is_peer()) {
            let pairs = || panel.sizes.iter().zip(line.spots.iter().zip(&own.spots));
            if !pairs().any(|(_, (peer, _))| peer.summary().is_some()) {
                continue;
            }
            self.compared += 1;
            let lost: Vec<_> =
                pairs().filter_map(|(size, (peer, own))| Lost::of(panel.measure, *size, peer, own)).collect();
            self.found.extend(loss(panel, line.dataplane, &lost));
        }
    }
}

impl Loss {
    fn rank(&self) -> (bool, bool) {
        (Measure::of(self.work)[0] != self.measure, !self.sure)
    }

    fn holds(&self, other: &Self) -> bool {
        let key = |loss: &Self| (loss.work, loss.measure, loss.sure);
        key(self) == key(other) && self.held == other.held
    }

    fn size(&self) -> f64 {
        self.ratio.map_or(f64::INFINITY, |ratio| distance(ratio.value))
    }
}

impl Loss {
    /// `nftables, and iptables-legacy, iptables-nft`.
    pub(super) fn peers_text(&self) -> String {
        let also: Vec<_> = self.also.iter().map(|peer| peer.name()).collect();
        if also.is_empty() { self.peer.to_string() } else { format!("{}; also {}", self.peer, also.join(", ")) }
    }

    /// All of it in a line, for a terminal.
    pub(super) fn line(&self) -> String {
        let Self { work, worst, held, peer_value, own_value, .. } = self;
        let (measure, peers, ratio) = (self.measure.title(), self.peers_text(), self.ratio_text());
        format!("{work}, {measure}: {peers}: {peer_value} against {own_value} at {worst}, {held}: {ratio}")
            .trim_end_matches(": ")
            .to_owned()
    }

    /// The ratio with its interval, and whether it may be trusted.
    pub(super) fn ratio_text(&self) -> String {
        match (self.ratio, self.sure) {
            (None, _) => String::new(),
            (Some(ratio), true) => figure::ratio(ratio),
            (Some(ratio), false) => format!("{}, too few rounds to be sure", figure::ratio(ratio)),
        }
    }
}

impl Losses {
    /// How often sheave loses, in a sentence.
    pub(super) fn summary(&self) -> String {
        let compared = match self.compared {
            0 => return "No peer was measured beside sheave.".to_owned(),
            1 => "the one comparison".to_owned(),
            compared => format!("{compared} comparisons"),
        };
        let lost = match self.sure {
            0 => format!(
                "In none of {compared} (a work, a measure and a peer, over all sizes) is a peer better beyond the spread."
            ),
            1 => format!(
                "In 1 of {compared} (a work, a measure and a peer, over all sizes) a peer is better beyond the spread."
            ),
            sure => {
                format!(
                    "In {sure} of {compared} (a work, a measure and a peer, over all sizes) a peer is better beyond the spread."
                )
            }
        };
        match self.unsure {
            0 => lost,
            1 => format!("{lost} In 1 more its median is better, with too few rounds to be sure."),
            unsure => format!("{lost} In {unsure} more its median is better, with too few rounds to be sure."),
        }
    }
}

/// A size at which the peer is better.
struct Lost {
    size: u32,
    peer: f64,
    own: Own,
    sure: bool,
}

enum Own {
    Figure(f64, Ratio),
    CutOff(f64),
}

impl Lost {
    fn of(measure: Measure, size: u32, peer: &Spot, own: &Spot) -> Option<Self> {
        let Spot::Measured { summary, ratio } = peer else { return None };
        match own {
            Spot::AtLeast { after_s } | Spot::CutOff { after_s } => {
                Some(Self { size, peer: summary.median, own: Own::CutOff(*after_s), sure: true })
            }
            Spot::Nothing => None,
            Spot::Measured { summary: own, .. } => {
                let ratio = (*ratio)?;
                let (better, sure) = if measure.is_cost() {
                    (ratio.value < 1.0, ratio.is_surely_below_one())
                } else {
                    (ratio.value > 1.0, ratio.is_surely_above_one())
                };
                // Without an interval nothing is sure; a difference within the interval is none.
                let lost = better && (sure || ratio.interval.is_none());
                lost.then_some(Self { size, peer: summary.median, own: Own::Figure(own.median, ratio), sure })
            }
        }
    }

    fn distance(&self) -> f64 {
        match self.own {
            Own::Figure(_, ratio) => distance(ratio.value),
            Own::CutOff(_) => f64::INFINITY,
        }
    }
}

/// How far a ratio is from 1, whichever way.
fn distance(ratio: f64) -> f64 {
    ratio.ln().abs()
}

fn loss(panel: &Panel, peer: Dataplane, lost: &[Lost]) -> Option<Loss> {
    let worst = lost.iter().max_by(|a, b| a.distance().total_cmp(&b.distance()))?;
    let unit = panel.measure.unit();
    let (own_value, ratio) = match worst.own {
        Own::Figure(own, ratio) => (figure::value(own, unit), Some(ratio)),
        Own::CutOff(after_s) => (format!("cut off after {}", figure::limit(after_s)), None),
    };
    Some(Loss {
        work: panel.work,
        measure: panel.measure,
        peer,
        also: Vec::new(),
        held: panel.axis.held(),
        sizes: format!("{} of {} sizes", lost.len(), panel.sizes.len()),
        worst: panel.axis.place(worst.size),
        peer_value: figure::value(worst.peer, unit),
        own_value,
        ratio,
        sure: worst.sure,
    })
}
