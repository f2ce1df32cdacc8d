//! The ConfigMap and the command line of the kube-proxy of a cluster that kubeadm made, in the hands of the agent.
use crate::NEEDS;
use crate::lab::{Lab, SHEAVE, eventually, targets};
use crate::status::ApiServer;
use sheave_tests::kernel_or_skip;
use std::path::PathBuf;
use std::process::Command;

const CONFIG: &str = include_str!("../deploy/kubeadm/config.conf");
const KUBECONFIG: &str = include_str!("../deploy/kubeadm/kubeconfig.conf");

/// Both files, word by word but for where a pod has its files, and for the server, whose certificate nobody has to believe here.
fn files(lab: &Lab, server: &str) -> PathBuf {
    let path = |name: &str| lab.files.path().join(name);
    let write = |name: &str, text: &str, changed: &[(&str, &str)]| {
        let text = changed.iter().fold(text.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{name} has no {from}");
            text.replace(from, to)
        });
        std::fs::write(path(name), text).unwrap();
        path(name)
    };
    let token = write("token", "secret", &[]);
    let kubeconfig = write(
        "kubeconfig.conf",
        KUBECONFIG,
        &[
            ("    certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt\n", ""),
            ("https://172.18.0.2:6443", server),
            ("/var/run/secrets/kubernetes.io/serviceaccount/token", token.to_str().unwrap()),
        ],
    );
    let at = ("/var/lib/kube-proxy/kubeconfig.conf", kubeconfig.to_str().unwrap());
    write("config.conf", CONFIG, &[at])
}

/// H8: `cmd/kubeadm/app/phases/addons/proxy/manifests.go`.
#[test]
fn what_kubeadm_gives_kube_proxy_starts_the_agent_and_serves() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let server = ApiServer::start(&lab);
    let config = format!("--config={}", files(&lab, &server.url).display());
    lab.start_agent_by(Command::new(SHEAVE), &[&config, "--hostname-override=node-a"]);
    let dialled = targets()[0];
    eventually("the Service of the API server is served", || {
        lab.client("client").request(dialled).unwrap().is_ok_and(|answer| answer.pod == "web-1")
    });
    let log = lab.log();
    assert!(!log.contains("\"ERROR\""), "{log}");
    assert_eq!(
        log.matches("nodePortAddresses is not set").count(),
        1,
        "the one thing that means something else here: {log}"
    );
    for unsaid in ["have no effect here", "are not known", "do not count"] {
        assert!(!log.contains(unsaid), "kubeadm sets none of these: {unsaid}: {log}");
    }
}
