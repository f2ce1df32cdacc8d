//! Objects of a synthetic cluster as an API server has them and controllers write them: with managedFields, owners and references.
use serde_json::{Value, json};

/// A Service with one port.
#[must_use]
pub fn service(n: u32) -> Value {
    let [_, b, c, d] = n.to_be_bytes();
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {
            "name": format!("service-{n}"), "namespace": format!("team-{}", n % 100), "labels": {"app": format!("service-{n}")},
            "managedFields": managed("kubectl-client-side-apply", &["f:spec", "f:ports", "f:selector", "f:sessionAffinity", "f:type"]),
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": format!("10.{}.{c}.{d}", 96 + b), "clusterIPs": [format!("10.{}.{c}.{d}", 96 + b)],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "selector": {"app": format!("service-{n}")},
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    })
}

/// Its only slice, without the first `gone` of its endpoints.
#[must_use]
pub fn slice(n: u32, endpoints: u32, gone: u32, ready: bool) -> Value {
    let name = format!("service-{n}");
    let endpoint = |at: u32| {
        let [_, b, c, d] = (n * endpoints + at).to_be_bytes();
        json!({
            "addresses": [format!("10.{}.{c}.{d}", 128 + b)],
            "conditions": {"ready": ready, "serving": true, "terminating": false},
            "nodeName": format!("node-{}.region-1.example", at % 5_000), "zone": "region-1a",
            "hints": {"forZones": [{"name": "region-1a"}]},
            "targetRef": {
                "kind": "Pod", "namespace": format!("team-{}", n % 100), "name": format!("{name}-7d4b9c6f5-{at:05}"),
                "uid": format!("00000000-0000-4000-8000-{:012}", n * endpoints + at),
            },
        })
    };
    let owner = json!({"apiVersion": "v1", "kind": "Service", "name": name, "uid": "0", "controller": true, "blockOwnerDeletion": true});
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": format!("{name}-abcde"), "namespace": format!("team-{}", n % 100), "generateName": format!("{name}-"),
            "labels": {
                "app": name, "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-11-21T21:40:00Z"},
            "ownerReferences": [owner],
            "managedFields": managed("kube-controller-manager", &["f:addressType", "f:endpoints", "f:ports", "f:labels"]),
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": (gone..endpoints).map(endpoint).collect::<Value>(),
    })
}

fn managed(manager: &str, fields: &[&str]) -> Value {
    let fields: Value = fields.iter().map(|field| ((*field).to_owned(), json!({".": {}, "f:x": {}}))).collect();
    let time = "2026-11-21T21:40:20Z";
    json!([{"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields}])
}
