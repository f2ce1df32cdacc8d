//! Runs side by side: the points of one machine by what they measure, and the panels that show them.
use super::measure::Measure;
use crate::growth::{Growth, TooFew};
use crate::record::{Backends, Dataplane, Environment, Outcome, Percent, Phase, Point, Run, Scenario, Shape, Work};
use crate::stats::{Ratio, Summary};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Runs on machines and versions that are alike; figures of others are not put beside them.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    /// Where, when and what, for each run.
    pub(crate) runs: Vec<(Environment, Scenario)>,
    points: BTreeMap<Key, Point>,
    /// What is shown of each point by each measure. Resampling takes its time, and every form of the report shows it.
    figures: BTreeMap<(Key, Measure), (Summary, Option<Ratio>)>,
}

type Key = (Work, Shape, Dataplane);

/// Dataplanes over one axis of the cluster's size, by one measure.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) work: Work,
    pub(crate) measure: Measure,
    pub(crate) axis: Axis,
    /// The sizes on the axis, ascending.
    pub(crate) sizes: Vec<u32>,
    pub(crate) lines: Vec<Line>,
}

/// What changes from left to right. The rest is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    Services { backends: Backends, node_ports: Percent },
    Backends { services: u32, node_ports: Percent },
    NodePorts { services: u32, backends: Backends },
}

/// One dataplane in a panel.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) dataplane: Dataplane,
    /// One for each size of the panel.
    pub(crate) spots: Vec<Spot>,
    pub(crate) growth: Result<Growth, TooFew>,
}

/// One dataplane at one size.
#[derive(Debug)]
pub(crate) enum Spot {
    Measured {
        summary: Summary,
        /// To sheave at the same size.
        ratio: Option<Ratio>,
    },
    /// Cut off in the operation itself: it costs at least that much.
    AtLeast { after_s: f64 },
    /// Cut off before or around it.
    CutOff { after_s: f64 },
    /// Measured, but not by this measure; or not measured at all.
    Nothing,
}

impl Spot {
    pub(crate) fn summary(&self) -> Option<&Summary> {
        if let Self::Measured { summary, .. } = self { Some(summary) } else { None }
    }
}

impl Machine {
    /// The runs, by machine, in the order in which the machines first appear. Rounds of the same point are put together.
    pub(crate) fn of(runs: &[Run]) -> Vec<Self> {
        let mut machines: Vec<Self> = Vec::new();
        for run in runs {
            let name = run.environment.machine();
            let at = machines.iter().position(|machine| machine.name == name).unwrap_or_else(|| {
                machines.push(Self { name, runs: Vec::new(), points: BTreeMap::new(), figures: BTreeMap::new() });
                machines.len() - 1
            });
            machines[at].add(run);
        }
        for machine in &mut machines {
            machine.figures = machine.figures();
        }
        machines
    }

    fn figures(&self) -> BTreeMap<(Key, Measure), (Summary, Option<Ratio>)> {
        let reference = self.reference();
        let mut figures = BTreeMap::new();
        for (key @ (work, shape, dataplane), point) in &self.points {
            let to = self.points.get(&(*work, *shape, reference)).filter(|_| *dataplane != reference);
            let is_floor = *dataplane == Dataplane::Direct;
            let floor = self.points.get(&(*work, *shape, Dataplane::Direct)).filter(|_| !is_floor);
            let floor = floor.map(Point::samples);
            // A backend is all that the floor dials.
            for measure in Measure::of(*work).iter().filter(|measure| !is_floor || **measure != Measure::AddedToBackend)
            {
                let Some(summary) = measure.summary(point.samples(), floor) else { continue };
                let rounds = |point: &Point| measure.rounds(point.samples(), floor);
                let ratio = to.and_then(|to| Ratio::between(&rounds(point)?, &rounds(to)?));
                figures.insert((*key, *measure), (summary, ratio));
            }
        }
        figures
    }

    fn add(&mut self, run: &Run) {
        self.runs.push((run.environment.clone(), run.scenario.clone()));
        for point in &run.points {
            let key = (point.work(), point.shape(), point.dataplane());
            self.points.entry(key).and_modify(|known| known.merge(point)).or_insert_with(|| point.clone());
        }
    }

