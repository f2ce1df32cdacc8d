//! `sheave cleanup`.
use crate::output::{is_root, print, with_sudo};
use crate::settings::Settings;
use clap::Args;
use sheave_bpf::cleanup::cleanup;
use std::process::ExitCode;

#[derive(Args)]
#[command(after_help = "Services of this node stop working until another proxy serves them; stop the agent \
    first.\n\nExamples:\n  sudo sheave cleanup")]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(is_root(), "removing programs and maps needs root; run: {}", with_sudo());
    let removed = cleanup(&arguments.settings.load()?.bpffs)?;
    print(&format!("removed {} links, {} maps, {} filters", removed.links, removed.maps, removed.filters))?;
    Ok(ExitCode::SUCCESS)
}
