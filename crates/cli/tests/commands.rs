//! The command line: what it says to a user without root, and to a script.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn sheave(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sheave")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_command_explains_itself_with_examples() {
    for command in ["agent", "demo", "explain", "status", "dump", "check", "selftest", "cleanup"] {
        let help = sheave(&[command, "--help"]);
        assert!(help.status.success(), "{command}");
        assert!(text(&help.stdout).contains("Examples:"), "{command} --help has no examples");
    }
    let completion = text(&sheave(&["completion", "bash"]).stdout);
    for word in ["_sheave", "explain", "--in-interface"] {
        assert!(completion.contains(word), "{word}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for command in [&["completion", "bash"][..], &["check"], &["check", "-o", "json"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sheave"));
        let mut child = child.args(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{command:?}");
        // 101 is what a panic ends with; `check` says what it found.
        assert!(output.status.code().is_some_and(|code| code <= 2), "{command:?}: {:?}", output.status);
    }
}

#[test]
fn check_gives_a_script_each_finding_and_an_exit_status_that_says_the_worst() {
    let check = sheave(&["check", "-o", "json"]);
    let found: Value = serde_json::from_slice(&check.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    for finding in findings {
        let remedy = &finding["remedy"];
        assert_eq!(finding["level"] != "ok", remedy.is_string(), "{finding}");
    }
    let worst = match found["level"].as_str().unwrap() {
        "ok" => 0,
        "warning" => 1,
        _ => 2,
    };
    assert_eq!(check.status.code(), Some(worst));
}

#[test]
fn what_cannot_be_used_is_one_line_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nsokcetLb: off\n").unwrap();
    let config = config.to_str().unwrap();
    for (arguments, names) in [
        (vec!["check", "--config", "/nowhere/config.yaml"], "/nowhere/config.yaml"),
        (vec!["check", "--config", config], "sokcetLb"),
        (vec!["agent", "--dataplane", "magic"], "magic"),
        (vec!["agent", "--check-config", "--dataplane", "auto"], "comes with the IPVS dataplane"),
        (
            vec!["agent", "--check-config", "--config", config],
            "config.yaml:3: sokcetLb: no such field; did you mean socketLb?",
        ),
        (vec!["agent", "--check-config", "--conntrack-min", "many"], "--conntrack-min: conntrack.min: \"many\" is not"),
        (vec!["agent", "--cleanup"], "sheave cleanup --kube-proxy"),
        (vec!["agent", "--init-only", "--check-config"], "cannot be used with"),
        (vec!["agent", "-o", "json"], "--check-config"),
        (vec!["status", "web"], "write svc/NAMESPACE/NAME"),
        (vec!["status", "--wait"], "SERVICE"),
        (vec!["status", "shop/web", "--wait", "--timeout", "2h"], "write a time up to 1 h"),
        (vec!["status", "--socket", "/nowhere/admin.sock"], "no agent answers at /nowhere/admin.sock"),
        (vec!["demo", "--services", "100001"], "100001"),
    ] {
        let output = sheave(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(names), "{arguments:?}: {}", text(&output.stderr));
    }
}

/// H8: the file and the options of a kube-proxy DaemonSet, unchanged.
#[test]
fn the_configuration_that_counts_is_printed_with_where_each_value_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.conf");
    std::fs::write(&file, include_str!("../../agent/src/config/kubeadm.yaml")).unwrap();
    let config = format!("--config={}", file.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    command.args(["agent", &config, "--hostname-override=Worker-1", "-v=4", "--cluster-cidr=10.1.0.0/16"]);
    command.args(["--server=https://me:secret@192.0.2.1:6443", "--check-config", "-o", "json"]);
    let output = command.env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let setting = |field: &str| {
        let settings = told["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["field"] == field).unwrap();
        (setting["value"].clone(), setting["origin"].as_str().unwrap().replace(file.to_str().unwrap(), "FILE"))
    };
    for (field, value, origin) in [
        ("hostnameOverride", "worker-1", "--hostname-override"),
        ("logging.verbosity", "debug", "--v"),
        ("clusterCIDR", "10.244.0.0/16", "FILE:10"),
        ("clientConnection.kubeconfig", "/var/lib/kube-proxy/kubeconfig.conf", "FILE:8"),
        ("conntrack.tcpCloseWaitTimeout", "1h", "default"),
        ("server", "https://(hidden)@192.0.2.1:6443", "--server"),
    ] {
        assert_eq!(setting(field), (value.into(), origin.to_owned()), "{field}");
    }
    let notes = told["notes"].to_string();
    assert!(
        notes.contains("do not count beside a KubeProxyConfiguration") && notes.contains("--cluster-cidr"),
        "{notes}"
    );
    assert!(!text(&output.stdout).contains("secret"));
    let table = sheave(&["agent", &config, "--check-config"]);
    assert!(text(&table.stdout).contains("clusterCIDR"), "{}", text(&table.stdout));
    assert!(text(&table.stderr).contains("nodePortAddresses is not set"), "{}", text(&table.stderr));
}

#[test]
fn cleanup_refuses_options_that_do_not_go_together() {
    for options in [&["--dry-run"][..], &["--force"], &["--timeout", "5"], &["--kube-proxy", "--drain"]] {
        let output = sheave(&[&["cleanup"], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(text(&output.stderr).contains("Usage: sheave cleanup"), "{options:?}: {}", text(&output.stderr));
    }
}

/// What a line says to a shell: the words after `sheave`, if it runs it.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default().split(['|', ';', '<', '>']).next().unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().map(|word| word.trim_matches(['(', ')', '"', '\''])).collect();
    let at = words.iter().position(|word| *word == "sheave")?;
    let rest = match (at.checked_sub(1).map(|before| words[before]), &words[at + 1..]) {
        (None | Some("sudo" | "--"), rest) => rest,
        (Some("--bin"), ["--", rest @ ..]) => rest,
        _ => return None,
    };
    // A variable of the shell stands for a number.
    let word = |word: &&str| if word.contains('$') { "1".to_owned() } else { (*word).to_owned() };
    (!rest.is_empty() && !rest.iter().any(|word| word.contains('…'))).then(|| rest.iter().map(word).collect())
}

/// The commands of a document, in blocks for a shell and between backticks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines);
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    lines.chain(spans).filter_map(command).collect()
}

/// The help is printed only if the words before it are understood.
#[test]
fn the_commands_of_the_documents_are_understood() {
    assert_eq!(
        command("sudo sheave status svc/a/b --watch   # look"),
        Some(vec!["status".into(), "svc/a/b".into(), "--watch".into()])
    );
    assert_eq!(command("kubectl -n kube-system delete daemonset sheave"), None);
    assert!(!sheave(&["status", "--sochet", "x", "--help"]).status.success(), "an option that is not there is refused");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut asked = 0;
    for document in ["README.md", "docs/operating.md", "docs/testing.md", "docs/benchmarks.md", "docs/performance.md"] {
        for words in commands(&std::fs::read_to_string(root.join(document)).unwrap()) {
            let arguments: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
            let output = sheave(&arguments);
            assert!(output.status.success(), "{document}: sheave {}: {}", words.join(" "), text(&output.stderr));
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked} commands");
}
