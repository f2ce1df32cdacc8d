//! Charts as SVG: cost against size, both logarithmic, a line for each dataplane with its spread.
//!
//! Colours are CSS variables that the page sets for light and dark; docs/decisions/0020-charts.md says why no library draws this.
mod marker;
mod scale;

use super::comparison::{Axis, Line, Panel, Spot};
use super::figure;
use crate::record::{Dataplane, Unit};
use crate::stats::Summary;
use maud::{Markup, html};
use scale::{Scale, spread};

/// The size and the furniture of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    width: f64,
    height: f64,
    /// Whether each line carries its name at its end; otherwise a legend beside the chart has to tell.
    has_names: bool,
    class: &'static str,
}

impl Format {
    /// For a page of full width.
    pub(super) const WIDE: Self = Self { width: 1120.0, height: 460.0, has_names: true, class: "chart wide" };
    /// For a document, where it is seldom wider than this.
    pub(super) const DOCUMENT: Self = Self { width: 880.0, height: 400.0, has_names: true, class: "chart" };
    /// For a telephone.
    pub(super) const NARROW: Self = Self { width: 372.0, height: 320.0, has_names: false, class: "chart narrow" };
    /// One of several beside each other.
    pub(super) const SMALL: Self = Self { width: 372.0, height: 250.0, has_names: false, class: "chart small" };
}

const LEFT: f64 = 62.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;
/// Room between the edge of the plot and the first and last size.
const INSET: f64 = 22.0;
/// Height of a line's name.
const NAME_GAP: f64 = 17.0;
/// Width of a character of a line's name, at most.
const NAME_CHAR: f64 = 8.2;
/// Length of the leader between a line's end and its name.
const LEADER: f64 = 26.0;
/// Size labels that would come nearer to each other are left out.
const SIZE_GAP: f64 = 34.0;

/// Where everything goes.
struct Frame {
    format: Format,
    right: f64,
    bottom: f64,
    x: Scale,
    y: Scale,
    unit: Unit,
    axis: Axis,
}

/// The chart; nothing when no value is above zero.
pub(super) fn chart(panel: &Panel, format: Format) -> Markup {
    let Some(frame) = Frame::of(panel, format) else { return html! {} };
    let label = format!("{}: {} against {}", panel.work.title(), panel.measure.title(), panel.axis.title());
    let view = format!("0 0 {} {}", format.width, format.height);
    html! {
        svg class=(format.class) xmlns="http://www.w3.org/2000/svg" viewBox=(view) role="img" aria-label=(label) {
            (grid(&frame, panel))
            // The last is drawn on top: sheave, the first in order.
            @for line in panel.lines.iter().rev() { (drawn(&frame, panel, line)) }
            @if format.has_names { (names(&frame, panel)) }
        }
    }
}

impl Frame {
    fn of(panel: &Panel, format: Format) -> Option<Self> {
        let longest = panel.lines.iter().map(|line| line.dataplane.name().len()).max()?;
        let names = if format.has_names { LEADER + longest as f64 * NAME_CHAR } else { 8.0 };
        let (right, bottom) = (format.width - names, format.height - BOTTOM);
        let (low, high) = (f64::from(*panel.sizes.first()?), f64::from(*panel.sizes.last()?));
        let costs = panel.lines.iter().flat_map(|line| &line.spots).flat_map(|spot| match spot {
            Spot::Measured { summary, .. } => vec![summary.lower, summary.median, summary.upper],
            Spot::AtLeast { after_s } => vec![after_s * 1e9],
            Spot::CutOff { .. } | Spot::Nothing => Vec::new(),
        });
        Some(Self {
            format,
            right,
            bottom,
            x: Scale::exactly(low, high, LEFT + INSET, right - INSET),
            y: Scale::around(costs, bottom, TOP)?,
            unit: panel.measure.unit(),
            axis: panel.axis,
        })
    }
}

