//! The answer as JSON: a contract, key by key.
use serde::{Deserialize, Serialize};
use sheave_core::Decision;
use std::borrow::Cow;

/// One object of `explain -o json`. Keys come and go only with a new version of the contract.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// `forward`, `reject`, `drop` or `pass`.
    pub verdict: Cow<'static, str>,
    /// The rule that fixed the verdict.
    pub rule: String,
    /// `NAMESPACE/NAME:PORT`, without the colon for an unnamed port; null on pass.
    pub service: Option<String>,
    /// `ADDRESS:PORT/PROTOCOL`; null on pass, and for a packet that has no port.
    pub frontend: Option<String>,
    /// Where a new flow may go, by address bytes, then port; empty unless forwarded.
    pub endpoints: Vec<String>,
    /// `never`, `always`, or `hairpin`: only the flow that picks the client itself.
    pub masquerade: Cow<'static, str>,
    /// Null where each flow picks anew.
    pub affinity: Option<Affinity>,
    /// The other endpoints of the Service port.
    pub excluded: Vec<Excluded>,
}

/// Session affinity (E10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Affinity {
    /// For how long after the client's last new flow, in seconds.
    pub timeout_s: u32,
}

/// An endpoint that a new flow may not go to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Excluded {
    /// `ADDRESS:PORT`.
    pub endpoint: String,
    /// The reason with its rule, as in `not local (E2)`.
    pub reason: String,
}

impl From<&Decision> for Answer {
    fn from(decision: &Decision) -> Self {
        let excluded = decision.excluded.iter();
        Self {
            verdict: decision.verdict.as_str().into(),
            rule: decision.rule.to_string(),
            service: decision.service.as_ref().map(ToString::to_string),
            frontend: decision.frontend.map(|frontend| frontend.to_string()),
            endpoints: decision.endpoints.iter().map(ToString::to_string).collect(),
            masquerade: decision.masquerade.as_str().into(),
            affinity: decision.affinity.map(|affinity| Affinity { timeout_s: affinity.timeout_s }),
            excluded: excluded
                .map(|(endpoint, reason)| Excluded { endpoint: endpoint.to_string(), reason: reason.to_string() })
                .collect(),
        }
    }
}
