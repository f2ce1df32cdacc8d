//! Blocks of other documents: what stands between two comments is the report's, and can be made again from the raw data.
//!
//! ```text
//! <!-- sheave report: table sync-endpoint-changed-wall-1-backends -->
//! (filled)
//! <!-- /sheave report -->
//! ```
use super::comparison::{Machine, Panel};
use super::sentence::sentence;
use super::{html, json, markdown};
use std::fmt::Write;

const BEGIN: &str = "<!-- sheave report: ";
const BEGIN_END: &str = " -->\n";
const END: &str = "<!-- /sheave report -->";
/// What a block may ask for, for messages.
const WORDS: &str = "sentence, conditions, losses, absent, table NAME, chart DIR/NAME.svg";

/// A document whose blocks are those of a report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filled {
    /// The document.
    pub text: String,
    /// The charts that it shows: the path as the document has it, and the SVG.
    pub charts: Vec<(String, String)>,
}

/// A document cannot be filled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FillError {
    /// The end of a block is missing.
    #[error("the block {block:?} has no end; write {END} after it")]
    Open {
        /// What it asks for.
        block: String,
    },
    /// No such block.
    #[error("there is no block {block:?}; there are: {WORDS}")]
    Unknown {
        /// What it asks for.
        block: String,
    },
    /// The report has nothing of that name.
    #[error("{block:?}: these runs do not have it; they have: {}", names.join(", "))]
    Absent {
        /// What it asks for.
        block: String,
        /// What there is.
        names: Vec<String>,
    },
    /// More than one machine, or none.
    #[error("the runs are of {found} machines or versions, and a document shows one; give runs of one")]
    Machines {
        /// How many.
        found: usize,
    },
}

pub(super) fn fill(machine: &Machine, document: &str) -> Result<Filled, FillError> {
    let mut filled = Filled { text: String::new(), charts: Vec::new() };
    let mut rest = document;
    while let Some((before, block)) = rest.split_once(BEGIN) {
        let open = || FillError::Open { block: block.lines().next().unwrap_or_default().to_owned() };
        let (asked, block) = block.split_once(BEGIN_END).ok_or_else(open)?;
        let (_, after) = block.split_once(END).ok_or_else(open)?;
        filled.text.extend([before, BEGIN, asked, BEGIN_END, "\n"]);
        filled.show(machine, asked)?;
        filled.text.extend(["\n", END]);
        rest = after;
    }
    filled.text.push_str(rest);
    Ok(filled)
}

impl Filled {
    fn show(&mut self, machine: &Machine, asked: &str) -> Result<(), FillError> {
        let absent = || FillError::Absent { block: asked.to_owned(), names: names(machine, asked) };
        let text = &mut self.text;
        // Writing to a String does not fail.
        let _unused = match asked.split_once(' ').unwrap_or((asked, "")) {
            ("sentence", "") => writeln!(text, "{}", sentence(machine).ok_or_else(absent)?),
            ("conditions", "") => markdown::write_conditions(text, machine),
            ("losses", "") => markdown::write_losses(text, machine),
            ("absent", "") => markdown::write_absent(text, machine),
            ("table", name) => {
                let panel = panel(machine, name).ok_or_else(absent)?;
                markdown::write_panel(text, &panel, machine.reference())
            }
            ("chart", path) => {
                let file = path.rsplit('/').next().unwrap_or(path);
                let panel = panel(machine, file.trim_end_matches(".svg")).filter(Panel::is_chart).ok_or_else(absent)?;
                self.charts.push((path.to_owned(), html::standalone(&panel)));
                writeln!(text, "![{}: {}, {}]({path})", panel.work.title(), panel.measure.title(), panel.axis.held())
            }
            _ => return Err(FillError::Unknown { block: asked.to_owned() }),
        };
        Ok(())
    }
}

fn panel(machine: &Machine, name: &str) -> Option<Panel> {
    json::every_panel(machine).into_iter().find(|panel| panel.slug() == name)
}

/// The names that are most like what was asked for.
fn names(machine: &Machine, asked: &str) -> Vec<String> {
    let word = asked.rsplit([' ', '/']).next().unwrap_or(asked);
    let like = |name: &str| name.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
    let names: Vec<String> = json::every_panel(machine).iter().map(Panel::slug).collect();
    let most = names.iter().map(|name| like(name)).max().unwrap_or(0);
    names.into_iter().filter(|name| like(name) == most).collect()
}