fn grid(frame: &Frame, panel: &Panel) -> Markup {
    let Frame { right, bottom, .. } = *frame;
    let mut last = f64::NEG_INFINITY;
    let sizes: Vec<_> = panel.sizes.iter().map(|size| (frame.x.at(f64::from(*size)), f64::from(*size))).collect();
    let room = |x: f64, last: &mut f64| {
        let fits = x - *last >= SIZE_GAP;
        if fits {
            *last = x;
        }
        fits
    };
    html! {
        g class="grid" {
            @for value in frame.y.ticks() {
                @let y = px(frame.y.at(value));
                line x1=(LEFT) x2=(px(right)) y1=(y) y2=(y) {}
                text x=(LEFT - 8.0) y=(y) dy="0.32em" text-anchor="end" { (figure::tick(value, frame.unit)) }
            }
            line class="base" x1=(LEFT) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
            @for (x, size) in sizes {
                line x1=(px(x)) x2=(px(x)) y1=(px(bottom)) y2=(px(bottom + 5.0)) class="base" {}
                @if room(x, &mut last) {
                    text x=(px(x)) y=(px(bottom + 20.0)) text-anchor="middle" { (figure::short(size)) }
                }
            }
            text class="axis" x=(px((LEFT + right) / 2.0)) y=(px(frame.format.height - 6.0)) text-anchor="middle" {
                (frame.axis.title())
            }
        }
    }
}

/// A spot that can be drawn on a logarithmic axis.
enum Mark<'a> {
    Figure { x: f64, y: f64, size: u32, summary: &'a Summary },
    AtLeast { x: f64, y: f64, size: u32, after_s: f64 },
}

fn marks<'a>(frame: &Frame, panel: &Panel, line: &'a Line) -> Vec<Mark<'a>> {
    let mark = |(size, spot): (&u32, &'a Spot)| {
        let x = frame.x.at(f64::from(*size));
        match spot {
            Spot::Measured { summary, .. } if summary.median > 0.0 => {
                Some(Mark::Figure { x, y: frame.y.at(summary.median), size: *size, summary })
            }
            Spot::AtLeast { after_s } => {
                Some(Mark::AtLeast { x, y: frame.y.at(after_s * 1e9), size: *size, after_s: *after_s })
            }
            Spot::Measured { .. } | Spot::CutOff { .. } | Spot::Nothing => None,
        }
    };
    panel.sizes.iter().zip(&line.spots).filter_map(mark).collect()
}

fn drawn(frame: &Frame, panel: &Panel, line: &Line) -> Markup {
    let marks = marks(frame, panel, line);
    let figures: Vec<_> = marks.iter().filter_map(Mark::figure).collect();
    let path = points(figures.iter().map(|(x, y, _)| (*x, *y)));
    let upper = figures.iter().map(|(x, _, summary)| (*x, frame.y.at(summary.upper)));
    let lower = figures.iter().rev().map(|(x, _, summary)| (*x, frame.y.at(summary.lower.max(f64::MIN_POSITIVE))));
    let band = points(upper.chain(lower));
    html! {
        g class={ "line d-" (line.dataplane.name()) } {
            @if figures.len() > 1 {
                path class="band" d={ (band) "Z" } {}
                path class="stroke" d=(path) {}
            }
            (cut_off(&marks))
            @for mark in &marks { (spot(frame, line.dataplane, mark)) }
        }
    }
}

impl Mark<'_> {
    fn figure(&self) -> Option<(f64, f64, &Summary)> {
        if let Self::Figure { x, y, summary, .. } = self { Some((*x, *y, summary)) } else { None }
    }

    fn place(&self) -> (f64, f64) {
        match self {
            Self::Figure { x, y, .. } | Self::AtLeast { x, y, .. } => (*x, *y),
        }
    }
}

