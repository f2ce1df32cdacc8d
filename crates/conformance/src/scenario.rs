//! What a scenario's file says.
use crate::expected::Expected;
use serde::{Deserialize, Deserializer};
use sheave_agent::explain::{self, Observed, explain};
use sheave_core::Packet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the rule says, as a headline.
    pub title: String,
    /// The rules the questions turn on.
    pub rules: Vec<String>,
    /// What the rule is, who differs, and where that stands.
    pub about: String,
    /// The node all of this happens on.
    pub node: String,
    /// The configuration file.
    #[serde(default)]
    pub config: String,
    /// Kinds that have not been listed yet, by a source that is slow (W12).
    #[serde(default)]
    pub unlisted: Vec<String>,
    #[serde(default)]
    node_addresses: Option<BTreeSet<IpAddr>>,
    manifests: String,
    #[serde(default)]
    questions: Vec<Question>,
    #[serde(default, deserialize_with = "block")]
    dump: Option<String>,
    #[serde(default, deserialize_with = "block")]
    node_rules: Option<String>,
    #[serde(default, deserialize_with = "block")]
    diagnostics: Option<String>,
    #[serde(default)]
    steps: Vec<Step>,
}

/// Something happens; then questions are asked and what is held is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens.
    pub step: String,
    /// The agent ends and another begins, over the same dataplane.
    #[serde(default)]
    pub restart: bool,
    /// Kinds that are listed for the first time now.
    #[serde(default)]
    pub lists: Vec<String>,
    /// The addresses on the node's devices, from now on.
    pub node_addresses: Option<BTreeSet<IpAddr>>,
    /// Manifests of objects that are new or have changed.
    #[serde(default)]
    pub apply: String,
    /// Objects that are gone, as `KIND NAMESPACE/NAME`.
    #[serde(default)]
    pub delete: Vec<String>,
    /// What is asked then.
    #[serde(default)]
    pub questions: Vec<Question>,
    /// The changes this step brings to the dataplane.
    #[serde(default, deserialize_with = "block")]
    pub plan: Option<String>,
    /// What the dataplane holds then.
    #[serde(default, deserialize_with = "block")]
    pub dump: Option<String>,
    /// What it holds for the node as a whole.
    #[serde(default, deserialize_with = "block")]
    pub node_rules: Option<String>,
    /// What is wrong then.
    #[serde(default, deserialize_with = "block")]
    pub diagnostics: Option<String>,
}

/// A packet that begins a flow, and what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who dials what.
    pub when: String,
    /// Source address.
    pub from: String,
    /// As `sheave explain --to` takes it.
    pub to: String,
    /// The device it comes in by.
    pub interface: Option<String>,
    /// The answer of `sheave explain -o json`.
    #[serde(default, deserialize_with = "block")]
    pub expect: Option<String>,
}

impl Question {
    /// The packet that is meant; `None` for a Service that nothing can be sent to.
    ///
    /// # Errors
    /// Why no packet follows from the question.
    pub fn packet(&self, observed: Observed<'_>) -> Result<Option<Packet>, String> {
        let question = explain::Question::parse(&self.from, &self.to, self.interface.as_deref());
        let question = question.map_err(|error| error.to_string())?;
        let explanation = explain(observed, &question).map_err(|error| error.to_string())?;
        Ok(explanation.packet().cloned())
    }

    /// The answer that is expected.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn expected(&self) -> Result<Expected, String> {
        let json = self.expect.as_deref().ok_or("no answer is expected")?;
        Expected::read(json).map_err(|error| format!("what is expected cannot be read: {error}"))
    }
}

/// A key without a value asks for what comes out, and expects nothing yet.
fn block<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| Some(text.unwrap_or_default()))
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// What cannot be read, or says nothing.
    pub fn read(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let silent =
            [&scenario.title, &scenario.about, &scenario.node].into_iter().any(|field| field.trim().is_empty());
        if silent || scenario.rules.is_empty() {
            return Err("title, rules, about and node must say something".to_owned());
        }
        Ok(scenario)
    }

    /// Everything that happens, from the first manifests on.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let start = Step {
            step: "at the start".to_owned(),
            node_addresses: self.node_addresses.clone(),
            apply: self.manifests.clone(),
            questions: self.questions.clone(),
            dump: self.dump.clone(),
            node_rules: self.node_rules.clone(),
            diagnostics: self.diagnostics.clone(),
            ..Step::default()
        };
        std::iter::once(start).chain(self.steps.iter().cloned()).collect()
    }
}
