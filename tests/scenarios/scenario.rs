//! What a scenario's file says.
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What the rule says, as a headline.
    pub(crate) title: String,
    /// The rules the questions turn on.
    pub(crate) rules: Vec<String>,
    /// What the rule is, who differs, and where that stands.
    pub(crate) about: String,
    /// The node all of this happens on.
    pub(crate) node: String,
    /// The configuration file.
    #[serde(default)]
    pub(crate) config: String,
    /// Kinds that have not been listed yet, by a source that is slow (W12).
    #[serde(default)]
    pub(crate) unlisted: Vec<String>,
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
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// What happens.
    pub(crate) step: String,
    /// The agent ends and another begins, over the same dataplane.
    #[serde(default)]
    pub(crate) restart: bool,
    /// Kinds that are listed for the first time now.
    #[serde(default)]
    pub(crate) lists: Vec<String>,
    /// The addresses on the node's devices, from now on.
    pub(crate) node_addresses: Option<BTreeSet<IpAddr>>,
    /// Manifests of objects that are new or have changed.
    #[serde(default)]
    pub(crate) apply: String,
    /// Objects that are gone, as `KIND NAMESPACE/NAME`.
    #[serde(default)]
    pub(crate) delete: Vec<String>,
    /// What is asked then.
    #[serde(default)]
    pub(crate) questions: Vec<Question>,
    /// The changes this step brings to the dataplane.
    #[serde(default, deserialize_with = "block")]
    pub(crate) plan: Option<String>,
    /// What the dataplane holds then.
    #[serde(default, deserialize_with = "block")]
    pub(crate) dump: Option<String>,
    /// What it holds for the node as a whole.
    #[serde(default, deserialize_with = "block")]
    pub(crate) node_rules: Option<String>,
    /// What is wrong then.
    #[serde(default, deserialize_with = "block")]
    pub(crate) diagnostics: Option<String>,
}

/// A packet that begins a flow, and what becomes of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    /// Who dials what.
    pub(crate) when: String,
    /// Source address.
    pub(crate) from: String,
    /// As `sheave explain --to` takes it.
    pub(crate) to: String,
    /// The device it comes in by.
    pub(crate) interface: Option<String>,
    /// The answer of `sheave explain -o json`.
    #[serde(default, deserialize_with = "block")]
    pub(crate) expect: Option<String>,
}

/// A key without a value asks for what comes out, and expects nothing yet.
fn block<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<String>::deserialize(deserializer).map(|text| Some(text.unwrap_or_default()))
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let silent =
            [&scenario.title, &scenario.about, &scenario.node].into_iter().any(|field| field.trim().is_empty());
        if silent || scenario.rules.is_empty() {
            return Err("title, rules, about and node must say something".to_owned());
        }
        Ok(scenario)
    }

    /// Everything that happens, from the first manifests on.
    pub(crate) fn steps(&self) -> Vec<Step> {
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