/// From the last figure to where it was cut off: the cost is at least that much, so the line goes on in dots.
fn cut_off(marks: &[Mark]) -> Markup {
    let first = marks.iter().position(|mark| matches!(mark, Mark::AtLeast { .. }));
    let path = first.map(|first| points(marks[first.saturating_sub(1)..].iter().map(Mark::place)));
    html! { @if let Some(path) = path { path class="beyond" d=(path) {} } }
}

fn spot(frame: &Frame, dataplane: Dataplane, mark: &Mark) -> Markup {
    let axis = frame.axis.title();
    match mark {
        Mark::Figure { x, y, size, summary } => {
            let value = |value| figure::value(value, frame.unit);
            let (low, high) = (frame.y.at(summary.lower.max(f64::MIN_POSITIVE)), frame.y.at(summary.upper));
            let class = if marker::is_hollow(dataplane) { "marker hollow" } else { "marker" };
            html! {
                g {
                    title {
                        (dataplane.name()) ", " (figure::size(*size)) " " (axis) ": " (value(summary.median))
                        ", quartiles " (value(summary.lower)) " to " (value(summary.upper))
                        ", all " (value(summary.min)) " to " (value(summary.max)) ", " (summary.count) " values"
                    }
                    // A quartile range that the marker hides needs no whisker.
                    @if low - high > 10.0 { path class="whisker" d=(whisker(*x, low, high)) {} }
                    path class=(class) d=(marker::outline(dataplane, *x, *y)) {}
                }
            }
        }
        Mark::AtLeast { x, y, size, after_s } => html! {
            g {
                title {
                    (dataplane.name()) ", " (figure::size(*size)) " " (axis) ": cut off after "
                    (figure::limit(*after_s))
                }
                path class="cross" d=(cross(*x, *y)) {}
            }
        },
    }
}

fn whisker(x: f64, low: f64, high: f64) -> String {
    let (left, right) = (x - 4.0, x + 4.0);
    format!("M{left:.1} {low:.1}H{right:.1}M{x:.1} {low:.1}V{high:.1}M{left:.1} {high:.1}H{right:.1}")
}

fn cross(x: f64, y: f64) -> String {
    let (left, right, top, bottom) = (x - 5.0, x + 5.0, y - 5.0, y + 5.0);
    format!("M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}")
}

/// Each line's name beside its end.
fn names(frame: &Frame, panel: &Panel) -> Markup {
    let ends: Vec<_> = panel
        .lines
        .iter()
        .filter_map(|line| Some((line.dataplane, marks(frame, panel, line).last()?.place())))
        .collect();
    let wanted: Vec<_> = ends.iter().map(|(_, (_, y))| *y).collect();
    let places = spread(&wanted, NAME_GAP, TOP, frame.bottom);
    let start = frame.right + LEADER - 8.0;
    html! {
        g class="names" {
            @for ((dataplane, (x, y)), place) in ends.iter().zip(places) {
                g class={ "d-" (dataplane.name()) } {
                    path class="leader" d=(format!("M{:.1} {y:.1}L{:.1} {place:.1}H{:.1}", x + 8.0, start - 8.0, start - 4.0)) {}
                    text x=(px(start)) y=(px(place)) dy="0.34em" { (dataplane.name()) }
                }
            }
        }
    }
}

/// What stands for a dataplane in legends and tables: a piece of its line with its marker.
pub(super) fn swatch(dataplane: Dataplane) -> Markup {
    let class = if marker::is_hollow(dataplane) { "marker hollow" } else { "marker" };
    html! {
        svg class={ "swatch line d-" (dataplane.name()) } viewBox="0 0 30 14" aria-hidden="true" {
            path class="stroke" d="M1 7H29" {}
            path class=(class) d=(marker::outline(dataplane, 15.0, 7.0)) {}
        }
    }
}

fn points(points: impl Iterator<Item = (f64, f64)>) -> String {
    let points: Vec<_> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    format!("M{}", points.join("L"))
}

fn px(pixels: f64) -> String {
    format!("{pixels:.1}")
}
