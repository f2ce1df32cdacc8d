//! The configuration that the ConfigMap holds, and the arguments of the pods, as the binary takes them.
use crate::kustomize::render;
use crate::{DIRECTORIES, deploy};
use serde_json::{Map, Value, json};
use sheave_agent::config::Config;
use std::path::Path;
use std::process::{Command, Output};

/// What kubeadm makes for kube-proxy (`cmd/kubeadm/app/phases/addons/proxy/manifests.go`), with the fields that a cluster of version
/// 1.36 has there.
const KUBEADM: [(&str, &str); 2] = [
    ("config.conf", include_str!("kubeadm/config.conf")),
    ("kubeconfig.conf", include_str!("kubeadm/kubeconfig.conf")),
];

fn of_the_config_map() -> Config {
    let base = render(&deploy().join("base"));
    let text = base.only("ConfigMap")["data"]["config.yaml"].as_str().unwrap().to_owned();
    Config::parse(&text, Path::new("config.yaml")).unwrap()
}

#[test]
fn the_config_map_is_a_configuration_that_the_agent_takes_without_a_word() {
    let config = of_the_config_map();
    assert!(config.kube_proxy.notes.is_empty(), "{:?}", config.kube_proxy.notes);
}

#[test]
fn what_the_configuration_names_is_mounted() {
    let base = render(&deploy().join("base"));
    let mounts = &base.only("DaemonSet")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    let mounted = |path: &Path| {
        mounts.as_array().unwrap().iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    let config = of_the_config_map();
    let kubeconfig = config.kube_proxy.client_kubeconfig.clone().unwrap();
    for path in [&config.bpffs, config.cgroup.as_ref().unwrap(), &config.admin_socket, &kubeconfig] {
        assert!(mounted(path), "{}", path.display());
    }
}

fn sheave(arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sheave")).args(arguments).env_remove("KUBECONFIG").output().unwrap()
}

/// The container's arguments, with the files of a ConfigMap where this machine has them.
fn arguments(container: &Value, mount: &str, files: &Path) -> Vec<String> {
    let words = container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    words.map(|word| word.replace("$(NODE_NAME)", "worker-1").replace(mount, files.to_str().unwrap())).collect()
}

/// The effective settings, by their names, of the agent of a directory.
fn effective(directory: &str, config_map: &Map<String, Value>) -> Map<String, Value> {
    let rendered = render(&deploy().join(directory));
    let container = &rendered.only("DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    let mount = container["volumeMounts"].as_array().unwrap().iter().find(|mount| mount["name"] == "config").unwrap();
    let files = tempfile::tempdir().unwrap();
    for (name, text) in config_map {
        std::fs::write(files.path().join(name), text.as_str().unwrap()).unwrap();
    }
    let mut arguments = arguments(container, mount["mountPath"].as_str().unwrap(), files.path());
    arguments.extend(["--check-config", "-o", "json"].map(String::from));
    let output = sheave(&arguments);
    assert!(output.status.success(), "{directory}: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = said["settings"].as_array().unwrap().iter();
    settings.map(|setting| (setting["field"].as_str().unwrap().to_owned(), setting["value"].clone())).collect()
}

/// H8: the ConfigMap of a cluster's kube-proxy, unchanged, under kube-proxy's own path.
#[test]
fn the_agent_takes_the_arguments_and_the_files_of_its_pod() {
    let base = render(&deploy().join("base")).only("ConfigMap")["data"].as_object().unwrap().clone();
    let kubeadm: Map<String, Value> = KUBEADM.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    for (directory, files, kubeconfig, cluster_cidr) in [
        ("base", &base, "/etc/sheave/kubeconfig.yaml", Value::Null),
        ("overlays/ebpf", &kubeadm, "/var/lib/kube-proxy/kubeconfig.conf", json!("10.244.0.0/16")),
        ("overlays/canary", &kubeadm, "/var/lib/kube-proxy/kubeconfig.conf", json!("10.244.0.0/16")),
    ] {
        let effective = effective(directory, files);
        for (field, want) in [
            ("hostnameOverride", json!("worker-1")),
            ("cgroup", json!("/host/cgroup")),
            ("clientConnection.kubeconfig", json!(kubeconfig)),
        ] {
            assert_eq!(effective[field], want, "{directory}: {field} of {effective:?}");
        }
        assert_eq!(effective["clusterCIDR"], cluster_cidr, "{directory}");
    }
}

/// The help is printed only if the arguments before it are understood.
#[test]
fn what_is_done_once_is_something_the_binary_does() {
    let mut asked = 0;
    for directory in DIRECTORIES {
        let rendered = render(&deploy().join(directory));
        for container in
            rendered.only("DaemonSet")["spec"]["template"]["spec"]["initContainers"].as_array().into_iter().flatten()
        {
            let arguments =
                [arguments(container, "/etc/sheave", Path::new("/nowhere")), vec!["--help".to_owned()]].concat();
            let output = sheave(&arguments);
            assert!(output.status.success(), "{directory}: {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            asked += 1;
        }
    }
    assert_eq!(asked, 2, "cleanup and remove");
}
