//! A panel as a table, in words: what the page, the Markdown and the terminal show of it.
use super::comparison::{Axis, Line, Panel, Spot};
use super::figure;
use crate::growth::Growth;
use crate::record::{Dataplane, Unit};
use crate::stats::Ratio;

/// A row for each dataplane, a column for each size.
#[derive(Debug)]
pub(crate) struct Table {
    /// The axis: `Services`.
    pub(crate) axis: &'static str,
    /// Each size.
    pub(crate) sizes: Vec<String>,
    /// At which size the last column compares with which dataplane; `None` when there is nothing to compare.
    pub(crate) ratio_at: Option<(Dataplane, String)>,
    pub(crate) rows: Vec<Row>,
}

/// A dataplane.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) dataplane: Dataplane,
    /// One for each size.
    pub(crate) cells: Vec<Cell>,
    /// The exponent, or why there is none.
    pub(crate) growth: String,
    /// What ten times the size costs, by the two largest sizes; empty without an exponent.
    pub(crate) tenfold: String,
    /// To the reference; empty for itself and where there is none.
    pub(crate) ratio: String,
}

/// A dataplane at a size.
#[derive(Debug)]
pub(crate) struct Cell {
    /// Median, or why there is none.
    pub(crate) figure: String,
    /// Quartiles, if they differ from the median.
    pub(crate) spread: String,
}

impl Table {
    pub(crate) fn of(panel: &Panel, reference: Dataplane) -> Self {
        let at = ratio_at(panel);
        let name = |at: usize| (reference, format!("{} {}", figure::size(panel.sizes[at]), panel.axis.title()));
        Self {
            axis: panel.axis.title(),
            sizes: panel.sizes.iter().map(|size| figure::size(*size)).collect(),
            ratio_at: at.map(name),
            rows: panel.lines.iter().map(|line| row(panel, line, at)).collect(),
        }
    }
}

/// The largest size at which at least half as many dataplanes are compared with the reference as at any.
fn ratio_at(panel: &Panel) -> Option<usize> {
    let compared = |at: usize| panel.lines.iter().filter(|line| ratio_of(&line.spots[at]).is_some()).count();
    let most = (0..panel.sizes.len()).map(compared).max().filter(|most| *most > 0)?;
    (0..panel.sizes.len()).rfind(|at| compared(*at) * 2 >= most)
}

fn ratio_of(spot: &Spot) -> Option<Ratio> {
    if let Spot::Measured { ratio, .. } = spot { *ratio } else { None }
}

fn row(panel: &Panel, line: &Line, ratio_at: Option<usize>) -> Row {
    let unit = panel.measure.unit();
    let is_share = matches!(panel.axis, Axis::NodePorts { .. });
    let growth = line.growth.as_ref().ok().filter(|_| !is_share);
    Row {
        dataplane: line.dataplane,
        cells: line.spots.iter().map(|spot| cell(spot, unit)).collect(),
        growth: growth.map_or_else(|| "too few sizes".to_owned(), figure::exponent),
        tenfold: growth.map(tenfold).unwrap_or_default(),
        ratio: ratio_at.and_then(|at| ratio_of(&line.spots[at])).map(figure::ratio).unwrap_or_default(),
    }
}

fn tenfold(growth: &Growth) -> String {
    figure::factor(10f64.powf(growth.tail))
}

fn cell(spot: &Spot, unit: Unit) -> Cell {
    let bare = |figure: String| Cell { figure, spread: String::new() };
    match spot {
        Spot::Nothing => bare("–".to_owned()),
        Spot::CutOff { .. } => bare("cut off".to_owned()),
        Spot::AtLeast { after_s } => bare(format!("> {}", figure::limit(*after_s))),
        Spot::Measured { summary, .. } => {
            let [figure, lower, upper] =
                [summary.median, summary.lower, summary.upper].map(|value| figure::value(value, unit));
            let spread = if lower == figure && upper == figure { String::new() } else { range(&lower, &upper) };
            Cell { figure, spread }
        }
    }
}

/// `20.1–22.4 µs`: the unit once, when it is the same.
fn range(lower: &str, upper: &str) -> String {
    let parts = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        (number.to_owned(), unit.to_owned())
    };
    let ((number, unit), (_, other)) = (parts(lower), parts(upper));
    if unit == other { format!("{number}–{upper}") } else { format!("{lower}–{upper}") }
}
