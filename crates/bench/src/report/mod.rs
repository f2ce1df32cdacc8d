//! Reports from runs: a page, Markdown, JSON, OpenMetrics, perf-dash, charts alone, and text for a terminal.
//!
//! All of them show one comparison; equal runs give equal bytes.
mod absent;
mod blocks;
mod comparison;
mod conditions;
mod figure;
mod html;
mod json;
mod losses;
mod markdown;
mod measure;
mod openmetrics;
mod perfdash;
mod sentence;
mod svg;
mod table;
mod terminal;

pub use blocks::{FillError, Filled};

use crate::record::{Run, RunError, read_all};
use comparison::{Machine, Panel};
use std::path::{Path, PathBuf};

/// What the runs show, ready to be written in any form.
#[derive(Debug)]
pub struct Report {
    machines: Vec<Machine>,
}

/// A report from every run in the files and directories.
///
/// # Errors
/// The first file that cannot be read as a run.
pub fn report<P: AsRef<Path>>(paths: &[P]) -> Result<Report, RunError> {
    Ok(Report::of(&read_all(paths)?))
}

impl Report {
    /// A report from runs in memory. Runs of one machine and version are put together; others stand one after the other.
    pub fn of(runs: &[Run]) -> Self {
        Self { machines: Machine::of(runs) }
    }

    /// One page that loads nothing from anywhere.
    pub fn html(&self) -> String {
        html::page(&self.machines)
    }

    /// Tables as Markdown.
    pub fn markdown(&self) -> String {
        markdown::markdown(&self.machines)
    }

    /// Every figure, unrounded.
    pub fn json(&self) -> String {
        json::json(&self.machines)
    }

    /// Every figure as OpenMetrics text.
    pub fn openmetrics(&self) -> String {
        openmetrics::openmetrics(&self.machines)
    }

    /// Every figure as perf-dash reads it.
    pub fn perfdash(&self) -> String {
        perfdash::perfdash(&self.machines)
    }

    /// Charts and tables of 80 columns.
    pub fn terminal(&self) -> String {
        terminal::terminal(&self.machines)
    }

    /// The sentence that sums each machine up; empty when neither a change nor a connection was measured.
    pub fn sentences(&self) -> Vec<String> {
        self.machines.iter().filter_map(sentence::sentence).collect()
    }

    /// Every chart by itself, with a file name that says which: `sync-endpoint-changed-wall-10-backends.svg`.
    pub fn charts(&self) -> Vec<(String, String)> {
        let panels = |machine| json::every_panel(machine).into_iter().filter(Panel::is_chart);
        let chart = |of: &str, panel: &Panel| (format!("{of}{}.svg", panel.slug()), html::standalone(panel));
        let of = |index: usize| if index == 0 { String::new() } else { format!("machine-{}-", index + 1) };
        let machines = self.machines.iter().enumerate();
        machines.flat_map(|(index, machine)| panels(machine).map(move |panel| chart(&of(index), &panel))).collect()
    }

    /// A document with its blocks filled: see [`Filled`]. Blocks show one machine.
    ///
    /// # Errors
    /// A block that is not closed or asks for what this report has not, or a report of several machines.
    pub fn fill(&self, document: &str) -> Result<Filled, FillError> {
        match &self.machines[..] {
            [machine] => blocks::fill(machine, document),
            machines => Err(FillError::Machines { found: machines.len() }),
        }
    }

    /// Writes every form but the terminal's into the directory, which is made if it does not exist: `index.html`, `report.md`,
    /// `report.json`, `metrics.txt`, `perf-dash.json`, `charts/*.svg`. Returns the page's path.
    ///
    /// # Errors
    /// [`RunError::Save`] for the first file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, RunError> {
        let save = |name: &str, text: String| {
            let path = dir.join(name);
            let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            let saved = made.and_then(|()| std::fs::write(&path, text));
            saved.map(|()| path.clone()).map_err(|source| RunError::Save { path, source })
        };
        save("report.md", self.markdown())?;
        save("report.json", self.json())?;
        save("metrics.txt", self.openmetrics())?;
        save("perf-dash.json", self.perfdash())?;
        for (name, svg) in self.charts() {
            save(&format!("charts/{name}"), svg)?;
        }
        save("index.html", self.html())
    }
}