    pub(crate) fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.values()
    }

    /// What is shown of a point by a measure; `None` where that was not measured.
    pub(crate) fn summary(&self, point: &Point, measure: Measure) -> Option<&Summary> {
        let key = (point.work(), point.shape(), point.dataplane());
        self.figures.get(&(key, measure)).map(|(summary, _)| summary)
    }

    pub(crate) fn works(&self) -> BTreeSet<Work> {
        self.points.keys().map(|(work, ..)| *work).collect()
    }

    /// What the others are compared with: sheave's eBPF dataplane, or the other one of sheave where that was not measured.
    pub(crate) fn reference(&self) -> Dataplane {
        let measured = |dataplane| self.points().any(|point| point.dataplane() == dataplane && point.rounds() > 0);
        if !measured(Dataplane::SheaveEbpf) && measured(Dataplane::SheaveIpvs) {
            Dataplane::SheaveIpvs
        } else {
            Dataplane::SheaveEbpf
        }
    }

    /// The panels of a work by its principal measure: as many as it takes to show every size, and the longest over each kind of
    /// axis. The first is over Services and has the most figures; it is the one to show.
    pub(crate) fn panels(&self, work: Work) -> Vec<Panel> {
        let shapes: BTreeSet<_> = self.points().filter(|point| point.work() == work).map(Point::shape).collect();
        let mut axes: Vec<Axis> = Vec::new();
        for shape in &shapes {
            for axis in axes_through(*shape) {
                if !axes.contains(&axis) {
                    axes.push(axis);
                }
            }
        }
        let measure = Measure::of(work)[0];
        let mut panels: Vec<_> = axes.into_iter().map(|axis| self.panel(work, measure, axis)).collect();
        let order = |panel: &Panel| (panel.axis.kind(), Reverse(panel.figures()), Reverse(panel.axis.services()));
        panels.sort_by_key(|panel| (panel.sizes.len() == 1, order(panel)));
        let mut untold = shapes;
        let mut kinds = BTreeSet::new();
        panels.retain(|panel| {
            let is_told = |shape: &Shape| panel.axis.size(*shape).is_some();
            let is_longest = panel.sizes.len() > 1 && kinds.insert(panel.axis.kind());
            let is_kept = is_longest || untold.iter().any(is_told);
            if is_kept {
                untold.retain(|shape| !is_told(shape));
            }
            is_kept
        });
        panels.sort_by_key(order);
        panels
    }

    /// One panel by any measure of its work.
    pub(crate) fn panel(&self, work: Work, measure: Measure, axis: Axis) -> Panel {
        let of_work = self.points.keys().filter(|(of, ..)| *of == work);
        let here: Vec<_> = of_work.filter_map(|key| Some((key, axis.size(key.1)?))).collect();
        let sizes: BTreeSet<_> = here.iter().map(|(_, size)| *size).collect();
        let dataplanes: BTreeSet<_> = here.iter().map(|((.., dataplane), _)| *dataplane).collect();
        let sizes: Vec<_> = sizes.into_iter().collect();
        let spot = |dataplane, size| {
            let key = here.iter().find(|((.., of), at)| *of == dataplane && *at == size);
            key.map_or(Spot::Nothing, |(key, _)| self.spot(**key, measure))
        };
        let line = |dataplane: &Dataplane| {
            let spots: Vec<_> = sizes.iter().map(|size| spot(*dataplane, *size)).collect();
            let costs =
                sizes.iter().zip(&spots).filter_map(|(size, spot)| Some((f64::from(*size), spot.summary()?.median)));
            let growth = Growth::of(costs);
            Line { dataplane: *dataplane, spots, growth }
        };
        let lines = dataplanes.iter().map(line).filter(Line::says_something).collect();
        Panel { work, measure, axis, sizes, lines }
    }

    fn spot(&self, key: Key, measure: Measure) -> Spot {
        if let Some((summary, ratio)) = self.figures.get(&(key, measure)) {
            return Spot::Measured { summary: *summary, ratio: *ratio };
        }
        let Some(Outcome::CutOff { after_s, during, .. }) = self.points.get(&key).map(Point::outcome) else {
            return Spot::Nothing;
        };
        // How long it ran bounds the wall time of a single operation, and nothing else.
        if measure == Measure::Wall && *during == Phase::Operation {
            Spot::AtLeast { after_s: *after_s }
        } else if measure == Measure::of(key.0)[0] {
            Spot::CutOff { after_s: *after_s }
        } else {
            Spot::Nothing
        }
    }
}

impl Line {
    fn says_something(&self) -> bool {
        self.spots.iter().any(|spot| !matches!(spot, Spot::Nothing))
    }
}

impl Panel {
    /// How many figures there are in it.
    pub(crate) fn figures(&self) -> usize {
        self.lines.iter().flat_map(|line| &line.spots).filter(|spot| spot.summary().is_some()).count()
    }

