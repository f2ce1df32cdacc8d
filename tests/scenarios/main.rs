//! Golden scenarios: each file beside this one says what a rule means in objects and packets, and what comes out.
//!
//! The objects go the agent's way, from the text of manifests to what a dataplane holds. Each question is answered twice,
//! by the reference (as `sheave explain` does) and by the dataplane from what it holds alone, and the two must agree.
//! `UPDATE_EXPECT=1` writes the answers into the files; what it writes is a claim, to be read before it is committed.
//! `cargo test -p sheave-tests --test scenarios -- E5` runs the files of one rule.
mod answer;
mod blocks;
mod coverage;
mod difference;
mod play;
mod shown;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let files = files();
    let mut trials: Vec<Trial> = files.iter().cloned().map(trial).collect();
    trials.push(Trial::test("every_rule_has_a_scenario_that_turns_on_it", move || {
        coverage::check(&files).map_err(Failed::from)
    }));
    trials.push(Trial::test("what_is_expected_is_written_in_place_and_nothing_else_changes", || {
        blocks::check_rewriting();
        Ok(())
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(path: PathBuf) -> Trial {
    let name = name(&path);
    Trial::test(name, move || play::play(&path).map_err(Failed::from))
}

/// The file's name without its suffix: a rule or `differs`, then what it is about.
fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Every scenario, by name.
fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario in {}", dir.display());
    files
}
