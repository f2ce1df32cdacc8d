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

/// Loading the programs takes seconds, so the questions are few; the conformance suite asks all of them.
#[test]
fn the_kernel_programs_give_the_answer_of_the_rules() {
    if !sheave_tests::kernel_or_skip("loading kernel programs needs root") {
        return;
    }
    for (from, to) in [(OUTSIDE, "shop/web:80"), (POD, "203.0.113.50:80"), (POD, "10.96.0.20/icmp")] {
        let question = ["--from", from, "--to", to];
        let by_kernel = answer(&[&question[..], &["--engine", "kernel"]].concat());
        assert_eq!(by_kernel, answer(&question), "from {from} to {to}");
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
    let nodeless = directory.path().join("nodeless.yaml");
    std::fs::write(&nodeless, "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1}\n")
        .unwrap();
    let nodeless = nodeless.to_str().unwrap();
    let (empty, cluster) = (empty.to_str().unwrap(), fixture("cluster.yaml"));
    let cluster = cluster.to_str().unwrap();
    let asked = |from, to| vec!["--manifests", cluster, "--node", "node-a", "--from", from, "--to", to];
    for (arguments, want) in [
        (
            vec!["--from", POD, "--to", "shop/web", "--socket", "/nowhere/admin.sock"],
            "no agent answers at /nowhere/admin.sock",
        ),
        (vec!["--from", POD, "--to", "shop/web", "--node", "node-a"], "--manifests"),
        ([asked(POD, "shop/web"), vec!["--engine", "crystal-ball"]].concat(), "crystal-ball"),
        ([asked(POD, "shop/web"), vec!["--config", config]].concat(), "externalIPs"),
        ([asked(POD, "shop/web"), vec!["--config", "/nowhere.yaml"]].concat(), "/nowhere.yaml"),
        (vec!["--manifests", "/nowhere.yaml", "--from", POD, "--to", "shop/web"], "/nowhere.yaml"),
        (
            vec!["--manifests", nodeless, "--from", POD, "--to", "shop/web"],
            "the manifests have no Node; add one, or name the node",
        ),
        (
            vec!["--manifests", empty, "--node", "node-a", "--from", POD, "--to", "shop/web"],
            "empty.yaml holds no Service, EndpointSlice, Node or ServiceCIDR",
        ),
        (
            vec!["--manifests", cluster, "--node", "node-c", "--from", POD, "--to", "shop/web"],
            "the manifests have no Node node-c; choose one with --node NAME; there are node-a, node-b",
        ),
        (vec!["--manifests", cluster, "--node", "", "--from", POD, "--to", "shop/web"], "--node"),
        (
            asked(POD, "kube-system/dns:dns/tcp"),
            "has the ports dns (53/udp), dns-tcp (53/tcp); none is called \"dns\" and takes tcp",
        ),
        (asked(POD, "shop/web/udp"), "shop/web has the port http (80/tcp); none takes udp"),
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

/// A question about a few objects of its own, beside a node and a ServiceCIDR.
fn ask_about(objects: &str, to: &str, more: &[&str]) -> Output {
    const NODE_A: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: node-a}\n---\n";
    const CIDR: &str = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: c}\nspec: {cidrs: [10.96.0.0/16]}\n---\n";
    let manifests = [NODE_A, CIDR, objects].concat();
    sheave(&[&["--manifests", "-", "--from", POD, "--to", to], more].concat(), Some(manifests.as_bytes()))
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
}

fn slice(name: &str, service: &str, rest: &str) -> String {
    let labels = format!("kubernetes.io/service-name: {service}");
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\n{rest}\n"
    )
}