    /// Whether a line can be drawn: figures at more than one size, on an axis that has a logarithm.
    pub(crate) fn is_chart(&self) -> bool {
        let is_log = !matches!(self.axis, Axis::NodePorts { .. }) && self.sizes.first().is_some_and(|size| *size > 0);
        let drawn =
            |line: &Line| line.spots.iter().filter_map(Spot::summary).filter(|summary| summary.median > 0.0).count();
        is_log && self.lines.iter().any(|line| drawn(line) > 1)
    }

    /// A word for files and blocks: `sync-endpoint-changed-wall-10-backends`.
    pub(crate) fn slug(&self) -> String {
        let (bench, operation) = (self.work.bench(), self.work.operation());
        format!("{bench}-{operation}-{}-{}", self.measure.name(), self.axis.slug())
    }

    pub(crate) fn line(&self, dataplane: Dataplane) -> Option<&Line> {
        self.lines.iter().find(|line| line.dataplane == dataplane)
    }
}

fn axes_through(shape: Shape) -> Vec<Axis> {
    let Shape { services, backends, node_port_percent: node_ports } = shape;
    let mut axes = vec![Axis::Services { backends, node_ports }, Axis::NodePorts { services, backends }];
    if let Backends::Each(_) = backends {
        axes.push(Axis::Backends { services, node_ports });
    }
    axes
}

impl Axis {
    /// Services first: it is what most ask about.
    fn kind(self) -> u8 {
        match self {
            Self::Services { .. } => 0,
            Self::Backends { .. } => 1,
            Self::NodePorts { .. } => 2,
        }
    }

    /// How many Services there are, where that is held.
    fn services(self) -> u32 {
        match self {
            Self::Services { .. } => 0,
            Self::Backends { services, .. } | Self::NodePorts { services, .. } => services,
        }
    }

    /// Where a shape stands on the axis; `None` when it differs in what is held.
    pub(crate) fn size(self, shape: Shape) -> Option<u32> {
        let Shape { services, backends, node_port_percent } = shape;
        match (self, backends) {
            (Self::Services { backends, node_ports }, _) => {
                (backends == shape.backends && node_ports == node_port_percent).then_some(services)
            }
            (Self::Backends { services: held, node_ports }, Backends::Each(count)) => {
                (held == services && node_ports == node_port_percent).then_some(count)
            }
            (Self::Backends { .. }, Backends::LoadTestMix) => None,
            (Self::NodePorts { services: held, backends }, _) => {
                (held == services && backends == shape.backends).then_some(u8::from(node_port_percent).into())
            }
        }
    }

    /// The name of the axis.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Services { .. } => "Services",
            Self::Backends { .. } => "backends of each Service",
            Self::NodePorts { .. } => "% of Services with a NodePort",
        }
    }

    /// A size on it, in words.
    pub(crate) fn place(self, size: u32) -> String {
        match (self, size) {
            (Self::Services { .. }, 1) => "1 Service".to_owned(),
            (Self::Backends { .. }, 1) => "1 backend of each Service".to_owned(),
            _ => format!("{} {}", super::figure::size(size), self.title()),
        }
    }

    /// What is held.
    pub(crate) fn held(self) -> String {
        let services = |services| format!("{} Services", super::figure::size(services));
        let node_ports = |percent: Percent| match u8::from(percent) {
            0 => String::new(),
            percent => format!(", {percent} % of Services with a NodePort or load balancer"),
        };
        match self {
            Self::Services { backends, node_ports: percent } => format!("{backends}{}", node_ports(percent)),
            Self::Backends { services: count, node_ports: percent } => {
                format!("{}{}", services(count), node_ports(percent))
            }
            Self::NodePorts { services: count, backends } => format!("{}, {backends}", services(count)),
        }
    }

    /// A word for files and labels: `10-backends`, `mix`, `10000-services-10-percent`.
    pub(crate) fn slug(self) -> String {
        let backends = |held: Backends| match held {
            Backends::Each(_) => format!("{}-backends", held.label()),
            Backends::LoadTestMix => held.label(),
        };
        match self {
            Self::Services { backends: held, node_ports } => match u8::from(node_ports) {
                0 => backends(held),
                percent => format!("{}-{percent}-percent", backends(held)),
            },
            Self::Backends { services, node_ports } => match u8::from(node_ports) {
                0 => format!("{services}-services"),
                percent => format!("{services}-services-{percent}-percent"),
            },
            Self::NodePorts { services, backends: held } => format!("{services}-services-{}", backends(held)),
        }
    }
}
