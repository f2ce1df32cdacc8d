//! `sheave check`.
use crate::output::{Output, print};
use crate::settings::Settings;
use clap::Args;
use serde_json::json;
use sheave_agent::check::{Finding, Host, Level, Trials, check, worst};
use sheave_bpf::reach::reaches_this_process;
use std::path::Path;
use std::process::ExitCode;

#[derive(Args)]
#[command(
    after_help = "Exit status: 0 nothing to do, 1 warnings, 2 sheave cannot serve this node.\n\nExamples:\n  sheave \
    check\n  sudo sheave check -o json"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// How to print the findings
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = arguments.settings.load()?;
    let trials = Trials {
        load: || sheave_bpf::load::try_load().map_err(|error| format!("{error:#}")),
        reach: |cgroup: &Path| reaches_this_process(cgroup).map_err(|error| error.to_string()),
    };
    let findings = check(&Host::read(&config), trials);
    match arguments.output {
        Output::Text => print(&as_text(&findings))?,
        Output::Json => print(&format!("{:#}", json!({ "level": worst(&findings), "findings": findings })))?,
    }
    Ok(match worst(&findings) {
        Level::Ok => ExitCode::SUCCESS,
        Level::Warning => ExitCode::from(1),
        Level::Failure => ExitCode::from(2),
    })
}

fn as_text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { name, level, found, remedy } in findings {
        let mark = match level {
            Level::Ok => "ok  ",
            Level::Warning => "warn",
            Level::Failure => "FAIL",
        };
        lines.push(format!("{mark}  {name:<20} {found}"));
        if let Some(remedy) = remedy {
            lines.push(format!("                           -> {remedy}"));
        }
    }
    lines.join("\n")
}