#[test]
fn what_is_said_of_the_endpoints_is_true_of_them() {
    let web = service("web", "{clusterIP: 10.96.0.1, ports: [{port: 80}]}");
    let (empty, one) =
        ("addressType: IPv4\nports: []\nendpoints: []", "addressType: IPv4\nports: [{port: 80}]\nendpoints: ");
    let no_pod = "the Service's selector matches no pod that has an address";
    for (name, slices, want, never) in [
        ("W6 empty", slice("a", "web", empty), "EndpointSlice shop/a has no endpoint: ", "does not count"),
        ("all empty", [slice("a", "web", empty), slice("b", "web", empty)].concat(), no_pod, "shop/b"),
        (
            "E1 another one is empty",
            [slice("a", "web", &format!("{one}[{{addresses: [10.244.1.1]}}]")), slice("b", "web", empty)].concat(),
            "goes to 10.244.1.1:80",
            "shop/b",
        ),
        (
            "refused",
            slice("a", "web", &format!("{one}[{{addresses: [169.254.1.1]}}]")),
            "shop/a has no endpoint that can be used: endpoints[0].addresses[0]: 169.254.1.1 cannot carry Service traffic",
            no_pod,
        ),
        (
            "W4 host names",
            slice("a", "web", "addressType: FQDN\nports: [{port: 80}]\nendpoints: [{addresses: [a.example]}]"),
            "EndpointSlice shop/a does not count: its addressType is FQDN: its endpoints are host names, not addresses (W4)",
            "is labelled",
        ),
        (
            "W2 headless",
            slice("a", "web", one).replace("name: web}", "name: web, service.kubernetes.io/headless: ''}"),
            "EndpointSlice shop/a does not count: its label service.kubernetes.io/headless",
            "is labelled",
        ),
        (
            "W6 no ports",
            slice("a", "web", "addressType: IPv4\nendpoints: [{addresses: [10.244.1.1]}]"),
            "has no port without a name for tcp: it has no ports. Slices have the names of the Service's ports and are matched by \
             them (W6); one is missing usually because its targetPort names no port",
            no_pod,
        ),
        ("none", String::new(), "no EndpointSlice is labelled kubernetes.io/service-name: web in shop", no_pod),
    ] {
        let output = ask_about(&[&*web, &slices].concat(), "shop/web", &[]);
        let told = text(&output.stdout);
        assert!(told.contains(want), "{name}: {told}");
        assert!(!told.contains(never), "{name}: {told}");
    }
}

#[test]
fn w1_a_service_of_another_proxy_is_told_alike_by_its_name_and_by_its_address() {
    let label = "namespace: shop, labels: {service.kubernetes.io/service-proxy-name: other}";
    let other = service("other", "{clusterIP: 10.96.0.9, ports: [{port: 80}]}").replace("namespace: shop", label);
    for (to, rule, wants) in [
        (
            "shop/other",
            "W1",
            [
                "leaves it to another proxy",
                "10.96.0.9 is inside the ServiceCIDR 10.96.0.0/16: dropped unless that proxy translates it first (A3)",
            ],
        ),
        (
            "10.96.0.9:80",
            "A3",
            [
                "10.96.0.9 is the ClusterIP of shop/other: its label",
                "dropped here unless that proxy translates the packet first",
            ],
        ),
    ] {
        let told = text(&ask_about(&other, to, &[]).stdout);
        assert!(told.contains(&format!("rule        {rule}\n")), "{told}");
        wants.iter().for_each(|want| assert!(told.contains(want), "{to}: {told}"));
        assert!(!told.contains("no Service has it"), "{told}");
    }
}

#[test]
fn a_service_of_which_nothing_is_left_to_dial_is_passed_with_what_is_wrong_with_it() {
    for (spec, wants) in [
        (
            "{clusterIP: 10.96.0.1, ports: [{port: http}, {port: 70000}]}",
            [
                "shop/web has no port that sheave serves",
                "whoever dials 10.96.0.1 is rejected (A2)",
                "spec.ports[1].port: 70000 is no port",
            ],
        ),
        ("[]", ["Service shop/web cannot be read, so nothing of it is served", "rule        A15", "spec: not a map"]),
        (
            "{clusterIP: x, ports: [{port: 80}]}",
            ["shop/web has no address that sheave serves", "rule        A15", "spec.clusterIP: \"x\""],
        ),
    ] {
        let web = service("web", spec);
        let output = ask_about(&web, "shop/web", &[]);
        assert_eq!(output.status.code(), Some(0), "{spec}");
        let told = text(&output.stdout);
        wants.iter().for_each(|want| assert!(told.contains(want), "{spec}: {told}"));
        let answer: Value = serde_json::from_slice(&ask_about(&web, "shop/web", &["-o", "json"]).stdout).unwrap();
        assert_eq!((&answer["verdict"], &answer["rule"]), (&json!("pass"), &json!("A15")), "{spec}");
    }
    let misnamed =
        ask_about(&service("web", "{clusterIP: 10.96.0.1, ports: [{port: 80}, {port: x}]}"), "shop/web:x", &[]);
    assert_eq!(misnamed.status.code(), Some(2));
    assert!(text(&misnamed.stderr).contains("spec.ports[1].port"), "the reason why it is not there: {misnamed:?}");
}

