//! The report as one page: styles and charts are in it, and it loads nothing.
use super::absent::{Absent, absent};
use super::comparison::{Machine, Panel};
use super::conditions::{conditions, warnings};
use super::losses::{Loss, Losses};
use super::measure::{Measure, capital};
use super::sentence::sentence;
use super::svg::{self, Format, chart};
use super::table::{Row, Table};
use crate::record::{Dataplane, Work};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;

/// The colours of pages and of charts that stand alone.
pub(super) const COLOURS: &str = include_str!("colours.css");
const PAGE: &str = include_str!("page.css");

pub(super) fn page(machines: &[Machine]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "What a Service costs" }
                style { (PreEscaped(COLOURS)) (PreEscaped(PAGE)) }
            }
            body {
                main {
                    h1 { "What a Service costs" }
                    @for machine in machines { (section(machine)) }
                    (reading())
                }
            }
        }
    };
    page.into_string()
}

fn section(machine: &Machine) -> Markup {
    let works = machine.works();
    let benches = [
        ("sync", "A change: until the kernel has taken it"),
        ("lookup", "A decision: in the kernel"),
        ("connect", "A connection: as a client sees it"),
    ];
    html! {
        p class="quiet" { (machine.name) }
        @if let Some(sentence) = sentence(machine) { p class="lead" { (unbroken(&sentence)) } }
        @let warnings = warnings(machine);
        @if !warnings.is_empty() {
            div class="warn small" { @for warning in warnings { p { (warning) } } }
        }
        (losses(&Losses::of(machine)))
        @for (bench, title) in benches {
            @let works: Vec<_> = works.iter().filter(|work| work.bench() == bench).collect();
            @if !works.is_empty() {
                h2 { (title) }
                @for work in works { (card(machine, *work)) }
            }
        }
        (not_measured(&absent(machine)))
        h2 { "Conditions" }
        dl { @for (name, value) in conditions(machine) { dt { (name) } dd { (value) } } }
    }
}

fn losses(losses: &Losses) -> Markup {
    html! {
        h2 { "Where a peer is better than sheave" }
        p { (losses.summary()) }
        @if !losses.found.is_empty() {
            div class="scroll" tabindex="0" role="region" aria-label="Losses" {
                table class="left" {
                    thead {
                        tr {
                            th { "What" } th { "Peer" } th { "Where" } th { "Worst at" }
                            th class="number" { "Peer" } th class="number" { "sheave" } th class="number" { "Peer ÷ sheave" }
                        }
                    }
                    tbody { @for loss in &losses.found { (loss_row(loss)) } }
                }
            }
        }
    }
}

fn loss_row(loss: &Loss) -> Markup {
    html! {
        tr {
            td class="free" { (loss.work.to_string()) ": " (loss.measure.title()) }
            td class="free" {
                (svg::swatch(loss.peer)) " " (name(loss.peer))
                @for (index, peer) in loss.also.iter().enumerate() {
                    span class="quiet" { (if index == 0 { " also " } else { ", " }) (name(*peer)) }
                }
            }
            td class="free" { (loss.sizes) ", " (loss.held) }
            td { (loss.worst) }
            td class="number" { (loss.peer_value) }
            td class="number" { (loss.own_value) }
            td class="number" { (loss.ratio_text()) }
        }
    }
}

