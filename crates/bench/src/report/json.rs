//! The figures of a report as JSON, for other programs: what the tables show, unrounded.
use super::comparison::{Axis, Line, Machine, Panel, Spot};
use super::measure::Measure;
use super::sentence::sentence;
use crate::growth::Growth;
use crate::record::{Dataplane, Environment, Scenario, Unit, Work};
use crate::stats::{Ratio, Summary};
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    machines: Vec<MachineOut<'a>>,
}

#[derive(Serialize)]
struct MachineOut<'a> {
    name: &'a str,
    sentence: Option<String>,
    reference: Dataplane,
    runs: Vec<RunOut<'a>>,
    panels: Vec<PanelOut>,
}

#[derive(Serialize)]
struct RunOut<'a> {
    environment: &'a Environment,
    scenario: &'a Scenario,
}

#[derive(Serialize)]
struct PanelOut {
    work: Work,
    measure: Measure,
    unit: Unit,
    axis: &'static str,
    held: String,
    lines: Vec<LineOut>,
}

#[derive(Serialize)]
struct LineOut {
    dataplane: Dataplane,
    growth: Option<Growth>,
    figures: Vec<FigureOut>,
}

#[derive(Serialize)]
struct FigureOut {
    size: u32,
    #[serde(flatten)]
    spot: SpotOut,
}

#[derive(Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
enum SpotOut {
    Measured { summary: Summary, ratio_to_reference: Option<Ratio> },
    AtLeast { after_s: f64 },
    CutOff { after_s: f64 },
}

pub(super) fn json(machines: &[Machine]) -> String {
    let document = Document { format: 1, machines: machines.iter().map(machine_out).collect() };
    let text = serde_json::to_string_pretty(&document)
        .expect("invariant: only strings and finite numbers, no map with other keys");
    text + "\n"
}

fn machine_out(machine: &Machine) -> MachineOut<'_> {
    MachineOut {
        name: &machine.name,
        sentence: sentence(machine),
        reference: machine.reference(),
        runs: machine.runs.iter().map(|(environment, scenario)| RunOut { environment, scenario }).collect(),
        panels: every_panel(machine).iter().map(panel_out).collect(),
    }
}

/// Each panel of each work by each measure that has a figure.
pub(super) fn every_panel(machine: &Machine) -> Vec<Panel> {
    let axes: Vec<(Work, Axis)> = machine
        .works()
        .into_iter()
        .flat_map(|work| machine.panels(work).into_iter().map(move |panel| (work, panel.axis)))
        .collect();
    let by_measure = |(work, axis): &(Work, Axis)| {
        let panel = |measure: &Measure| machine.panel(*work, *measure, *axis);
        Measure::of(*work).iter().map(panel).filter(|panel| !panel.lines.is_empty()).collect::<Vec<_>>()
    };
    axes.iter().flat_map(by_measure).collect()
}

fn panel_out(panel: &Panel) -> PanelOut {
    PanelOut {
        work: panel.work,
        measure: panel.measure,
        unit: panel.measure.unit(),
        axis: panel.axis.title(),
        held: panel.axis.held(),
        lines: panel.lines.iter().map(|line| line_out(panel, line)).collect(),
    }
}

fn line_out(panel: &Panel, line: &Line) -> LineOut {
    let figure = |(size, spot): (&u32, &Spot)| {
        let spot = match spot {
            Spot::Measured { summary, ratio } => SpotOut::Measured { summary: *summary, ratio_to_reference: *ratio },
            Spot::AtLeast { after_s } => SpotOut::AtLeast { after_s: *after_s },
            Spot::CutOff { after_s } => SpotOut::CutOff { after_s: *after_s },
            Spot::Nothing => return None,
        };
        Some(FigureOut { size: *size, spot })
    };
    let figures = panel.sizes.iter().zip(&line.spots).filter_map(figure).collect();
    LineOut { dataplane: line.dataplane, growth: line.growth.as_ref().ok().copied(), figures }
}
