//! What the agent says, and that nobody has to listen.
use crate::NEEDS;
use crate::lab::{Lab, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use sheave_tests::kernel_or_skip;
use std::io::{PipeWriter, Write as _};
use std::net::TcpListener;
use tokio::sync::oneshot;

/// Writes until the pipe takes not a byte more.
fn fill(pipe: &mut PipeWriter) {
    let flags = OFlag::from_bits_retain(fcntl(&*pipe, FcntlArg::F_GETFL).unwrap());
    fcntl(&*pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    // Up to a page is written as a whole or not at all (pipe(7)).
    for size in [4096, 1] {
        while let Ok(written) = pipe.write(&vec![b' '; size]) {
            assert_eq!(written, size);
        }
    }
    fcntl(&*pipe, FcntlArg::F_SETFL(flags)).unwrap();
}

/// What the kernel holds, once it can be asked.
fn held(lab: &Lab) -> Vec<Value> {
    let dump = lab.sheave(&["dump", "-o", "json"]);
    let services = serde_json::from_slice(&dump.stdout).map(|dump: Value| dump["services"].as_array().cloned());
    services.ok().flatten().unwrap_or_default()
}

/// I7
#[test]
fn a_log_that_nobody_reads_keeps_the_agent_from_nothing() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let (_nobody_reads, mut log) = std::io::pipe().unwrap();
    fill(&mut log);
    let manifests = lab.manifests();
    lab.spawn_agent(&["--source", manifests.to_str().unwrap()], log.into());
    eventually("the Service is held", || held(&lab).len() == 2);
    let before = held(&lab);
    lab.write_manifests(&["10.244.1.11", "10.244.1.12", "10.244.1.13"]);
    eventually("a change is written", || held(&lab).len() == 2 && held(&lab) != before);
    lab.stop_agent();
}

/// W13
#[test]
fn an_agent_that_has_nothing_to_do_says_nothing() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let api = Api::new();
    let service = |port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"], "ports": [{"port": port, "protocol": "TCP"}]}})
    };
    api.apply(service(80)).unwrap();
    let listener = lab.node().run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = api.clone();
    let server = lab.node().start("kube-apiserver", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _server = Server::on(&serving, listener).unwrap();
            let _stopped = stopped.await;
        });
    });
    lab.start_agent_with(&["--source", "kube", "--server", &url]);
    let synced = |lab: &Lab| lab.log().matches("\"synced\"").count();
    eventually("the Service is held", || synced(&lab) > 0 && held(&lab).len() == 1);
    api.apply(service(81)).unwrap();
    eventually("what the start had to say is said", || synced(&lab) > 1);
    let said = lab.log().lines().count();
    for _ in 0..20 {
        api.bookmark();
    }
    // The server sends it on the same watch after the bookmarks.
    api.apply(service(82)).unwrap();
    eventually("the change is written", || synced(&lab) > 2);
    let since: Vec<String> = lab.log().lines().skip(said).map(message).collect();
    assert_eq!(since, ["synced"], "{}", lab.log());
    lab.stop_agent();
    drop(stop);
    server.unwrap().join().unwrap();
}

fn message(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    line["fields"]["message"].as_str().unwrap_or_default().to_owned()
}
