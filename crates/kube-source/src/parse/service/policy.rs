//! Which endpoints a Service's traffic may go to, and for how long a client stays with one (E4, E5, E10).
use crate::field::{Field, Findings};
use sheave_core::{Affinity, TrafficPolicy};

/// Seconds a client stays with an endpoint where nothing else is said (`DefaultClientIPServiceAffinitySeconds` of the API).
const AFFINITY_DEFAULT_S: u32 = 10_800;
/// The longest time the API takes (`MaxClientIPServiceAffinitySeconds`).
const AFFINITY_MAX_S: u32 = 86_400;

/// internalTrafficPolicy (E4).
pub(super) fn internal(spec: &Field<'_>, findings: &mut Findings) -> TrafficPolicy {
    policy(&spec.get("internalTrafficPolicy"), findings)
}

/// externalTrafficPolicy (E5). Local counts only for Services that can be dialled from outside: of type NodePort or
/// LoadBalancer, or of type ClusterIP with external IPs (kubernetes pkg/api/v1/service/util.go, `ExternalPolicyLocal`).
pub(super) fn external(spec: &Field<'_>, findings: &mut Findings) -> TrafficPolicy {
    let field = spec.get("externalTrafficPolicy");
    let policy = policy(&field, findings);
    let kind = spec.get("type");
    let cluster_ip = kind.is_blank() || kind.is_text("ClusterIP");
    let external_ips = cluster_ip && !spec.get("externalIPs").is_empty();
    if policy == TrafficPolicy::Local && !(external_ips || kind.is_text("NodePort") || kind.is_text("LoadBalancer")) {
        let message =
            "Local has no effect on a Service that is neither NodePort nor LoadBalancer and has no externalIPs";
        findings.invalid(&field, message);
        return TrafficPolicy::Cluster;
    }
    policy
}

fn policy(field: &Field<'_>, findings: &mut Findings) -> TrafficPolicy {
    match field.text(findings) {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(_) => {
            findings.invalid(field, format!("{} is neither Cluster nor Local; Cluster is used", field.shown()));
            TrafficPolicy::Cluster
        }
    }
}

/// sessionAffinity (E10).
pub(super) fn affinity(spec: &Field<'_>, findings: &mut Findings) -> Option<Affinity> {
    let field = spec.get("sessionAffinity");
    match field.text(findings)? {
        "ClientIP" => Some(Affinity { timeout_s: timeout_s(spec, findings) }),
        "" | "None" => None,
        _ => {
            findings.invalid(&field, format!("{} is neither ClientIP nor None; None is used", field.shown()));
            None
        }
    }
}

fn timeout_s(spec: &Field<'_>, findings: &mut Findings) -> u32 {
    let config = spec.get("sessionAffinityConfig");
    let client_ip = config.map(findings).get("clientIP");
    let field = client_ip.map(findings).get("timeoutSeconds");
    let Some(asked) = field.number(findings) else { return AFFINITY_DEFAULT_S };
    let within = u32::try_from(asked.clamp(1, i64::from(AFFINITY_MAX_S))).unwrap_or(AFFINITY_MAX_S);
    if i64::from(within) != asked {
        findings.invalid(&field, format!("{asked} is outside 1 to {AFFINITY_MAX_S} seconds; {within} is used"));
    }
    within
}

#[cfg(test)]
mod tests {
    use crate::parse::service::tests::{read, with};
    use serde_json::{Value, json};
    use sheave_core::TrafficPolicy::{Cluster, Local};

    #[test]
    fn e4_internal_policy_is_cluster_unless_it_says_local() {
        for (value, want, said) in [
            (json!(null), Cluster, None),
            (json!("Cluster"), Cluster, None),
            (json!("Local"), Local, None),
            (
                json!("local"),
                Cluster,
                Some("spec.internalTrafficPolicy: \"local\" is neither Cluster nor Local; Cluster is used"),
            ),
            (json!(true), Cluster, Some("spec.internalTrafficPolicy: true is not a text")),
        ] {
            let (service, found) = read(&with(&json!({"internalTrafficPolicy": value})), &json!(null));
            assert_eq!((service.internal_policy, service.external_policy), (want, Cluster), "{value}");
            assert_eq!(found, said.into_iter().collect::<Vec<_>>(), "{value}");
        }
    }

    #[test]
    fn e5_external_policy_counts_only_where_the_service_can_be_dialled_from_outside() {
        let addresses = json!(["192.0.2.1"]);
        for (name, kind, external_ips, want) in [
            ("NodePort", json!("NodePort"), json!(null), Local),
            ("LoadBalancer", json!("LoadBalancer"), json!(null), Local),
            ("ClusterIP with external IPs", json!("ClusterIP"), addresses.clone(), Local),
            ("no type with external IPs", json!(null), addresses, Local),
            ("ClusterIP", json!("ClusterIP"), json!([]), Cluster),
            ("no type", json!(null), json!(null), Cluster),
        ] {
            let fields = json!({"type": kind, "externalIPs": external_ips, "externalTrafficPolicy": "Local"});
            let (service, said) = read(&with(&fields), &json!(null));
            assert_eq!((service.external_policy, service.internal_policy), (want, Cluster), "case: {name}");
            assert_eq!(said.is_empty(), want == Local, "case: {name}: {said:?}");
        }
        let cluster = with(&json!({"type": "NodePort", "externalTrafficPolicy": "Cluster"}));
        assert_eq!(read(&cluster, &json!(null)).0.external_policy, Cluster);
    }

    fn affinity(fields: &Value) -> (Option<u32>, Vec<String>) {
        let (service, said) = read(&with(fields), &json!(null));
        (service.affinity.map(|affinity| affinity.timeout_s), said)
    }

    #[test]
    fn e10_affinity_is_asked_for_and_lasts_three_hours_unless_it_says_otherwise() {
        let lasting = |timeout: Value| json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": timeout}}});
        for (fields, want) in [
            (json!({"sessionAffinity": "ClientIP"}), Some(10_800)),
            (json!({"sessionAffinity": "None"}), None),
            (json!({"sessionAffinity": ""}), None),
            (json!({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}), None),
            (lasting(json!(1)), Some(1)),
            (lasting(json!(86_400)), Some(86_400)),
            (lasting(json!(null)), Some(10_800)),
        ] {
            assert_eq!(affinity(&fields), (want, vec![]), "{fields}");
        }
        let config = "spec.sessionAffinityConfig";
        for (fields, want, said) in [
            (
                lasting(json!(0)),
                Some(1),
                format!("{config}.clientIP.timeoutSeconds: 0 is outside 1 to 86400 seconds; 1 is used"),
            ),
            (
                lasting(json!(-5)),
                Some(1),
                format!("{config}.clientIP.timeoutSeconds: -5 is outside 1 to 86400 seconds; 1 is used"),
            ),
            (
                lasting(json!(86_401)),
                Some(86_400),
                format!("{config}.clientIP.timeoutSeconds: 86401 is outside 1 to 86400 seconds; 86400 is used"),
            ),
            (
                lasting(json!("1h")),
                Some(10_800),
                format!("{config}.clientIP.timeoutSeconds: \"1h\" is not a whole number"),
            ),
            (
                json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": 5}),
                Some(10_800),
                format!("{config}: 5 is not a map"),
            ),
            (
                json!({"sessionAffinity": "clientip"}),
                None,
                "spec.sessionAffinity: \"clientip\" is neither ClientIP nor None; None is used".to_owned(),
            ),
        ] {
            assert_eq!(affinity(&fields), (want, vec![said]), "{fields}");
        }
    }
}
