//! The report for a terminal of 80 columns: a chart and a table for the first work of each bench.
use super::absent::absent;
use super::comparison::{Line, Machine, Panel, Spot};
use super::figure;
use super::losses::Losses;
use super::sentence::sentence;
use crate::record::{ConnectOperation, LookupOperation, SyncOperation, Unit, Work};
use std::fmt::Write;

const WIDTH: usize = 80;
const NAME: usize = 24;
const PLOT: usize = WIDTH - NAME - 1;
/// One for each size, from the least to the largest; of more sizes the largest are shown.
const GLYPHS: [char; 5] = ['·', '○', '◔', '◑', '●'];

/// What a reader in a hurry wants of each bench, in this order.
const WORKS: [Work; 6] = [
    Work::Sync(SyncOperation::EndpointChanged),
    Work::Sync(SyncOperation::ColdStart),
    Work::Lookup(LookupOperation::HitRandom),
    Work::Connect(ConnectOperation::LatencyRandom),
    Work::Connect(ConnectOperation::LatencyHot),
    Work::Connect(ConnectOperation::Churn),
];

pub(super) fn terminal(machines: &[Machine]) -> String {
    let mut text = String::new();
    for machine in machines {
        // Writing to a String does not fail.
        let _ = write_machine(&mut text, machine);
    }
    text
}

fn write_machine(text: &mut String, machine: &Machine) -> std::fmt::Result {
    write_wrapped(text, &machine.name)?;
    for work in WORKS {
        if let Some(panel) = machine.panels(work).first().filter(|panel| !panel.lines.is_empty()) {
            writeln!(text)?;
            write_wrapped(
                text,
                &format!("{}: {}, median; {}", work.title(), panel.measure.title(), panel.axis.held()),
            )?;
            write_chart(text, panel)?;
            write_table(text, panel)?;
        }
    }
    let left_out = absent(machine);
    if !left_out.is_empty() {
        writeln!(text, "\nNot measured, or not often enough:")?;
    }
    for absent in left_out {
        let remedy = if absent.remedy.is_empty() { String::new() } else { format!(" ({})", absent.remedy) };
        write_item(text, &format!("{} {}{remedy}: {}", absent.dataplane, absent.what, absent.points))?;
    }
    writeln!(text)?;
    let losses = Losses::of(machine);
    write_wrapped(text, &losses.summary())?;
    for loss in &losses.found {
        write_item(text, &loss.line())?;
    }
    if let Some(sentence) = sentence(machine) {
        writeln!(text)?;
        write_wrapped(text, &sentence)?;
    }
    Ok(())
}

/// A row for each dataplane, a mark for each size, from left to right by cost on a logarithmic axis: a cost that does not grow is
/// one mark over the other.
fn write_chart(text: &mut String, panel: &Panel) -> std::fmt::Result {
    let Some(axis) = Axis::of(panel) else { return Ok(()) };
    let hidden = panel.sizes.len().saturating_sub(GLYPHS.len());
    let shown = &panel.sizes[hidden..];
    let glyphs = &GLYPHS[GLYPHS.len() - shown.len()..];
    writeln!(text, "{:NAME$} {}", "", axis.labels(panel.measure.unit()))?;
    for line in &panel.lines {
        writeln!(text, "{:NAME$} {}", line.dataplane, row(&axis, line, hidden, glyphs))?;
    }
    let legend: Vec<_> =
        glyphs.iter().zip(shown).map(|(glyph, size)| format!("{glyph} {}", figure::size(*size))).collect();
    writeln!(text, "{}: {}  > at least", panel.axis.title(), legend.join("  "))
}

fn row(axis: &Axis, line: &Line, hidden: usize, glyphs: &[char]) -> String {
    let mut row = vec![' '; PLOT];
    for (spot, glyph) in line.spots[hidden..].iter().zip(glyphs) {
        match spot {
            Spot::Measured { summary, .. } if summary.median > 0.0 => row[axis.column(summary.median)] = *glyph,
            Spot::AtLeast { after_s } => row[axis.column(after_s * 1e9)] = '>',
            Spot::Measured { .. } | Spot::CutOff { .. } | Spot::Nothing => {}
        }
    }
    row.into_iter().collect::<String>().trim_end().to_owned()
}

