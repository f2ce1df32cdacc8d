//! The agent as the DaemonSet's pod runs it: with the capabilities that the manifest names, and no others.
use crate::NEEDS;
use crate::lab::{Lab, SHEAVE, eventually, targets};
use serde_json::Value;
use sheave_lab::probe::{Caller, Load, Manner};
use sheave_tests::kernel_or_skip;
use std::process::Command;
use std::time::Duration;

const MANIFEST: &str = include_str!("../../../../deploy/base/daemonset.yaml");

/// `securityContext.capabilities.add`.
fn named() -> Vec<String> {
    let set: Value = serde_saphyr::from_str(MANIFEST).unwrap();
    let named = &set["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
    named.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_lowercase()).collect()
}

/// A command that becomes a program as root with these capabilities, which can never have more (`allowPrivilegeEscalation`).
fn with(capabilities: &[String], program: &str) -> Command {
    let kept: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--inh-caps=-all"]).arg(format!("--bounding-set=-all{kept}")).arg(program);
    command
}

#[test]
fn the_pods_capabilities_are_enough_to_start_to_change_to_start_again_and_to_clean_up() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let manifests = lab.manifests();
    let source = ["--source", manifests.to_str().unwrap()];
    lab.start_agent_by(with(&named(), SHEAVE), &source);
    lab.terminate_agent();
    lab.write_manifests(&["10.244.1.12"]);
    // What was pinned by the first one is opened by the second, chunks of maps included.
    lab.start_agent_by(with(&named(), SHEAVE), &source);
    for target in targets() {
        eventually("the change is served", || {
            (0..8).all(|_| lab.client("client").request(target).unwrap().is_ok_and(|answer| answer.pod == "web-2"))
        });
    }
    assert!(!lab.log().contains("\"ERROR\""), "{}", lab.log());
    lab.terminate_agent();
    let mut cleanup = with(&named(), SHEAVE);
    cleanup.arg("cleanup");
    let cleaned = lab.output(cleanup);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert!(!lab.has_pins());
}

#[test]
fn without_any_one_of_its_capabilities_the_agent_ends_and_says_why() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let lab = Lab::new();
    for missing in named() {
        let others: Vec<_> = named().into_iter().filter(|name| *name != missing).collect();
        let mut agent = with(&others, SHEAVE);
        agent.args(["agent", "--until-stdin-closes", "--node", "node-a", "--source"]).arg(lab.manifests());
        agent.arg("--cgroup").arg(lab.node().cgroup().unwrap().path());
        let ended = lab.output(agent);
        assert_eq!(ended.status.code(), Some(2), "without {missing}: {ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("sheave: "), "without {missing}: {ended:?}");
    }
}

/// L1, L6: a roll-out. The next binary is another file, and its programs are others as well, since they are told of another setting.
#[test]
fn no_request_fails_while_a_new_binary_takes_the_place_of_the_old_one() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let settings = |name: &str, socket_lb: &str| {
        let text = format!("apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nsocketLb: {socket_lb}\n");
        let path = lab.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = [settings("old.yaml", "all"), settings("new.yaml", "host")];
    let binaries = ["old", "new"].map(|name| {
        let path = lab.files.path().join(name);
        std::fs::copy(SHEAVE, &path).unwrap();
        path
    });
    let manifests = lab.manifests();
    let start = |lab: &mut Lab, version: usize| {
        let [config, source] = [&settings[version], &manifests].map(|path| path.to_str().unwrap());
        let binary = with(&named(), binaries[version].to_str().unwrap());
        lab.start_agent_by(binary, &["--config", config, "--source", source]);
    };
    start(&mut lab, 0);
    let callers = targets().into_iter().flat_map(|target| {
        [Manner::Fresh, Manner::Held].map(|manner| Caller { client: lab.client("client"), target, manner })
    });
    let (load, samples) = Load::start(callers.collect(), Duration::from_millis(5)).unwrap();
    for version in [1, 0, 1] {
        lab.terminate_agent();
        start(&mut lab, version);
    }
    load.stop();
    let samples: Vec<_> = samples.iter().collect();
    let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(samples.len() > 100, "{} requests prove nothing", samples.len());
}
