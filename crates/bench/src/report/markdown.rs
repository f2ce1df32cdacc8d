//! The report as Markdown: tables that may be pasted into an issue.
use super::absent::absent;
use super::comparison::{Machine, Panel};
use super::conditions::{conditions, warnings};
use super::losses::Losses;
use super::measure::capital;
use super::sentence::sentence;
use super::table::Table;
use crate::record::Dataplane;
use std::fmt::Write;

pub(super) fn markdown(machines: &[Machine]) -> String {
    let mut text = String::from("# What a Service costs\n");
    for machine in machines {
        // Writing to a String does not fail.
        let _ = write_machine(&mut text, machine);
    }
    text
}

fn write_machine(text: &mut String, machine: &Machine) -> std::fmt::Result {
    writeln!(text, "\n{}.", machine.name)?;
    if let Some(sentence) = sentence(machine) {
        writeln!(text, "\n**{sentence}**")?;
    }
    for warning in warnings(machine) {
        writeln!(text, "\n> {}", escaped(&warning))?;
    }
    writeln!(text, "\n## Where a peer is better than sheave\n")?;
    write_losses(text, machine)?;
    if !absent(machine).is_empty() {
        writeln!(text, "\n## Not measured, or not often enough\n")?;
        write_absent(text, machine)?;
    }
    for work in machine.works() {
        writeln!(text, "\n## {}", work.title())?;
        for panel in machine.panels(work) {
            writeln!(text)?;
            write_panel(text, &panel, machine.reference())?;
        }
    }
    writeln!(text, "\n## Conditions\n")?;
    write_conditions(text, machine)
}

/// A table of names and values.
pub(super) fn write_conditions(text: &mut String, machine: &Machine) -> std::fmt::Result {
    writeln!(text, "| | |\n|---|---|")?;
    for (name, value) in conditions(machine) {
        writeln!(text, "| {} | {} |", escaped(&name), escaped(&value))?;
    }
    Ok(())
}

/// A sentence, and a table of what there is to tell.
pub(super) fn write_losses(text: &mut String, machine: &Machine) -> std::fmt::Result {
    let losses = Losses::of(machine);
    writeln!(text, "{}", losses.summary())?;
    if losses.found.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\n| what | peer | where | worst at | peer | sheave | peer ÷ sheave |\n|---|---|---|---|---|---|---|"
    )?;
    for loss in &losses.found {
        let (work, measure, ratio) = (loss.work, loss.measure.title(), loss.ratio_text());
        let (sizes, held) = (&loss.sizes, &loss.held);
        writeln!(
            text,
            "| {work}: {measure} | {} | {sizes}, {held} | {} | {} | {} | {ratio} |",
            loss.peers_text(),
            loss.worst,
            loss.peer_value,
            loss.own_value
        )?;
    }
    Ok(())
}

/// A list; nothing when there is nothing to tell.
pub(super) fn write_absent(text: &mut String, machine: &Machine) -> std::fmt::Result {
    for absent in absent(machine) {
        let remedy = if absent.remedy.is_empty() { String::new() } else { format!(" ({})", absent.remedy) };
        writeln!(text, "- **{}** {}{}: {}.", absent.dataplane, escaped(&absent.what), escaped(&remedy), absent.points)?;
    }
    Ok(())
}

/// A line about the table, and the table.
pub(super) fn write_panel(text: &mut String, panel: &Panel, reference: Dataplane) -> std::fmt::Result {
    let table = Table::of(panel, reference);
    writeln!(text, "{}, {}; median (quartiles).\n", capital(panel.measure.title()), panel.axis.held())?;
    write!(text, "| {} ", table.axis)?;
    for size in &table.sizes {
        write!(text, "| {size} ")?;
    }
    let ratio = table.ratio_at.as_ref().map_or_else(String::new, |(to, at)| format!("÷ {to} at {at}"));
    writeln!(
        text,
        "| growth | ten times the size | {ratio} |\n|---{}|---|---|---|",
        "|---:".repeat(table.sizes.len())
    )?;
    for row in &table.rows {
        write!(text, "| {} ", row.dataplane)?;
        for cell in &row.cells {
            let spread = if cell.spread.is_empty() { String::new() } else { format!(" ({})", cell.spread) };
            write!(text, "| {}{spread} ", cell.figure)?;
        }
        writeln!(text, "| {} | {} | {} |", row.growth, row.tenfold, row.ratio)?;
    }
    Ok(())
}

/// What would end a cell or start markup in one; the texts come from tools and files.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
