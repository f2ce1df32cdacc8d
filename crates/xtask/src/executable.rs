//! Programs of this workspace: built by cargo, and found where cargo says that they are.
use crate::process::cargo;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The binary, as the README has users build it.
pub(crate) fn sheave() -> Result<PathBuf> {
    built(cargo(&["build", "--release", "--bin", "sheave"]), "sheave")
}

/// A binary of tests across crates, as `cargo test` makes it.
pub(crate) fn tests(name: &str) -> Result<PathBuf> {
    built(cargo(&["test", "--package", "sheave-tests", "--locked", "--no-run", "--test", name]), name)
}

/// Runs a build, and returns the executable of this name.
pub(crate) fn built(mut cargo: Command, name: &str) -> Result<PathBuf> {
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "building {name}: {}", output.status);
    named(&String::from_utf8_lossy(&output.stdout), name).with_context(|| format!("cargo named no executable {name:?}"))
}

/// The executable of this name in the messages of a build.
fn named(messages: &str, name: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|message| message["target"]["name"] == name).find_map(|m| m["executable"].as_str().map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_one_cargo_names() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"x\"},\"executable\":\"/x\"}\nnoise\n\
                        {\"target\":{\"name\":\"sheave\"},\"executable\":null}\n\
                        {\"target\":{\"name\":\"sheave\"},\"executable\":\"/t/release/sheave\"}";
        for (name, want) in [("sheave", Some("/t/release/sheave")), ("x", Some("/x")), ("y", None)] {
            assert_eq!(named(messages, name), want.map(PathBuf::from), "{name}");
        }
    }
}
