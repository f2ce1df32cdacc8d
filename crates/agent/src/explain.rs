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
use sheave_core::SliceName;
use sheave_core::decide::Rule;
use sheave_core::{
    Decision, Desired, Diagnostic, Index, ObjectName, ObjectRef, Packet, ProxyConfig, ServiceName, decide,
};
use sheave_kube_source::{Absent, object_ref};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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

impl<'a> Observed<'a> {
    /// Why a Service that exists gives no rules.
    fn absent(&self, service: &ServiceName) -> Option<&'a Absent> {
        self.absent.get(&ObjectName::Service(service.clone()))
    }

    /// The slices of a Service that do not count, each with the reason (W2, W4).
    fn absent_slices(&self, service: &ServiceName) -> Vec<(&'a SliceName, &'a Absent)> {
        let slice = |(name, absent): (&'a ObjectName, &'a Absent)| match name {
            ObjectName::EndpointSlice(slice) if absent.of_service() == Some(service) => Some((slice, absent)),
            _ => None,
        };
        self.absent.iter().filter_map(slice).collect()
    }

    /// The Service of another proxy that has this ClusterIP, and why it is left to that one (W1).
    fn left_to_another(&self, addr: IpAddr) -> Option<(&'a ServiceName, &'a Absent)> {
        self.absent.iter().find_map(|(name, absent)| match (name, absent) {
            (ObjectName::Service(service), Absent::OtherProxy { cluster_ips }) if cluster_ips.contains(&addr) => {
                Some((service, absent))
            }
            _ => None,
        })
    }

    /// What is wrong with an object itself, as its source found it.
    fn wrong_with(&self, name: &ObjectName) -> impl Iterator<Item = &'a Diagnostic> + use<'a> {
        let object = object_ref(name);
        self.index.diagnostics().filter(move |diagnostic| diagnostic.object == object)
    }
}

/// What was asked, and what [`decide`] says to it.
#[derive(Debug)]
pub struct Explanation<'a> {
    observed: Observed<'a>,
    asked: Asked,
    decision: Decision,
    /// What the loop has worked out already, where it is the one that is asked.
    held: Option<&'a Desired>,
    /// Else worked out when it is first needed: the contract needs none of it.
    desired: OnceCell<Desired>,
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
    Ok(Explanation { observed, asked, decision, held: None, desired: OnceCell::new() })
}

/// A Service that nothing can be sent to.
fn undialled(absent: Option<&Absent>) -> Decision {
    let is = |rule: &Rule| absent.is_some_and(|absent| absent.rule() == rule.to_string());
    let rule = [Rule::W1, Rule::W2, Rule::W3].into_iter().find(is).unwrap_or(Rule::A15);
    Decision { rule, ..Decision::pass() }
}

impl<'a> Explanation<'a> {
    /// Saves working out what is wanted: `desired` is what [`Desired::rebuild`] would make of what was observed, or of what concerns
    /// the packet.
    #[must_use]
    pub fn with_desired(self, desired: &'a Desired) -> Self {
        Self { held: Some(desired), ..self }
    }
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

    /// The packet that was meant; `None` where a Service was named that nothing can be sent to.
    #[must_use]
    pub fn packet(&self) -> Option<&Packet> {
        match &self.asked {
            Asked::Packet { packet, .. } => Some(packet),
            Asked::Undialled { .. } => None,
        }
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
        let index = self.observed.index;
        let slices = index.slices(service).map(|slice| &slice.name);
        let absent = self.observed.absent_slices(service).into_iter().map(|(name, _)| name);
        let slices = slices.chain(absent).map(|name| ObjectName::EndpointSlice(name.clone()));
        let names = slices.chain([ObjectName::Service(service.clone())]);
        let objects: BTreeSet<ObjectRef> = names.map(|name| object_ref(&name)).collect();
        let wrong = index.diagnostics().filter(|diagnostic| objects.contains(&diagnostic.object));
        wrong.cloned().chain(self.desired().diagnostic(service)).collect()
    }

    fn desired(&self) -> &Desired {
        if let Some(held) = self.held {
            return held;
        }
        self.desired.get_or_init(|| Desired::rebuild(self.observed.config.clone(), self.observed.index))
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
