//! `sheave explain`: the contract that other tools parse, what a reader sees, and what cannot be asked.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const POD: &str = "10.244.1.20";
const NODE: &str = "192.0.2.1";
const OUTSIDE: &str = "198.51.100.7";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain").join(name)
}

fn sheave(arguments: &[&str], input: Option<&[u8]>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .arg("explain")
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // A question that is refused before the manifests are read ends without reading them.
        let _unread = stdin.write_all(input);
    }
    child.wait_with_output().unwrap()
}

/// Asked on node-a of cluster.yaml, where pods are told by their cluster's CIDR.
fn ask(arguments: &[&str]) -> Output {
    let (manifests, config) = (fixture("cluster.yaml"), fixture("proxy.yaml"));
    let [manifests, config] = [&manifests, &config].map(|path| path.to_str().unwrap());
    sheave(&[&["--manifests", manifests, "--config", config, "--node", "node-a"], arguments].concat(), None)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The answer as JSON, with what every answer has.
fn answer(arguments: &[&str]) -> Value {
    let output = ask(&[arguments, &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<_> = answer.as_object().unwrap().keys().cloned().collect();
    let contract = ["affinity", "endpoints", "excluded", "frontend", "masquerade", "rule", "service", "verdict"];
    assert_eq!(keys, contract, "no more keys than the contract has, and no less");
    answer
}

/// A contract answer; what is not among `parts` is as on pass.
fn expected(verdict: &str, rule: &str, parts: &Value) -> Value {
    let mut answer = json!({
        "verdict": verdict, "rule": rule, "service": null, "frontend": null, "endpoints": [], "masquerade": "never",
        "affinity": null, "excluded": [],
    });
    answer.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    answer
}

#[test]
fn the_answer_is_the_contract_key_by_key() {
    let excluded = |pairs: &[(&str, &str)]| -> Value {
        pairs.iter().map(|(endpoint, reason)| json!({"endpoint": endpoint, "reason": reason})).collect()
    };
    let local = excluded(&[
        ("10.244.1.12:8080", "not ready (E3)"),
        ("10.244.2.11:8080", "not local (E2)"),
        ("10.244.2.12:8080", "not local (E2)"),
    ]);
    let cluster = excluded(&[
        ("10.244.1.12:8080", "not ready (E3)"),
        ("10.244.2.12:8080", "terminating while others are ready (E1)"),
    ]);
    let at = |frontend: &str, endpoints: &[&str], excluded: &Value| json!({"service": "shop/web:http", "frontend": frontend, "endpoints": endpoints, "excluded": excluded});
    let (one, two) = (["10.244.1.11:8080"], ["10.244.1.11:8080", "10.244.2.11:8080"]);
    let masqueraded = |mut parts: Value, how: &str| {
        parts["masquerade"] = how.into();
        parts
    };
    let api = json!({
        "service": "shop/api:http", "frontend": "[fd00:96::20]:80/tcp", "endpoints": ["[fd00:244:1::13]:8081"],
        "affinity": {"timeout_s": 600},
    });
    for (from, to, want) in [
        (POD, "shop/web", expected("forward", "E1", &at("10.96.0.10:80/tcp", &two, &cluster))),
        (
            "10.244.2.11",
            "10.96.0.10:80",
            expected("forward", "E1", &masqueraded(at("10.96.0.10:80/tcp", &two, &cluster), "hairpin")),
        ),
        (
            OUTSIDE,
            "shop/web:80",
            expected("forward", "E1", &masqueraded(at("10.96.0.10:80/tcp", &two, &cluster), "always")),
        ),
        (OUTSIDE, "203.0.113.50:80/tcp", expected("forward", "E5", &at("203.0.113.50:80/tcp", &one, &local))),
        (POD, "192.0.2.1:30080", expected("forward", "E6", &at("192.0.2.1:30080/tcp", &two, &cluster))),
        (
            NODE,
            "192.0.2.1:30080",
            expected("forward", "E6", &masqueraded(at("192.0.2.1:30080/tcp", &two, &cluster), "always")),
        ),
        (POD, "203.0.113.50:80", expected("drop", "R8", &at("203.0.113.50:80/tcp", &[], &json!([])))),
        ("fd00:244:1::20", "[fd00:96::20]:80", expected("forward", "E1", &api)),
        (
            POD,
            "shop/api:81",
            expected("reject", "A2", &json!({"service": "shop/api", "frontend": "10.96.0.20:81/tcp"})),
        ),
        (POD, "10.96.0.20/icmp", expected("reject", "A2", &json!({"service": "shop/api"}))),
        (
            POD,
            "kube-system/dns:dns",
            expected("reject", "E11", &json!({"service": "kube-system/dns:dns", "frontend": "10.96.0.2:53/udp"})),
        ),
        (POD, "10.96.7.7:80/sctp", expected("drop", "A3", &json!({"frontend": "10.96.7.7:80/sctp"}))),
        (POD, "203.0.113.50:443", expected("pass", "A11", &json!({}))),
        (POD, "10.1.2.3:80", expected("pass", "A15", &json!({}))),
        (POD, "shop/foreign", expected("pass", "W1", &json!({}))),
        (POD, "shop/headless", expected("pass", "W2", &json!({}))),
        (POD, "shop/alias:80", expected("pass", "W3", &json!({}))),
        (POD, "shop/nowhere", expected("pass", "A15", &json!({}))),
    ] {
        assert_eq!(answer(&["--from", from, "--to", to]), want, "from {from} to {to}");
    }
}

#[test]
fn an_address_given_for_the_node_counts_as_its_own() {
    let question = ["--from", "192.0.2.77", "--to", "192.0.2.1:30080"];
    assert_eq!(answer(&question)["rule"], "E5");
    assert_eq!(
        answer(&[&question[..], &["--node-address", "192.0.2.77", "--node-address", "192.0.2.78"]].concat())["rule"],
        "E6"
    );
}

#[test]
fn the_device_counts_where_pods_are_told_by_their_device() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.yaml");
    let settings = "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}\n";
    let head = std::fs::read_to_string(fixture("proxy.yaml")).unwrap();
    std::fs::write(&config, format!("{head}{settings}")).unwrap();
    let manifests = fixture("cluster.yaml");
    for (interface, masquerade) in
        [(&["--in-interface", "veth7"][..], "never"), (&["--in-interface", "eth0"], "always"), (&[], "always")]
    {
        let question = ["--node", "node-a", "--from", POD, "--to", "shop/web", "-o", "json", "--manifests"];
        let files = [manifests.to_str().unwrap(), "--config", config.to_str().unwrap()];
        let output = sheave(&[&question[..], &files, interface].concat(), None);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["masquerade"], masquerade, "{interface:?}");
    }
}

#[test]
fn manifests_come_from_standard_input_too_and_the_only_node_is_the_one_that_is_meant() {
    let all = std::fs::read_to_string(fixture("cluster.yaml")).unwrap();
    let question = ["--manifests", "-", "--from", OUTSIDE, "--to", "shop/web", "-o", "json"];
    let one_node = all.replace("name: node-b, labels", "name: node-a, labels");
    let output = sheave(&question, Some(one_node.as_bytes()));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("Node node-a: defined a second time"), "diagnostics go to standard error");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["frontend"], "10.96.0.10:80/tcp");

    let output = sheave(&question, Some(all.as_bytes()));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("several Nodes; choose one with --node NAME; there are node-a, node-b"));
}

