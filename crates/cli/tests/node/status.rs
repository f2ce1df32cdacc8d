//! `sheave status` and `sheave explain`, asked of the agent that runs on the node.
use crate::NEEDS;
use crate::lab::{Lab, SHEAVE, eventually};
use serde_json::{Value, json};
use sheave_apistub::{Api, Server};
use sheave_tests::kernel_or_skip;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// An API server on the node's loopback, until dropped.
pub(crate) struct ApiServer {
    api: Api,
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// With a Node, and a Service with one endpoint.
    pub(crate) fn start(lab: &Lab) -> Self {
        let api = Api::new();
        for object in [node(), service("10.96.0.10"), slice(&["10.244.1.11"])] {
            api.apply(object).unwrap();
        }
        let listener = lab.node().run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = api.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let _server = Server::on(&served, listener).unwrap();
                let _stopped = stopped.await;
            });
        };
        let thread = lab.node().start("kube-apiserver", serve).unwrap();
        Self { api, url, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-a" },
        "status": { "addresses": [{ "type": "InternalIP", "address": "172.30.0.1" }] },
    })
}

fn service(vip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": "shop" },
        "spec": {
            "clusterIP": vip, "clusterIPs": [vip],
            "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
        },
    })
}

fn slice(addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "web-1", "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": addresses.iter().map(|addr| json!({ "addresses": [addr] })).collect::<Vec<_>>(),
    })
}

