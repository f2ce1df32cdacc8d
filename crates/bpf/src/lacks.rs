//! What a Service asks for that the programs do not do: a diagnostic for each wish, so that nothing is left out in silence (I7).
use sheave_core::{Diagnostic, ObjectRef, Problem, Protocol, Service};

/// What a Service asks for that is not done.
pub(crate) fn lacks(service: &Service) -> Vec<Diagnostic> {
    let sctp = service.ports.iter().any(|port| port.protocol == Protocol::Sctp);
    // Without a ClusterIP nothing is served anyway (W1 to W3).
    let lacks = (sctp && !service.cluster_ips.is_empty()).then(|| Diagnostic {
        object: ObjectRef::new("Service", &service.name.to_string()),
        field: "spec.ports.protocol".to_owned(),
        problem: Problem::Unsupported,
        message: "SCTP is not served yet; its packets pass as they are".to_owned(),
        origin: service.origin.clone(),
    });
    lacks.into_iter().collect()
}
