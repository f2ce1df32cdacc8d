//! The configuration that the ConfigMap holds, and the arguments of the pods, as the binary takes them.
use crate::deploy;
use crate::kustomize::render;
use sheave_agent::config::Config;
use std::path::Path;

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
