//! What a lab is isolated from, and what it leaves: alone in its binary, because it compares the machine before and after.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]
use sheave_lab::{Cluster, Sandbox};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NEEDS: &str = "making network namespaces needs root";
const DEADLINE: Duration = Duration::from_secs(5);

/// What a lab could leave behind.
#[derive(PartialEq, Eq, Debug)]
struct Traces {
    cgroup: String,
    cgroups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
    names: BTreeSet<PathBuf>,
    links: BTreeSet<PathBuf>,
    /// Namespaces that a thread or a file descriptor of this process holds.
    namespaces: BTreeSet<PathBuf>,
}

fn listed(directory: &str) -> BTreeSet<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

impl Traces {
    fn now() -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let threads = listed("/proc/self/task").into_iter().flat_map(|task| [task.join("ns/net"), task.join("ns/mnt")]);
        let held = threads.chain(listed("/proc/self/fd")).filter_map(|link| fs::read_link(link).ok());
        Self {
            cgroup: fs::read_to_string("/proc/self/cgroup").unwrap(),
            cgroups: cgroups(),
            mounts: mountinfo.lines().filter(|line| could_be_ours(line)).map(str::to_owned).collect(),
            names: listed("/run/netns").into_iter().filter(|path| is_ours(path)).collect(),
            links: listed("/sys/class/net"),
            namespaces: held.filter(|held| is_namespace(held)).collect(),
        }
    }
}

fn is_namespace(held: &Path) -> bool {
    ["net:[", "mnt:["].iter().any(|kind| held.to_string_lossy().starts_with(kind))
}

/// Other tests of this machine mount and name things as well: only what this process could have made counts.
fn is_ours(path: &Path) -> bool {
    path.to_string_lossy().ends_with(&format!("-{}", std::process::id()))
}

fn could_be_ours(mount: &str) -> bool {
    let at = mount.split(' ').nth(4).unwrap_or_default();
    at == "/sys/fs/bpf" || is_ours(Path::new(at))
}

fn cgroups() -> BTreeSet<PathBuf> {
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    roots.into_iter().flat_map(listed).filter(|path| is_ours(path)).collect()
}

fn cluster() -> Cluster {
    let mut builder = Cluster::builder("teardown");
    for node in 0..2 {
        let addrs = [format!("172.30.0.{}", node + 1), format!("fd30::{}", node + 1)].map(|addr| addr.parse().unwrap());
        let cidrs = [format!("10.180.{node}.0/24"), format!("fd18:0:0:{node}::/64")].map(|net| net.parse().unwrap());
        builder = builder.node(&format!("node-{node}"), addrs, cidrs);
    }
    let mut cluster = builder.build().unwrap();
    for (node, pod) in (0..2).flat_map(|node| (1..=8).map(move |pod| (node, pod))) {
        let addrs =
            [format!("10.180.{node}.{pod}"), format!("fd18:0:0:{node}::{pod}")].map(|addr| addr.parse().unwrap());
        cluster.add_pod(&format!("node-{node}"), &format!("pod-{node}-{pod}"), &addrs).unwrap();
    }
    cluster
}

/// Waits for a condition: the end of a thread or a namespace is not the moment its last user lets go.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn read(sandbox: &Sandbox, path: &'static str) -> String {
    sandbox.run(move || fs::read_to_string(path).unwrap()).unwrap()
}

/// What a program started in the sandbox reads.
fn read_by_child(sandbox: &Sandbox, path: &str) -> String {
    let mut command = Command::new("cat");
    command.arg(path).stdout(Stdio::piped());
    let output = sandbox.spawn(command).unwrap().unwrap().wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn cgroup_of(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

#[test]
fn nodes_are_apart_from_each_other_and_nothing_of_them_stays() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let before = Traces::now();
    let start = Instant::now();
    let cluster = cluster();
    eprintln!("2 nodes and 16 pods in {:?}", start.elapsed());

    let nodes: Vec<_> = cluster.nodes().collect();
    let mut seen = BTreeSet::new();
    for node in &nodes {
        let cgroup = cgroup_of(&read(node.sandbox(), "/proc/thread-self/cgroup"));
        let path = node.sandbox().cgroup().unwrap().path().to_string_lossy().into_owned();
        assert!(path.ends_with(&cgroup), "{path} {cgroup}");
        assert_eq!(
            cgroup_of(&read_by_child(node.sandbox(), "/proc/self/cgroup")),
            cgroup,
            "a program is where its node is"
        );
        for pod in node.pods() {
            assert_eq!(cgroup_of(&read(pod.sandbox(), "/proc/thread-self/cgroup")), cgroup, "{}", pod.name());
            assert!(seen.insert(pod.sandbox().netns().id().unwrap()), "{} has a namespace of its own", pod.name());
        }
        assert!(seen.insert(node.sandbox().netns().id().unwrap()));
        let pin = Path::new("/sys/fs/bpf").join(node.name());
        node.sandbox().run(move || fs::create_dir(pin).unwrap()).unwrap();
    }
    for node in &nodes {
        let pins = node.sandbox().run(|| listed("/sys/fs/bpf")).unwrap();
        let of_nodes: Vec<_> = pins.iter().filter(|pin| pin.to_string_lossy().contains("node-")).collect();
        assert_eq!(of_nodes, [&Path::new("/sys/fs/bpf").join(node.name())], "each node has a bpffs of its own");
    }
    let visit = format!("ls -d /sys/fs/bpf/{} /sys/class", nodes[0].name());
    let entered = Command::new("nsenter")
        .args(["--target", &nodes[0].sandbox().thread_id().to_string(), "--net", "--mount", "sh", "-c", &visit])
        .output()
        .unwrap();
    assert!(entered.status.success(), "one can look around from outside: {entered:?}");
    assert_eq!(Traces::now().links, before.links, "no device of the lab is in the machine's namespace");

    let name = nodes[0].sandbox().netns().publish(&format!("sheave-teardown-{}", std::process::id())).unwrap();
    assert!(Traces::now().names.contains(name.path()));
    drop(name);

    let start = Instant::now();
    drop(cluster);
    eprintln!("gone in {:?}", start.elapsed());
    eventually("every namespace is let go", || Traces::now().namespaces == before.namespaces);
    assert_eq!(Traces::now(), before);
}
