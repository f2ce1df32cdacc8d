//! A question, asked of the reference and of the dataplane.
use sheave_agent::explain::{self, Target, explain};
use sheave_conformance::{Question, Stage};
use sheave_core::{Decision, Packet};
use sheave_dataplane::Outcome;

/// The answer of the reference as `sheave explain -o json` gives it, if the dataplane does the same.
pub(crate) fn answer(stage: &Stage, question: &Question) -> Result<String, String> {
    let Question { from, to, interface, .. } = question;
    let question = explain::Question::parse(from, to, interface.as_deref()).map_err(|error| error.to_string())?;
    let explanation = explain(stage.observed(), &question).map_err(|error| error.to_string())?;
    // A Service that is asked for by name and has no address cannot be sent anything.
    if let Target::Address { addr, transport } = question.to {
        let packet = Packet { source: question.from, destination: addr, transport, interface: question.interface };
        let (wanted, done) = (outcome(explanation.decision()), stage.recorder.ask(|fake| fake.decide(&packet)));
        if done != wanted {
            return Err(format!("the dataplane does {done:?}, the reference says {wanted:?}"));
        }
    }
    let json = serde_json::to_string(&explanation.answer()).map_err(|error| error.to_string())?;
    Ok(in_lines(&json))
}

/// What a decision asks of a dataplane.
fn outcome(decision: &Decision) -> Outcome {
    let Decision { verdict, endpoints, masquerade, affinity, .. } = decision;
    Outcome { verdict: *verdict, endpoints: endpoints.clone(), masquerade: *masquerade, affinity: *affinity }
}

/// The object on as many lines as it needs to be read.
fn in_lines(json: &str) -> String {
    let lines =
        json.replace(r#","endpoints":["#, ",\n \"endpoints\":[").replace(r#","excluded":[{"#, ",\n \"excluded\":[{");
    lines.replace(r#"},{"endpoint""#, "},\n  {\"endpoint\"") + "\n"
}
