//! `sheave explain`, asked of the objects the loop holds.
use super::DiagnosticStatus;
use super::evidence::{evidence, wanted};
use crate::admin::{ExplainReply, PacketQuestion};
use crate::explain::{BadQuestion, Observed, Target, explain as ask};
use crate::sync::Syncer;
use sheave_dataplane::Dataplane;
use std::collections::BTreeMap;

/// Answers by the code that answers from manifests. Cost: a look at every Service.
///
/// # Errors
/// [`BadQuestion`] when no packet follows from the question.
pub fn explain<D: Dataplane>(syncer: &Syncer<D>, asked: &PacketQuestion) -> Result<ExplainReply, BadQuestion> {
    let PacketQuestion { question, objects } = asked;
    let (index, config) = (syncer.index(), syncer.desired().config());
    let absent = BTreeMap::new();
    let explanation = ask(Observed { index, config, absent: &absent }, question)?;
    // Before everything was listed nothing is wanted yet, and all of it is not worked out for one packet.
    let few = explanation.packet().filter(|_| !syncer.complete()).map(|packet| wanted(index, config, packet));
    let explanation = explanation.with_desired(few.as_ref().unwrap_or(syncer.desired()));
    let mut notes = Vec::new();
    if !syncer.complete() {
        notes.push("the agent has not been told of everything yet, so the answer may change".to_owned());
    } else if syncer.pending().rules || syncer.behind().len() > 0 {
        notes.push("this is what the rules say; the kernel is behind, see `sheave status`".to_owned());
    }
    if explanation.packet().is_none()
        && let Target::Service { service, .. } = &question.to
        && index.service(service).is_none()
    {
        notes.push(format!(
            "the agent holds no Service without a ClusterIP, none of type ExternalName and none of another proxy (W1 to \
             W3); with --manifests it is told whether {service} is one of those"
        ));
    }
    let diagnostics = explanation.diagnostics();
    Ok(ExplainReply {
        answer: explanation.answer(),
        text: explanation.text(),
        diagnostics: diagnostics.iter().map(DiagnosticStatus::from).collect(),
        notes,
        evidence: explanation.packet().filter(|_| *objects).map(|packet| evidence(index, config, packet)),
    })
}