#[test]
fn a8_an_address_that_its_load_balancer_serves_itself_is_told_with_the_rule() {
    let status = "\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.9, ipMode: MODE}]}}";
    let web = service("web", &format!("{{clusterIP: 10.96.0.1, type: LoadBalancer, ports: [{{port: 80}}]}}{status}"));
    for (mode, verdict, rule) in [("VIP", "reject", "E11"), ("Proxy", "pass", "A8")] {
        let output = ask_about(&web.replace("MODE", mode), "203.0.113.9:80", &["-o", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&answer["verdict"], &answer["rule"]), (&json!(verdict), &json!(rule)), "{mode}");
    }
}

#[test]
fn what_is_wrong_with_the_service_in_question_is_said_before_all_the_rest() {
    let other = |n| service(&format!("a{n}"), "{clusterIP: x, ports: [{port: 80}]}");
    let others: String = (0..20).map(other).collect();
    let web = service("web", "{clusterIP: 10.96.0.1, ports: [{port: 80}], internalTrafficPolicy: Near}");
    let broken = "---\nspec: [1,\n";
    let output = ask_about(&[&*others, &web, broken].concat(), "shop/web", &["-o", "json"]);
    let told = text(&output.stderr);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("sheave: WARNING: not all of the manifests can be read"), "{told}");
    assert!(lines[0].contains("unclosed bracket"), "{told}");
    assert!(lines[1].contains("Service shop/web: spec.internalTrafficPolicy"), "{told}");
    assert_eq!((lines.len(), lines[11]), (12, "sheave: 11 more things are wrong with the manifests"), "{told}");
    let output = ask_about(broken, "shop/web", &[]);
    assert_eq!(output.status.code(), Some(0), "what can be read is asked: {output:?}");
    let nothing =
        sheave(&["--manifests", "-", "--node", "a", "--from", POD, "--to", "shop/web"], Some(broken.as_bytes()));
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        text(&nothing.stderr)
            .contains("nothing in the manifests can be used: <stdin>:2: File <stdin>: unclosed bracket")
    );
}

#[test]
fn a_source_may_stand_in_brackets_and_an_address_of_another_node_is_told() {
    let bracketed = answer(&["--from", "[fd00:244:1::20]", "--to", "[fd00:96::20]:80"]);
    assert_eq!(bracketed["verdict"], "forward");
    let output = ask(&["--from", POD, "--to", "192.0.2.2:30080"]);
    let told = "sheave: 192.0.2.2 is an address of node-b; ask what happens there with --node node-b";
    assert!(text(&output.stderr).contains(told), "{output:?}");
}

#[test]
fn what_is_told_of_topology_masquerade_and_pings_is_true() {
    for (from, to, want, never) in [
        (POD, "shop/api:http", "endpoints of the whole cluster that topology hints let through", "cluster\n"),
        (OUTSIDE, "shop/web", "because the source does not count as a pod of this node (R1)", "is no pod"),
        (POD, "10.96.0.10/icmp", "a Service answers at its ports only: shop/web has the port 80/tcp (http)", "picked"),
    ] {
        let told = text(&ask(&["--from", from, "--to", to]).stdout);
        assert!(told.contains(want) && !told.contains(never), "{to}: {told}");
    }
}
