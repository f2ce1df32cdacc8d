//! `sheave explain` without manifests: the running agent answers from the objects it holds.
use super::{Arguments, Engine, as_json};
use crate::output::{Output, note, print};
use crate::status::{socket, told};
use anyhow::{Context as _, bail};
use sheave_agent::admin::{self, ExplainRequest};
use sheave_agent::status::DiagnosticStatus;
use std::process::ExitCode;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.engine == Engine::Kernel {
        bail!(
            "the running agent answers from the rules; to put the packet to the kernel programs as well, name the objects \
             with --manifests PATH, or - for standard input"
        );
    }
    let socket = socket(arguments.socket.as_ref(), arguments.config.as_deref())?;
    let Arguments { from, to, in_interface, output, .. } = arguments;
    let request = ExplainRequest { from: from.clone(), to: to.clone(), in_interface: in_interface.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let reply = runtime.block_on(admin::explain(&socket, &request)).map_err(told)?;
    reply.notes.iter().for_each(|text| note(&format!("sheave: {text}")));
    print(&match output {
        Output::Text => reply.text,
        Output::Json => {
            reply.diagnostics.iter().for_each(|wrong| note(&format!("sheave: {}", said(wrong))));
            as_json(&reply.answer)?
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn said(DiagnosticStatus { object, field, message, origin, .. }: &DiagnosticStatus) -> String {
    let parts =
        [origin.as_deref(), Some(object), Some(field).filter(|field| !field.is_empty()).map(|f| &**f), Some(message)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}
