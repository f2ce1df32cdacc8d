//! `sheave explain` without manifests: the running agent answers from the objects it holds.
use super::{Arguments, Engine, as_json, by_kernel, differing, observe};
use crate::output::{Output, note, print};
use crate::status::{socket, told};
use anyhow::{Context as _, ensure};
use sheave_agent::admin::{self, Evidence, ExplainReply, ExplainRequest};
use sheave_agent::config::Config;
use sheave_agent::explain::{Observed, Question, explain};
use sheave_agent::status::DiagnosticStatus;
use sheave_conformance::World;
use sheave_kube_source::manifests::Manifests;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let socket = socket(arguments.socket.as_ref(), arguments.config.as_deref())?;
    let Arguments { from, to, in_interface, output, engine, .. } = arguments;
    let objects = *engine == Engine::Kernel;
    let request = ExplainRequest { from: from.clone(), to: to.clone(), in_interface: in_interface.clone(), objects };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let reply = runtime.block_on(admin::explain(&socket, &request)).map_err(told)?;
    reply.notes.iter().for_each(|text| note(&format!("sheave: {text}")));
    if *output == Output::Json {
        reply.diagnostics.iter().for_each(|wrong| note(&format!("sheave: {}", said(wrong))));
    }
    if objects && let Some(different) = ask_the_kernel(arguments, &reply)? {
        return Ok(different);
    }
    print(&match output {
        Output::Text => reply.text,
        Output::Json => as_json(&reply.answer)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the packet to the kernel programs, with maps of their own that hold what the agent's answer rests on; says so and
/// returns the exit status if they do something else.
fn ask_the_kernel(arguments: &Arguments, reply: &ExplainReply) -> anyhow::Result<Option<ExitCode>> {
    let Some(Evidence { node, addresses, config, objects }) = &reply.evidence else {
        note("sheave: no packet follows from this, so the kernel programs were not asked");
        return Ok(None);
    };
    let documents =
        |documents: &[serde_json::Value]| documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n---\n");
    let config = Config::parse(&documents(config), Path::new("(of the agent)"))?.proxy();
    let manifests = Manifests::read_from("(of the agent)", documents(objects).as_bytes())?;
    let (index, absent) = (observe(&manifests, node, addresses), BTreeMap::new());
    let question = Question::parse(&arguments.from, &arguments.to, arguments.in_interface.as_deref())?;
    let explanation = explain(Observed { index: &index, config: &config, absent: &absent }, &question)?;
    ensure!(
        explanation.answer() == reply.answer,
        "the objects that the agent sent lead to another answer than its own; this is a bug, please report it"
    );
    match by_kernel(&explanation, World { index: &index, config: &config })? {
        None => Ok(None),
        Some((real, difference)) => differing(&explanation, &real, &difference, arguments.output).map(Some),
    }
}

fn said(DiagnosticStatus { object, field, message, origin, .. }: &DiagnosticStatus) -> String {
    let field = Some(&**field).filter(|field| !field.is_empty());
    let parts = [origin.as_deref(), Some(object), field, Some(message)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}