#[test]
fn a_question_that_cannot_be_answered_ends_with_2_and_one_line_that_says_what_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nexternalIPs: maybe\n")
        .unwrap();
    let config = config.to_str().unwrap();
    let empty = directory.path().join("empty.yaml");
    std::fs::write(&empty, "").unwrap();
    let (empty, cluster) = (empty.to_str().unwrap(), fixture("cluster.yaml"));
    let cluster = cluster.to_str().unwrap();
    let asked = |from, to| vec!["--manifests", cluster, "--node", "node-a", "--from", from, "--to", to];
    for (arguments, want) in [
        (vec!["--from", POD, "--to", "shop/web"], "name manifests with --manifests PATH, or - for standard input"),
        ([asked(POD, "shop/web"), vec!["--engine", "kernel"]].concat(), "--engine kernel is not there yet"),
        ([asked(POD, "shop/web"), vec!["--config", config]].concat(), "externalIPs"),
        ([asked(POD, "shop/web"), vec!["--config", "/nowhere.yaml"]].concat(), "/nowhere.yaml"),
        (vec!["--manifests", "/nowhere.yaml", "--from", POD, "--to", "shop/web"], "/nowhere.yaml"),
        (
            vec!["--manifests", empty, "--from", POD, "--to", "shop/web"],
            "the manifests have no Node; add one, or name the node",
        ),
        (asked("somewhere", "shop/web"), "\"somewhere\" is not an IP address"),
        (asked("0.0.0.0", "shop/web"), "0.0.0.0 cannot carry Service traffic"),
        (asked(POD, "0.0.0.0:30080"), "0.0.0.0 cannot carry Service traffic"),
        (asked(POD, "10.96.0.10"), "10.96.0.10 has no port; write 10.96.0.10:80 for TCP, or 10.96.0.10/icmp"),
        (asked(POD, "10.96.0.10:0"), "\"0\" in \"10.96.0.10:0\" is no port"),
        (asked(POD, "10.96.0.10:80/http"), "is no destination; write IP:PORT"),
        (asked(POD, "web"), "is no destination; write IP:PORT"),
        (asked(POD, "[fd00:96::20]:80"), "10.244.1.20 is IPv4, and fd00:96::20 is IPv6"),
        (
            asked("fd00::1", "shop/web"),
            "shop/web has no IPv6 ClusterIP; ask with an IPv4 source, its ClusterIP is 10.96.0.10",
        ),
        (
            asked(POD, "shop/api"),
            "shop/api has the ports http (80/tcp), metrics (9090/tcp); say which, as in shop/api:http",
        ),
        (asked(POD, "shop/web:https"), "shop/web has the port http (80/tcp); none is called \"https\""),
    ] {
        let output = sheave(&arguments, None);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{arguments:?}");
        assert!(text(&output.stderr).contains(want), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_sees_the_verdict_first_then_why_then_every_endpoint() {
    for (name, from, to) in [
        ("forwarded.txt", OUTSIDE, "203.0.113.50:80"),
        ("rejected.txt", POD, "shop/misnamed"),
        ("conflict.txt", NODE, "shop/late"),
        ("not-touched.txt", POD, "192.0.2.2:30080"),
    ] {
        let output = ask(&["--from", from, "--to", to]);
        let told = text(&output.stdout).replace(fixture("cluster.yaml").to_str().unwrap(), "cluster.yaml");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(fixture(name), &told).unwrap();
        }
        let want = std::fs::read_to_string(fixture(name)).unwrap();
        assert_eq!(told, want, "{name}: UPDATE_EXPECT=1 rewrites it");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn who_asks_for_what_is_not_there_is_told_what_is_near() {
    for (to, want) in [
        ("shop/wbe", "nearest     shop/web"),
        ("prod/api", "nearest     shop/api"),
        ("kube-system/kube-dns", "nearest     kube-system/dns"),
        ("shop/headles", "nearest     shop/headless"),
        ("10.96.0.20:81", "nearest     shop/api has the ports 80/tcp (http), 9090/tcp (metrics)"),
        ("10.96.0.2:54/udp", "nearest     kube-system/dns has the ports 53/udp (dns), 53/tcp (dns-tcp)"),
        (
            "10.244.2.11:8080",
            "nearest     10.244.2.11 is an endpoint of shop/web: who dials it goes there without any Service",
        ),
        ("10.1.2.3:9090", "nearest     with this port: 10.96.0.20:9090 of shop/api"),
        ("192.0.2.2:30080", "nearest     a NodePort of shop/web, dialled at 192.0.2.1 of node-a"),
    ] {
        let output = ask(&["--from", POD, "--to", to]);
        assert_eq!(output.status.code(), Some(0), "{to}");
        assert!(text(&output.stdout).contains(want), "{to}: {}", text(&output.stdout));
    }
    let nothing_near = ask(&["--from", POD, "--to", "elsewhere/entirely"]);
    assert!(!text(&nothing_near.stdout).contains("nearest"), "{}", text(&nothing_near.stdout));
}
