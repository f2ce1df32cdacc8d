//! What the whole agent takes in a large cluster: resident memory and processor time, at start, for changes, and while nothing changes.
//!
//! The agent is the real binary, a process of its own in a namespace, and follows an API server of this process over HTTP. As root:
//! `cargo build --release -p sheave-cli && cargo bench -p sheave-benches --bench agent -- $PWD/target/release/sheave [SERVICES [ENDPOINTS [IDLE_S]]]`
use sheave_apistub::{Api, Server};
use sheave_benches::objects::{service, slice};
use sheave_lab::{Cluster, Sandbox};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NODE: &str = "node-a";
const METRICS: &str = "127.0.0.1:10249";
const CHANGES: u32 = 1_000;
const DEADLINE: Duration = Duration::from_secs(300);

/// The cluster's size, and how long the agent is watched while nothing happens.
struct Case {
    services: u32,
    endpoints: u32,
    idle: Duration,
}

/// The API with every Service and slice.
fn filled(case: &Case) -> Api {
    let api = Api::new();
    for n in 0..case.services {
        api.apply(service(n)).expect("a Service is taken");
        api.apply(slice(n, case.endpoints, 0, true)).expect("a slice is taken");
    }
    api
}

/// Serves in the node's namespace, for as long as this process lives; its URL.
fn serve(node: &Sandbox, api: &Api) -> String {
    let (api, (sender, url)) = (api.clone(), std::sync::mpsc::sync_channel(1));
    let serving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let server = Server::on_loopback(&api).expect("a port is free");
            sender.send(server.url()).expect("somebody waits for it");
            std::future::pending::<()>().await;
        });
    };
    drop(node.start("kube-apiserver", serving).expect("a thread starts"));
    url.recv().expect("it listens")
}

/// The agent; ended when dropped.
struct Agent<'a> {
    child: Child,
    node: &'a Sandbox,
}

impl<'a> Agent<'a> {
    fn start(binary: &str, node: &'a Sandbox, url: &str) -> Self {
        let mut command = Command::new(binary);
        command.args([
            "agent",
            "--until-stdin-closes",
            "--source",
            "kube",
            "--node",
            NODE,
            "--server",
            url,
            "--cgroup",
        ]);
        command.arg(node.cgroup().expect("the node has a cgroup").path());
        command.env("RUST_LOG", "warn").stdin(Stdio::piped()).stdout(Stdio::null());
        let child = node.spawn(command).expect("a thread starts").expect("the binary runs");
        Self { child, node }
    }

    /// The value of a series of its metrics; `None` while it does not answer.
    fn metric(&self, series: &str) -> Option<f64> {
        let scrape = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(METRICS)?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = self.node.run(scrape).expect("a thread starts").ok()?;
        let value = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }

    /// Waits until it has seen so many changes of slices and programmed them.
    fn programs(&self, changes: u32) {
        let deadline = Instant::now() + DEADLINE;
        let value = |what: &str| self.metric(&format!("kubeproxy_sync_proxy_rules_endpoint_changes_{what}"));
        while !(value("total") >= Some(f64::from(changes)) && value("pending") == Some(0.0)) {
            assert!(Instant::now() < deadline, "{changes} changes are not programmed within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("the agent lives")
    }

    /// A line of its `status`, in MB.
    fn memory_mb(&self, name: &str) -> u64 {
        let text = self.file("status");
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("the kernel says so");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024 / 1_000_000
    }

    /// Its processor time so far, user and system (proc(5), `stat`: ticks of 10 ms).
    fn processor_ms(&self) -> u64 {
        let text = self.file("stat");
        let fields: Vec<_> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>() * 10
    }

    /// A row of the table: what it holds now, and the processor time since `before`.
    fn row(&self, what: &str, before_ms: u64) -> u64 {
        let now_ms = self.processor_ms();
        let [resident, own, highest] = ["VmRSS", "RssAnon", "VmHWM"].map(|name| self.memory_mb(name));
        println!("| {what} | {resident} MB | {own} MB | {highest} MB | {} ms |", now_ms - before_ms);
        now_ms
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // It ends with its input; what is left of it, if it does not, ends with this process.
        drop(self.child.stdin.take());
        let _unused = self.child.wait();
    }
}

fn measure(binary: &str, case: &Case) {
    let cluster = Cluster::builder("bench").node(NODE, ["172.30.0.1".parse().expect("an address")], []).build();
    let cluster = cluster.expect("a node is made; is this root?");
    let node = cluster.node(NODE).expect("it was made").sandbox();
    let api = filled(case);
    let agent = Agent::start(binary, node, &serve(node, &api));
    println!(
        "| {} Services x {} endpoints | resident | of it its own | highest | processor |",
        case.services, case.endpoints
    );
    println!("|---|---|---|---|---|");
    agent.programs(case.services);
    let mut used_ms = agent.row("programmed", 0);
    let idle = format!("idle for {} s", case.idle.as_secs());
    std::thread::sleep(case.idle);
    used_ms = agent.row(&idle, used_ms);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..CHANGES {
        let gone = random.u32(0..=case.endpoints / 2);
        api.apply(slice(random.u32(..case.services), case.endpoints, gone, random.bool())).expect("a slice is taken");
    }
    agent.programs(case.services + CHANGES * 9 / 10);
    used_ms = agent.row(&format!("{CHANGES} changed slices"), used_ms);
    std::thread::sleep(case.idle);
    agent.row(&idle, used_ms);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let Some(binary) = arguments.first() else {
        return println!("which agent? cargo bench -p sheave-benches --bench agent -- target/release/sheave");
    };
    let number = |at: usize, default: u32| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let idle = Duration::from_secs(number(3, 300).into());
    measure(binary, &Case { services: number(1, 10_000), endpoints: number(2, 10), idle });
}
