//! The answer a scenario expects, and when an engine's answer is the same.
use crate::engine::Answer;
use serde::Deserialize;
use sheave_core::decide::{Masquerade, Verdict};
use sheave_core::{Affinity, Backend, Decision, Port};
use sheave_dataplane::Outcome;
use std::net::{IpAddr, SocketAddr};

/// What `sheave explain -o json` answers, as far as an engine can be held to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// The rule that fixes the verdict.
    pub rule: String,
    /// What happens.
    pub outcome: Outcome,
}

#[derive(Deserialize)]
struct Written {
    verdict: String,
    rule: String,
    endpoints: Vec<SocketAddr>,
    masquerade: String,
    affinity: Option<WrittenAffinity>,
}

#[derive(Deserialize)]
struct WrittenAffinity {
    timeout_s: u32,
}

const VERDICTS: [Verdict; 4] = [Verdict::Forward, Verdict::Reject, Verdict::Drop, Verdict::Pass];
const MASQUERADES: [Masquerade; 3] = [Masquerade::Never, Masquerade::Always, Masquerade::Hairpin];

impl Expected {
    /// What the reference decided.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self { rule: decision.rule.to_string(), outcome: outcome(decision) }
    }

    /// Reads the JSON of an answer.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn read(json: &str) -> Result<Self, String> {
        let Written { verdict, rule, endpoints, masquerade, affinity } =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        let verdict = VERDICTS.into_iter().find(|known| known.as_str() == verdict);
        let masquerade = MASQUERADES.into_iter().find(|known| known.as_str() == masquerade);
        let backend = |at: &SocketAddr| Some(Backend { addr: at.ip(), port: Port::new(at.port())? });
        let endpoints: Option<Vec<_>> = endpoints.iter().map(backend).collect();
        let outcome = Outcome {
            verdict: verdict.ok_or("no such verdict")?,
            endpoints: endpoints.ok_or("an endpoint without a port")?,
            masquerade: masquerade.ok_or("no such masquerade")?,
            affinity: affinity.map(|affinity| Affinity { timeout_s: affinity.timeout_s }),
        };
        Ok(Self { rule, outcome })
    }

    /// Where an answer to a packet of this source differs; `None` where it is the same.
    #[must_use]
    pub fn differs(&self, source: IpAddr, answer: &Answer) -> Option<String> {
        let Answer::Outcome { outcome, rule } = answer else { return None };
        let (want, got) = (observable(source, self.outcome.clone()), observable(source, outcome.clone()));
        if want != got {
            return Some(format!("{}; expected {}", told(&got), told(&want)));
        }
        let rule = rule.map(|rule| rule.to_string()).filter(|rule| *rule != self.rule)?;
        Some(format!("by rule {rule}; expected by {}", self.rule))
    }
}

/// An outcome as packets show it. Where the client is the only endpoint each flow is masqueraded, be it for R2 or for R4: a
/// dataplane keeps no note of the reason.
#[must_use]
pub fn observable(source: IpAddr, mut outcome: Outcome) -> Outcome {
    let only_itself = !outcome.endpoints.is_empty() && outcome.endpoints.iter().all(|backend| backend.addr == source);
    if only_itself && outcome.masquerade == Masquerade::Hairpin {
        outcome.masquerade = Masquerade::Always;
    }
    outcome
}

/// What a decision asks of a dataplane.
pub(crate) fn outcome(decision: &Decision) -> Outcome {
    let Decision { verdict, endpoints, masquerade, affinity, .. } = decision;
    Outcome { verdict: *verdict, endpoints: endpoints.clone(), masquerade: *masquerade, affinity: *affinity }
}

fn told(outcome: &Outcome) -> String {
    let Outcome { verdict, endpoints, masquerade, affinity } = outcome;
    let endpoints = endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let affinity = affinity.map_or_else(String::new, |affinity| format!(", affinity {} s", affinity.timeout_s));
    format!("{} [{endpoints}], masquerade {}{affinity}", verdict.as_str(), masquerade.as_str())
}
