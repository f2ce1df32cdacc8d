//! How the API server is reached, by the configuration and by where this process runs.
use crate::config::Config;
use sheave_kube_source::KubeConfig;
use std::path::Path;

/// Where the kubelet puts the token of a Pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// A configured address comes before the one that the credentials name. Credentials that were meant for another server, as those
/// of a user's own kubeconfig, are never sent to it: it gets those of a kubeconfig that is configured as well, or of the Pod.
pub(crate) fn of(config: &Config) -> KubeConfig {
    of_process(config, Path::new(SERVICE_ACCOUNT).exists())
}

fn of_process(config: &Config, in_pod: bool) -> KubeConfig {
    match (&config.kubeconfig, &config.server) {
        (Some(path), Some(server)) => KubeConfig::file(path).server(server),
        (Some(path), None) => KubeConfig::file(path),
        (None, Some(server)) if in_pod => KubeConfig::infer().server(server),
        (None, Some(server)) => KubeConfig::url(server),
        (None, None) => KubeConfig::infer(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_server_gets_no_credentials_that_were_meant_for_another_one() {
        let (file, server) = (Some("/etc/kubeconfig"), Some("https://192.0.2.1:6443"));
        for (kubeconfig, server, in_pod, want) in [
            (file, server, true, "File("),
            (file, None, true, "File("),
            (None, server, true, "Infer"),
            (None, server, false, "Anonymous"),
            (None, None, false, "Infer"),
        ] {
            let config =
                Config { kubeconfig: kubeconfig.map(Into::into), server: server.map(Into::into), ..Config::default() };
            let login = format!("{:?}", of_process(&config, in_pod));
            assert!(login.contains(want) && login.contains("192.0.2.1") == server.is_some(), "{login}");
        }
    }
}