/// Powers of ten from one end to the other.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    fn of(panel: &Panel) -> Option<Self> {
        let values = || {
            panel.lines.iter().flat_map(|line| &line.spots).filter_map(|spot| match spot {
                Spot::Measured { summary, .. } if summary.median > 0.0 => Some(summary.median),
                Spot::AtLeast { after_s } => Some(after_s * 1e9),
                Spot::Measured { .. } | Spot::CutOff { .. } | Spot::Nothing => None,
            })
        };
        let low = values().min_by(f64::total_cmp)?;
        let high = values().max_by(f64::total_cmp)?;
        let below = (-3..=15).rev().find(|power| 10f64.powi(*power) <= low)?;
        let above = (-3..=16).find(|power| 10f64.powi(*power) >= high && *power > below)?;
        Some(Self { low: below, high: above })
    }

    fn column(&self, value: f64) -> usize {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        let place = part * (PLOT - 1) as f64;
        (1..PLOT).take_while(|column| *column as f64 <= place + 0.5).count()
    }

    /// The powers, each over its column, as many as there is room for.
    fn labels(&self, unit: Unit) -> String {
        let mut labels = String::new();
        for power in self.low..=self.high {
            let value = 10f64.powi(power);
            let label = figure::tick(value, unit);
            let long = label.chars().count();
            let column = self.column(value).min(PLOT - long);
            let used = labels.chars().count();
            if used == 0 || column > used {
                labels.extend(std::iter::repeat_n(' ', column - used));
                labels.push_str(&label);
            }
        }
        labels
    }
}

fn write_table(text: &mut String, panel: &Panel) -> std::fmt::Result {
    const CELL: usize = 9;
    let columns = ((WIDTH - NAME) / CELL - 1).min(panel.sizes.len());
    let first = panel.sizes.len() - columns;
    write!(text, "\n{:NAME$}", panel.axis.title())?;
    for size in &panel.sizes[first..] {
        write!(text, "{:>CELL$}", figure::size(*size))?;
    }
    writeln!(text, "{:>CELL$}", "growth")?;
    for line in &panel.lines {
        write!(text, "{:NAME$}", line.dataplane)?;
        for spot in &line.spots[first..] {
            let figure = match spot {
                Spot::Measured { summary, .. } => figure::value(summary.median, panel.measure.unit()),
                Spot::CutOff { .. } => "cut off".to_owned(),
                Spot::AtLeast { after_s } => format!(">{}", figure::limit(*after_s)),
                Spot::Nothing => "–".to_owned(),
            };
            write!(text, "{figure:>CELL$}")?;
        }
        let growth = line
            .growth
            .as_ref()
            .map_or("–".to_owned(), |growth| format!("N^{}", figure::hundredths(growth.exponent)));
        writeln!(text, "{growth:>CELL$}")?;
    }
    Ok(())
}

/// A paragraph.
fn write_wrapped(text: &mut String, words: &str) -> std::fmt::Result {
    write_broken(text, "", "", words)
}

/// One of several things, each told from the next by its indentation.
fn write_item(text: &mut String, words: &str) -> std::fmt::Result {
    write_broken(text, "- ", "  ", words)
}

/// Breaks lines between words.
fn write_broken(text: &mut String, first: &str, indent: &str, words: &str) -> std::fmt::Result {
    write!(text, "{first}")?;
    let mut used = 0;
    for word in words.split_whitespace() {
        let long = word.chars().count();
        if used > 0 && used + 1 + long > WIDTH - indent.len() {
            write!(text, "\n{indent}")?;
            used = 0;
        } else if used > 0 {
            write!(text, " ")?;
            used += 1;
        }
        write!(text, "{word}")?;
        used += long;
    }
    writeln!(text)
}