fn not_measured(absent: &[Absent]) -> Markup {
    html! {
        @if !absent.is_empty() {
            h2 { "Not measured, or not often enough" }
            div class="scroll" tabindex="0" role="region" aria-label="Not measured" {
                table class="left" {
                    thead { tr { th { "Dataplane" } th { "Why" } th { "What helps" } th { "Points" } } }
                    tbody {
                        @for absent in absent {
                            tr {
                                td { (svg::swatch(absent.dataplane)) " " (absent.dataplane.name()) }
                                td class="free" { (absent.what) }
                                td class="free" { (absent.remedy) }
                                td class="free" { (absent.points) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn card(machine: &Machine, work: Work) -> Markup {
    let panels = machine.panels(work);
    let Some((first, others)) = panels.split_first() else { return html! {} };
    let reference = machine.reference();
    html! {
        section class="card" {
            h3 { (work.title()) }
            p class="quiet small" { (subtitle(first)) }
            (figure_of(first))
            (table(&Table::of(first, reference)))
            (other_measures(machine, first))
            @if !others.is_empty() {
                details {
                    summary { "Other clusters" }
                    @for panel in others {
                        p class="quiet small" { (subtitle(panel)) }
                        (figure_of(panel))
                        (table(&Table::of(panel, reference)))
                    }
                }
            }
        }
    }
}

fn subtitle(panel: &Panel) -> String {
    let better = if panel.measure.is_cost() { "less is better" } else { "more is better" };
    let band = if panel.is_chart() { "median with quartiles, both axes logarithmic" } else { "median with quartiles" };
    let unlike =
        if panel.measure.is_cost() && panel.measure == Measure::Wall { ", without making the rules' text" } else { "" };
    format!("{}{unlike}; {}; {band}; {better}.", capital(panel.measure.title()), panel.axis.held())
}

/// The chart in both sizes; the style sheet shows one of them.
fn figure_of(panel: &Panel) -> Markup {
    html! {
        @if panel.is_chart() {
            figure {
                (chart(panel, Format::WIDE))
                (chart(panel, Format::NARROW))
                (legend(panel.lines.iter().map(|line| line.dataplane), "legend under"))
            }
        }
    }
}

fn legend(dataplanes: impl Iterator<Item = Dataplane>, class: &str) -> Markup {
    html! { ul class=(class) { @for dataplane in dataplanes { li { (svg::swatch(dataplane)) (dataplane.name()) } } } }
}

fn table(table: &Table) -> Markup {
    let own = |row: &Row| if row.dataplane.is_sheave() { "own" } else { "peer" };
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Figures" {
            table {
                thead {
                    tr {
                        th { (table.axis) }
                        @for size in &table.sizes { th { (size) } }
                        th { "growth" }
                        th { span class="line-of-head" { "10 × size" } span class="line-of-head" { "costs" } }
                        @if let Some((to, at)) = &table.ratio_at {
                            th { span class="line-of-head" { "÷ " (to.name()) } span class="line-of-head" { "at " (at) } }
                        }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr class=(own(row)) {
                            th scope="row" { (svg::swatch(row.dataplane)) (row.dataplane.name()) }
                            @for cell in &row.cells {
                                td { (cell.figure) @if !cell.spread.is_empty() { span class="spread" { (cell.spread) } } }
                            }
                            (growth(&row.growth))
                            td { (row.tenfold) }
                            @if table.ratio_at.is_some() { (with_spread(&row.ratio)) }
                        }
                    }
                }
            }
        }
    }
}

/// `N^0.98 (0.91 to 1.05)` with the exponent raised.
fn growth(text: &str) -> Markup {
    html! {
        @match text.strip_prefix("N^").map(|text| text.split_once(" (").unwrap_or((text, ""))) {
            Some((exponent, spread)) => {
                td { "N" sup { (exponent) } span class="spread" { (spread.trim_end_matches(')')) } }
            }
            None => td class="quiet" { (text) },
        }
    }
}

/// `1.3× (1.2–1.5×)` with what is in brackets below.
fn with_spread(text: &str) -> Markup {
    html! {
        @match text.split_once(" (") {
            Some((figure, spread)) => td { (figure) span class="spread" { (spread.trim_end_matches(')')) } },
            None => td { (text) },
        }
    }
}

/// Every other measure of the same points: small charts beside each other, with their tables.
fn other_measures(machine: &Machine, first: &Panel) -> Markup {
    let panels = Measure::of(first.work)[1..].iter().map(|measure| machine.panel(first.work, *measure, first.axis));
    let panels: Vec<_> = panels.filter(|panel| !panel.lines.is_empty()).collect();
    let charts: Vec<_> = panels.iter().filter(|panel| panel.is_chart()).collect();
    let drawn: BTreeSet<_> = charts.iter().flat_map(|panel| &panel.lines).map(|line| line.dataplane).collect();
    let titles: Vec<_> = panels.iter().map(|panel| panel.measure.title()).collect();
    html! {
        @if !panels.is_empty() {
            details {
                summary { (capital(&titles.join(", "))) }
                @if !charts.is_empty() {
                    (legend(drawn.into_iter(), "legend"))
                    div class="few" {
                        @for panel in charts { div { h4 { (capital(panel.measure.title())) } (chart(panel, Format::SMALL)) } }
                    }
                }
                @for panel in &panels {
                    h4 { (capital(panel.measure.title())) }
                    (table(&Table::of(panel, machine.reference())))
                }
            }
        }
    }
}

fn reading() -> Markup {
    html! {
        h2 { "How to read this" }
        p {
            "A line is the median, its band the quartiles. A cross is an operation that was cut off: its cost is at least that \
             much. Growth is the exponent " em { "e" } " in cost ~ N" sup { em { "e" } } ", fitted over all sizes, with its 95 % \
             interval; 0 does not grow, 1 grows as the cluster does. A constant part of the cost hides growth at small sizes, so \
             the next column says what ten times the size costs by the two largest sizes alone. Ratios are of medians, with 95 % \
             intervals from resampled rounds, paired where dataplanes were measured in turns."
        }
        dl { @for dataplane in Dataplane::ALL { dt { (svg::swatch(dataplane)) " " (dataplane.name()) } dd { (dataplane.meaning()) } } }
        p class="quiet small" {
            "Made by " code { "sheave report" } " from the raw samples of " code { "sheave bench" } "; " code { "report.json" }
            " beside this page has every figure unrounded."
        }
    }
}

/// A dataplane's name, which would break at its hyphens.
fn name(dataplane: Dataplane) -> Markup {
    html! { span class="name" { (dataplane.name()) } }
}

/// A number stays on one line with its unit, and a name with its brackets.
fn unbroken(text: &str) -> Markup {
    let words: Vec<_> = text.split(' ').collect();
    html! {
        @for (index, word) in words.iter().enumerate() {
            @let follows_number = index > 0 && words[index - 1].ends_with(|c: char| c.is_ascii_digit());
            @if index > 0 { (if follows_number { '\u{a0}' } else { ' ' }) }
            @if word.starts_with('(') { span class="name" { (word) } } @else { (word) }
        }
    }
}

/// A panel's chart as a file of its own, for documents. It brings its colours, which follow the reader's scheme, and the card it
/// stands on, since the page around it may be of the other one.
pub(super) fn standalone(panel: &Panel) -> String {
    let card = html! {
        style { (PreEscaped(COLOURS)) }
        rect width="100%" height="100%" rx="8" fill="var(--card)" {}
    };
    let chart = chart(panel, Format::DOCUMENT).into_string();
    chart.replacen('>', &format!(">{}", card.into_string()), 1) + "\n"
}
