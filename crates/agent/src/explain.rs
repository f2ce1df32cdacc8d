//! What happens to a packet, and why: the reference [`decide`] asked about objects that were observed.
//!
//! [`Explanation::answer`] is the contract that other tools parse; [`Explanation::text`] is for the one who asks why a Service
//! does not work.
mod answer;
mod endpoints;
mod nearest;
mod question;
mod source;
mod target;
mod text;

pub use answer::{Affinity, Answer, Excluded};
pub use question::{BadQuestion, Question};
pub use target::{PortRef, Target};

use question::Asked;
use sheave_core::decide::Rule;
use sheave_core::{Decision, Desired, Diagnostic, Index, ObjectName, ObjectRef, ProxyConfig, ServiceName, decide};
use sheave_kube_source::{Absent, object_ref};
use std::collections::{BTreeMap, BTreeSet};

/// What questions are asked about: objects, as a source reported them, and the settings of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// The objects, seen from one node.
    pub index: &'a Index,
    /// The settings.
    pub config: &'a ProxyConfig,
    /// Objects that exist and give no rules, each with the reason (W1, W2, W3).
    pub absent: &'a BTreeMap<ObjectName, Absent>,
}

impl Observed<'_> {
    /// Why a Service that exists gives no rules.
    fn absent(&self, service: &ServiceName) -> Option<Absent> {
        self.absent.get(&ObjectName::Service(service.clone())).copied()
    }
}

/// What was asked, and what [`decide`] says to it.
#[derive(Debug)]
pub struct Explanation<'a> {
    observed: Observed<'a>,
    asked: Asked,
    decision: Decision,
}

/// Asks.
///
/// # Errors
/// [`BadQuestion`] when no packet follows from the question.
pub fn explain<'a>(observed: Observed<'a>, question: &Question) -> Result<Explanation<'a>, BadQuestion> {
    let asked = question.resolve(&observed)?;
    let decision = match &asked {
        Asked::Packet { packet, .. } => decide(packet, observed.index, observed.config),
        Asked::Undialled { service, .. } => undialled(observed.absent(service)),
    };
    Ok(Explanation { observed, asked, decision })
}

/// A Service that nothing can be sent to.
fn undialled(absent: Option<Absent>) -> Decision {
    let rule = match absent {
        Some(Absent::OtherProxy) => Rule::W1,
        Some(Absent::Headless | Absent::NoClusterIp) => Rule::W2,
        Some(Absent::ExternalName) => Rule::W3,
        _ => Rule::A15,
    };
    Decision { rule, ..Decision::pass() }
}

impl Explanation<'_> {
    /// The contract: verdict, rule, endpoints.
    #[must_use]
    pub fn answer(&self) -> Answer {
        Answer::from(&self.decision)
    }

    /// What the reference says, as core has it.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The answer for a reader: several lines, without a newline at the end.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// What is wrong with the Service that the question is about, with its slices and with its frontends.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let Some(service) = self.service() else { return Vec::new() };
        self.diagnostics_of(service, &Desired::rebuild(self.observed.config.clone(), self.observed.index))
    }

    fn diagnostics_of(&self, service: &ServiceName, desired: &Desired) -> Vec<Diagnostic> {
        let index = self.observed.index;
        let slices = index.slices(service).map(|slice| ObjectName::EndpointSlice(slice.name.clone()));
        let names = slices.chain([ObjectName::Service(service.clone())]);
        let objects: BTreeSet<ObjectRef> = names.map(|name| object_ref(&name)).collect();
        let all = index.diagnostics().cloned().chain(desired.diagnostics());
        all.filter(|diagnostic| objects.contains(&diagnostic.object)).collect()
    }

    /// The Service that the question is about, whoever named it.
    fn service(&self) -> Option<&ServiceName> {
        match (&self.decision.service, &self.asked) {
            (Some(port), _) => Some(&port.service),
            (None, Asked::Packet { service, .. }) => service.as_ref(),
            (None, Asked::Undialled { service, .. }) => Some(service),
        }
    }
}
