//! What becomes an Event of the API server (H9): that the agent starts, findings about Services, servers that cannot listen.
use crate::health::services::ListenError;
use sheave_core::{Diagnostic, ObjectRef, Problem};
use sheave_kube_source::events::{Note, Recorder, Severity, Witness};
use std::collections::BTreeMap;

/// Tells each finding when it appears, and takes it back when it is gone before it was written.
pub(crate) struct Announcer {
    node: String,
    /// `None` with manifest files as the source: there is nobody to tell.
    recorder: Option<Recorder>,
    /// What was told and is still so.
    told: BTreeMap<(ObjectRef, Problem), String>,
}

/// kube-proxy's reason where it cannot listen (pkg/proxy/healthcheck/service_health.go).
const NOT_LISTENING: &str = "FailedToStartServiceHealthcheck";

/// Why, in one word as Events have it.
fn reason(problem: Problem) -> &'static str {
    match problem {
        Problem::Unreadable => "Unreadable",
        Problem::Invalid => "InvalidField",
        Problem::Conflict => "FrontendConflict",
        Problem::Capacity => "CapacityExceeded",
        Problem::Unsupported => "Unsupported",
    }
}

impl Announcer {
    pub(crate) fn new(node: &str, recorder: Option<Recorder>) -> Self {
        Self { node: node.to_owned(), recorder, told: BTreeMap::new() }
    }

    /// The agent begins its work.
    pub(crate) fn started(&self) {
        let message = format!("sheave {} starts to serve Services on this node", env!("CARGO_PKG_VERSION"));
        self.note(
            ObjectRef::new("Node", &self.node),
            "Starting",
            "StartSheave",
            Severity::Normal,
            message,
            Witness::Node,
        );
    }

    /// The servers of healthCheckNodePorts that cannot listen.
    pub(crate) fn not_listening(&self, errors: &[ListenError]) {
        for ListenError { service, address, source } in errors {
            let message = format!(
                "node {} failed to start healthcheck \"{service}\" on port {}: listen {address}: {source}",
                self.node,
                address.port()
            );
            let service = ObjectRef::new("Service", &service.to_string());
            self.note(service, NOT_LISTENING, "Listen", Severity::Warning, message, Witness::Node);
        }
    }

    /// What is wrong now. One note for each object and kind of problem, about the first of them. Every node of the cluster sees
    /// the same objects.
    pub(crate) fn diagnosed(&mut self, diagnostics: &std::collections::BTreeSet<Diagnostic>) {
        let mut now: BTreeMap<(ObjectRef, Problem), Vec<&Diagnostic>> = BTreeMap::new();
        for diagnostic in diagnostics {
            if let Some(object) = self.regarding(&diagnostic.object) {
                now.entry((object, diagnostic.problem)).or_default().push(diagnostic);
            }
        }
        let gone = self.told.extract_if(.., |key, _| !now.contains_key(key));
        for ((object, problem), _) in gone {
            self.recorder.iter().for_each(|recorder| recorder.withdraw(object.clone(), reason(problem)));
        }
        for ((object, problem), found) in now {
            let message = message(&found);
            let told = self.told.insert((object.clone(), problem), message.clone());
            if told.is_none_or(|told| told != message) {
                let witness = if &*object.kind == "Node" { Witness::Node } else { Witness::Cluster };
                self.note(object, reason(problem), "Serve", Severity::Warning, message, witness);
            }
        }
    }

    /// Events written and dropped so far.
    pub(crate) fn tally(&self) -> (u64, u64) {
        self.recorder.as_ref().map_or((0, 0), |recorder| (recorder.written(), recorder.dropped()))
    }

    /// Which object of the API server is told: what is wrong with the node, or with an address of nobody in particular, the node.
    fn regarding(&self, object: &ObjectRef) -> Option<ObjectRef> {
        match &*object.kind {
            "Service" | "EndpointSlice" => Some(object.clone()),
            "Node" | "VIP" => Some(ObjectRef::new("Node", &self.node)),
            _ => None,
        }
    }

    fn note(
        &self,
        regarding: ObjectRef,
        reason: &'static str,
        action: &'static str,
        severity: Severity,
        message: String,
        witness: Witness,
    ) {
        if let Some(recorder) = &self.recorder {
            recorder.note(Note { regarding, reason, action, severity, message, witness });
        }
    }
}

fn message(found: &[&Diagnostic]) -> String {
    let Some(first) = found.first() else { return String::new() };
    let field = if first.field.is_empty() { String::new() } else { format!("{}: ", first.field) };
    match found.len() {
        1 => format!("{field}{}", first.message),
        more => format!("{field}{} (and {} more of the kind)", first.message, more - 1),
    }
}