/// Standard output as JSON, and the exit status.
fn read(output: &Output) -> (Value, Option<i32>) {
    let told = serde_json::from_slice(&output.stdout);
    (told.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
}

#[test]
fn a_script_that_waits_goes_on_when_the_change_it_made_is_programmed() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    let server = ApiServer::start(&lab);
    lab.start_agent_with(&["--source", "kube", "--server", &server.url]);
    let first = lab.sheave(&["status", "shop/web", "--wait", "-o", "json"]);
    let (first, code) = read(&first);
    assert_eq!((&first["state"], code), (&json!("programmed"), Some(0)));
    assert_eq!(first["ports"][0]["backends"], 1);
    assert_eq!(first["observed"], first["programmed"]);

    // The wait begins before the change is made.
    let version = server.api.version() + 1;
    let mut command = Command::new(SHEAVE);
    command.args(["status", "svc/shop/web", "--wait", "-o", "json", "--resource-version", &version.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let waiting = lab.node().spawn(command).unwrap().unwrap();
    assert_eq!(server.api.apply(slice(&["10.244.1.11", "10.244.1.12"])).unwrap(), version);
    let (programmed, code) = read(&waiting.wait_with_output().unwrap());
    assert_eq!((&programmed["state"], code), (&json!("programmed"), Some(0)));
    assert_eq!(programmed["programmed"]["slices"]["shop/web-1"], version.to_string());
    let held = lab.image();
    let id = held.id(&"shop/web:http/TCP/IPv4".parse().unwrap()).unwrap();
    assert_eq!(held.members(id).len(), 2, "the kernel holds it when the wait ends");

    let late = lab.sheave(&["status", "shop/web", "--wait", "--timeout", "1s", "--resource-version", "999999"]);
    let said = String::from_utf8(late.stderr).unwrap();
    assert_eq!(late.status.code(), Some(1), "{said}");
    assert!(said.contains("resourceVersion 999999 has not been seen"), "{said}");
    assert_eq!(lab.sheave(&["status", "shop/none"]).status.code(), Some(1));

    lab.stop_agent();
    let gone = lab.sheave(&["status", "shop/web", "--wait"]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("is it running on this node?"));
}

#[test]
fn status_tells_what_the_agent_holds_and_what_the_kernel_counted() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    let status = || read(&lab.sheave(&["status", "-o", "json"])).0;
    eventually("everything is programmed", || status()["missing"] == json!([]) && status()["behind"]["services"] == 0);
    let told = status();
    assert_eq!((&told["node"], &told["objects"]["Service"]), (&json!("node-a"), &json!(1)));
    assert_eq!(told["entrances"]["sockets"], "attached");
    let used = |told: &Value, map: &str| {
        told["maps"].as_array().unwrap().iter().find(|room| room["map"] == map).map(|room| room["used"].clone())
    };
    assert_eq!(used(&told, "services"), Some(json!(2)));
    assert_eq!(used(&told, "frontends_v4"), Some(json!(3)), "two ports and the address (A2)");
    let count = |told: &Value| told["counters"]["socket_forward"].as_u64().unwrap();
    lab.client("client").request(crate::targets()[0]).unwrap().unwrap();
    assert_eq!(count(&status()), count(&told) + 1);
    let text = String::from_utf8(lab.sheave(&["status"]).stdout).unwrap();
    for word in ["everything that was observed", "socket_forward", "backends_v4", "diagnostics  none", "BUSIEST"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let dump = read(&lab.sheave(&["dump", "-o", "json"])).0;
    assert_eq!(
        (used(&dump, "services"), count(&dump)),
        (Some(json!(2)), count(&told) + 1),
        "no agent needs to run for that"
    );
    // The one connection, wherever it is asked for.
    let (port, busiest) = ("shop/web:http/TCP/IPv4", status()["flows"].clone());
    assert_eq!((&busiest["moved"], &busiest["ports"][0]["port"]), (&json!(1), &json!(port)));
    let service = read(&lab.sheave(&["status", "shop/web", "-o", "json"])).0;
    let ports = service["ports"].as_array().unwrap().iter().find(|told| told["port"] == port);
    let held = dump["services"].as_array().unwrap().iter().find(|held| held["flows"]["newFlows"] == 1);
    for (case, flows) in [
        ("status of all", &busiest["ports"][0]),
        ("dump", &held.unwrap()["flows"]),
        ("status", &ports.unwrap()["flows"]),
    ] {
        assert_eq!((&flows["newFlows"], &flows["rejected"]), (&json!(1), &json!(0)), "{case}: {flows}");
        let backends = flows["backends"].as_object().into_iter().flatten().filter_map(|(_, flows)| flows.as_u64());
        assert_eq!(backends.sum::<u64>(), u64::from(case != "status of all"), "{case}: {flows}");
    }
}

#[test]
fn explain_asked_of_the_agent_is_explain_asked_of_its_manifests() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut lab = Lab::new();
    lab.start_agent();
    eventually("the Service is held", || lab.sheave(&["status", "shop/web"]).status.success());
    let files = lab.manifests();
    let manifests = ["--manifests", files.to_str().unwrap(), "--node", "node-a", "--node-address", "172.30.0.1"];
    for (to, verdict) in [("shop/web:http", "forward"), ("10.96.0.10:53/udp", "forward"), ("10.96.0.10:81", "reject")] {
        for output in [&["-o", "json"][..], &[]] {
            let question = [&["explain", "--from", "10.244.1.100", "--to", to], output].concat();
            let (live, read) = (lab.sheave(&question), lab.sheave(&[&question, &manifests[..]].concat()));
            assert_eq!((live.status.code(), read.status.code()), (Some(0), Some(0)), "{to}: {live:?} {read:?}");
            assert_eq!(live.stdout, read.stdout, "{to}");
            let told = String::from_utf8(live.stdout).unwrap().to_lowercase();
            assert!(told.contains(verdict), "{to}: {told}");
        }
        let question = ["explain", "--from", "10.244.1.100", "--to", to, "-o", "json"];
        let (model, kernel) = (lab.sheave(&question), lab.sheave(&[&question[..], &["--engine", "kernel"]].concat()));
        assert_eq!((&kernel.stdout, kernel.status.code()), (&model.stdout, Some(0)), "{to}: {kernel:?}");
    }
}
