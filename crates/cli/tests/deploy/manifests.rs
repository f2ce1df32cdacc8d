//! The objects by themselves and among each other.
use crate::kustomize::{Rendered, documents, render};
use crate::{DIRECTORIES, deploy};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sheave_agent::config::KubeProxy;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn rendered() -> impl Iterator<Item = (&'static str, Rendered)> {
    DIRECTORIES.into_iter().map(|directory| (directory, render(&deploy().join(directory))))
}

/// Every file below a directory.
fn files(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn every_directory_renders_and_no_manifest_is_left_over() {
    let used: BTreeSet<PathBuf> = rendered().flat_map(|(_, rendered)| rendered.files).collect();
    // For `kubectl patch`: kube-proxy's DaemonSet is none of ours.
    let apart = [deploy().join("overlays/canary/kube-proxy.yaml"), deploy().join("once/kustomization.yaml")];
    let manifests = ["base", "once", "overlays"].iter().flat_map(|directory| files(&deploy().join(directory)));
    let unused: Vec<_> = manifests.filter(|path| !used.contains(path) && !apart.contains(path)).collect();
    assert!(unused.is_empty(), "in no kustomization: {unused:?}");
}

/// What the type does not know does not come back.
fn known<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(read).unwrap();
    (back == *object)
        .then_some(())
        .ok_or_else(|| format!("fields that the API does not know: {object} is read as {back}"))
}

fn known_object(object: &Value) -> Result<(), String> {
    match object["kind"].as_str().unwrap_or_default() {
        "DaemonSet" => known::<DaemonSet>(object),
        "ClusterRole" => known::<ClusterRole>(object),
        "ClusterRoleBinding" => known::<ClusterRoleBinding>(object),
        "ServiceAccount" => known::<ServiceAccount>(object),
        "ConfigMap" => known::<ConfigMap>(object),
        kind => Err(format!("no type for kind {kind:?}")),
    }
}

#[test]
fn every_object_has_only_fields_that_the_api_knows() {
    for (directory, rendered) in rendered() {
        for object in &rendered.objects {
            known_object(object).unwrap_or_else(|wrong| panic!("{directory}: {wrong}"));
        }
    }
    let mut misspelt = render(&deploy().join("base")).only("DaemonSet").clone();
    misspelt["spec"]["template"]["spec"]["hostNetworks"] = true.into();
    assert!(known_object(&misspelt).is_err());
}

/// The patch of kube-proxy's DaemonSet, as far as it can be held against a type: all of it has to be known.
#[test]
fn the_patch_that_keeps_kube_proxy_away_is_the_opposite_of_the_canary_s_selector() {
    let patch = &documents(&deploy().join("overlays/canary/kube-proxy.yaml"))[0];
    let term = patch
        .pointer("/spec/template/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0")
        .unwrap();
    let canary = render(&deploy().join("overlays/canary"));
    let expression = &term["matchExpressions"][0];
    let selector = &canary.only("DaemonSet")["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(expression["operator"], "NotIn");
    assert_eq!(selector[expression["key"].as_str().unwrap()], expression["values"][0]);
    // Merged into a DaemonSet the patch is one that the API knows.
    let mut merged = canary.only("DaemonSet").clone();
    merged["spec"]["template"]["spec"]["affinity"] = patch["spec"]["template"]["spec"]["affinity"].clone();
    known_object(&merged).unwrap();
}

#[test]
fn objects_name_each_other_rightly() {
    for (directory, rendered) in rendered() {
        let set = rendered.only("DaemonSet");
        let (spec, pod) = (&set["spec"], &set["spec"]["template"]["spec"]);
        assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"], "{directory}");
        assert_eq!(set["metadata"]["labels"], spec["template"]["metadata"]["labels"], "{directory}");
        let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
        let volumes: BTreeSet<_> = list(&pod["volumes"]).iter().map(|v| v["name"].to_string()).collect();
        let ours: Vec<_> = [list(&pod["initContainers"]), list(&pod["containers"])]
            .concat()
            .into_iter()
            .filter(|c| c["name"] == "sheave")
            .collect();
        assert_eq!(ours.len(), 1, "{directory}");
        let mounts: BTreeSet<_> = list(&ours[0]["volumeMounts"]).iter().map(|m| m["name"].to_string()).collect();
        assert_eq!(volumes, mounts, "{directory}: volumes, and what is mounted");
        assert_eq!(ours[0]["image"], concat!("sheave:", env!("CARGO_PKG_VERSION")), "{directory}");
        for object in &rendered.objects {
            let cluster_wide = object["kind"].as_str().unwrap().starts_with("Cluster");
            assert_eq!(object["metadata"]["namespace"].is_null(), cluster_wide, "{directory}: {}", object["kind"]);
        }
    }
    let base = render(&deploy().join("base"));
    let (account, binding) = (base.only("ServiceAccount"), base.only("ClusterRoleBinding"));
    assert_eq!(base.only("DaemonSet")["spec"]["template"]["spec"]["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["namespace"], account["metadata"]["namespace"]);
    assert_eq!(binding["roleRef"]["name"], base.only("ClusterRole")["metadata"]["name"]);
}

/// H1, H2
#[test]
fn probes_ask_where_the_agent_listens() {
    let listens = KubeProxy::default().healthz_bind.unwrap().port();
    let base = render(&deploy().join("base"));
    let container = &base.only("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let port = &container["ports"][0];
    assert_eq!((&port["containerPort"], &port["hostPort"]), (&listens.into(), &listens.into()));
    let lives = &container["livenessProbe"]["httpGet"];
    assert_eq!(lives["port"], port["name"]);
    assert_eq!(lives["path"], "/livez", "a node that is drained is no reason to restart");
    let asks = &container["readinessProbe"]["exec"]["command"];
    assert_eq!(*asks, serde_json::json!(["sheave", "status", "svc/default/kubernetes"]), "who is ready serves");
}

#[test]
fn no_container_is_privileged_and_each_gives_up_what_it_does_not_name() {
    for (directory, rendered) in rendered() {
        let pod = &rendered.only("DaemonSet")["spec"]["template"]["spec"];
        for container in ["initContainers", "containers"].iter().filter_map(|kind| pod[kind].as_array()).flatten() {
            let context = &container["securityContext"];
            assert_ne!(context["privileged"], true, "{directory}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{directory}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{directory}");
            assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{directory}");
        }
    }
}
