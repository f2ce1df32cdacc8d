//! What the source costs: bytes, processor time and memory for a list of every Service and slice, in JSON and in protobuf, and
//! for one change of each slice after it.
//!
//! Server and client are processes of their own, so that each is measured alone: processor time of the whole client (HTTP,
//! decoding, parsing, the index), resident memory at its highest and in the end.
use sheave_apistub::{Api, Server};
use sheave_benches::objects::{service, slice};
use sheave_core::{Event, Index, Kind};
use sheave_kube_source::{KubeConfig, Pace, Source, spawn};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};

/// Services, endpoints of each.
const SIZES: [(u32, u32); 2] = [(1_000, 10), (10_000, 10)];
const ENCODINGS: [&str; 2] = ["JSON", "protobuf"];

/// The server: says its URL, changes every slice at each line it reads and says how many bytes it has sent by then.
fn serve(encoding: &str, services: u32, endpoints: u32) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let _entered = runtime.enter();
    let api = Api::new();
    api.set_protobuf(encoding == "protobuf");
    for n in 0..services {
        api.apply(service(n)).expect("a Service is taken");
        api.apply(slice(n, endpoints, 0, true)).expect("a slice is taken");
    }
    let server = Server::on_loopback(&api).expect("a port is free");
    println!("{}", server.url());
    for line in std::io::stdin().lines() {
        let ready = line.expect("a line") == "ready";
        println!("{}", api.bytes_sent());
        for n in 0..services {
            api.apply(slice(n, endpoints, 0, ready)).expect("a slice is taken");
        }
    }
}

/// Processor time of this process so far, in milliseconds (proc(5), `stat`: ticks of 10 ms).
fn processor_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let fields: Vec<_> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>() * 10
}

/// A line of `/proc/self/status`, in kilobytes.
fn memory_kb(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("the kernel says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The client: follows the server as the agent does and says what that took after the list and after the changes.
async fn follow(url: &str, services: usize) {
    let client = KubeConfig::url(url).connect().await.expect("a client");
    let (sender, mut events) = channel(64);
    let started = (processor_ms(), memory_kb("VmRSS"));
    let task = spawn(Source::Kube(client, Pace::default()), "node", sender);
    let mut index = Index::new("node");
    index.apply(Event::LocalAddresses(BTreeSet::new()));
    let mut listed = BTreeSet::new();
    while listed.len() < Kind::ALL.len() {
        listed.extend(take(&mut events, &mut index).await.into_iter().flatten());
    }
    let list_ms = processor_ms() - started.0;
    let memory = |name| (memory_kb(name) - started.1) / 1024;
    println!("{list_ms} {} {}", memory("VmHWM"), memory("VmRSS"));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a line");
    let (before, mut changed) = (processor_ms(), 0);
    while changed < services {
        changed += take(&mut events, &mut index).await.iter().filter(|kind| kind.is_none()).count();
    }
    println!("{} {}", processor_ms() - before, memory("VmRSS"));
    task.abort();
}

/// Takes a batch: the kind of each list, `None` for each change.
async fn take(events: &mut Receiver<Vec<Event>>, index: &mut Index) -> Vec<Option<Kind>> {
    let batch = events.recv().await.expect("the source goes on");
    let mut seen = Vec::new();
    for event in batch {
        match &event {
            Event::Listed { kind, .. } => seen.push(Some(*kind)),
            Event::Applied(_) => seen.push(None),
            _ => {}
        }
        index.apply(event);
    }
    drop(index.take_changed());
    seen
}

struct Process(Child, BufReader<std::process::ChildStdout>);

impl Process {
    fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("the program has a path");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let output = BufReader::new(child.stdout.take().expect("it has an output"));
        Self(child, output)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().expect("it has an input"), "{line}").expect("it listens");
    }

    /// Closes its input, and waits for its end.
    fn end(mut self) {
        drop(self.0.stdin.take());
        self.1.read_to_end(&mut Vec::new()).expect("its output ends");
        self.0.wait().expect("it ends");
    }
}

fn measure(encoding: &str, services: u32, endpoints: u32) {
    let (services_text, endpoints_text) = (services.to_string(), endpoints.to_string());
    let mut server = Process::start(&["serve", encoding, &services_text, &endpoints_text]);
    let url = server.line();
    let mut client = Process::start(&["follow", &url, &services_text]);
    let list = client.line();
    let [list_ms, peak_mb, held_mb] = list.split(' ').collect::<Vec<_>>()[..] else { panic!("three numbers: {list}") };
    server.ask("unready");
    let list_bytes: u64 = server.line().parse().expect("a number");
    client.ask("changed");
    let changes = client.line();
    let (changes_ms, end_mb) = changes.split_once(' ').expect("two numbers");
    server.ask("ready");
    let changes_bytes = server.line().parse::<u64>().expect("a number") - list_bytes;
    println!(
        "| {encoding}, {services} x {endpoints} | {} MB | {list_ms} ms | {peak_mb} MB | {held_mb} MB | {} MB | {changes_ms} ms | {end_mb} MB |",
        list_bytes / 1_000_000,
        changes_bytes / 1_000_000,
    );
    client.end();
    server.end();
}

/// Runs this program again as server and as client for each case.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |text: &String| text.parse().expect("a number");
    match &arguments[..] {
        [role, encoding, services, endpoints] if role == "serve" => {
            serve(encoding, number(services), number(endpoints));
        }
        [role, url, services] if role == "follow" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(follow(url, services.parse().expect("a number")));
            runtime.shutdown_timeout(Duration::ZERO);
        }
        _ => {
            println!("| | list | processor | highest | held | a change of each slice | processor | held |");
            println!("|---|---|---|---|---|---|---|---|");
            for ((services, endpoints), encoding) in SIZES.into_iter().flat_map(|size| ENCODINGS.map(|e| (size, e))) {
                measure(encoding, services, endpoints);
            }
        }
    }
}
