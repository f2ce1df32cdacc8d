//! What the programs can hold of what a Service asks for, and what is said of the rest: a diagnostic for each wish that is
//! left out or carried out in another way, so that nothing is left out in silence (I7).
//!
//! They hold ClusterIPs with one set. That is the set of the internal policy, so it stands where a Cluster policy has its.
use sheave_core::{Diagnostic, FlatMap, FrontendKind, ObjectRef, Problem, Protocol, Service, Serving, TrafficPolicy};
use std::sync::Arc;

/// The part of `wanted` that is held.
pub(crate) fn carried(wanted: &Arc<Serving>) -> Arc<Serving> {
    if is_whole(wanted) {
        return Arc::clone(wanted);
    }
    let set = wanted.set(wanted.internal);
    let frontends = wanted.frontends.iter().filter(|(_, kind)| **kind == FrontendKind::ClusterIp);
    Arc::new(Serving {
        frontends: frontends.map(|(frontend, kind)| (*frontend, *kind)).collect(),
        cluster: set.clone(),
        keep: wanted.members().filter(|backend| !set.contains(backend)).copied().collect(),
        ..Serving::default()
    })
}

/// Whether nothing has to be left out.
fn is_whole(wanted: &Serving) -> bool {
    let Serving { frontends, internal, external, cluster: _, local, keep: _, affinity, sources } = wanted;
    frontends.iter().all(|(_, kind)| *kind == FrontendKind::ClusterIp)
        && (*internal, *external) == (TrafficPolicy::Cluster, TrafficPolicy::Cluster)
        && (local, affinity, sources) == (&FlatMap::default(), &None, &None)
}

/// What a Service asks for that is not, or not quite, done.
pub(crate) fn lacks(service: &Service) -> Vec<Diagnostic> {
    if service.cluster_ips.is_empty() {
        return Vec::new();
    }
    let wish = |wished: bool, field, message| wished.then_some((field, message));
    let of_port = |wished: fn(&_) -> bool| service.ports.iter().any(wished);
    let wishes = [
        wish(
            of_port(|port| port.node_port.is_some()),
            "spec.ports.nodePort",
            "NodePort is not served yet; its ClusterIPs are",
        ),
        wish(
            !service.load_balancer_ips.is_empty(),
            "status.loadBalancer",
            "LoadBalancer is not served yet; its ClusterIPs are",
        ),
        wish(
            !service.external_ips.is_empty(),
            "spec.externalIPs",
            "external IPs are not served yet; its ClusterIPs are",
        ),
        wish(
            service.internal_policy == TrafficPolicy::Local,
            "spec.internalTrafficPolicy",
            "where no endpoint is on this node the eBPF programs reject instead of dropping yet",
        ),
        wish(service.affinity.is_some(), "spec.sessionAffinity", "ClientIP is not served yet; each flow picks anew"),
        wish(
            of_port(|port| port.protocol == Protocol::Sctp),
            "spec.ports.protocol",
            "SCTP is not served yet; its packets pass as they are",
        ),
    ];
    let diagnostic = |(field, message): (&str, &str)| Diagnostic {
        object: ObjectRef::new("Service", &service.name.to_string()),
        field: field.to_owned(),
        problem: Problem::Unsupported,
        message: message.to_owned(),
        origin: service.origin.clone(),
    };
    wishes.into_iter().flatten().map(diagnostic).collect()
}
