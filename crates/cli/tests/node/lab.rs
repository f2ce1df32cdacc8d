//! A node with pods, and `sheave agent` as a process of its own on it.
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_bpf::image::Image;
use sheave_bpf::read_back::read_back_live;
use sheave_lab::probe::{Client, Server, Target};
use sheave_lab::{Cluster, Sandbox};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const SHEAVE: &str = env!("CARGO_BIN_EXE_sheave");
const BPFFS: &str = "/sys/fs/bpf";
const NODE: &str = "node-a";
const VIP: &str = "10.96.0.10";
const SERVERS: [(&str, &str); 2] = [("web-1", "10.244.1.11"), ("web-2", "10.244.1.12")];
const DEADLINE: Duration = Duration::from_secs(60);

/// In the order of its end: agent, servers, namespaces.
pub(crate) struct Lab {
    agent: Option<Child>,
    _servers: Vec<Server>,
    pub(crate) cluster: Cluster,
    pub(crate) files: TempDir,
    starts: usize,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Lab {
    /// A node with two servers and a client, and the manifests of a Service for TCP and UDP.
    pub(crate) fn new() -> Self {
        let pods = "10.244.1.0/24".parse().unwrap();
        let mut cluster = Cluster::builder("cli").node(NODE, [ip("172.30.0.1")], [pods]).build().unwrap();
        let servers = SERVERS.map(|(name, addr)| {
            let pod = cluster.add_pod(NODE, name, &[ip(addr)]).unwrap();
            let at = |port| SocketAddr::new(ip(addr), port);
            Server::start(pod.sandbox(), name, &[Target::tcp(at(8080)), Target::udp(at(5353))]).unwrap()
        });
        cluster.add_pod(NODE, "client", &[ip("10.244.1.100")]).unwrap();
        let files = TempDir::new().unwrap();
        let lab = Self { agent: None, _servers: servers.into(), cluster, files, starts: 0 };
        lab.write_manifests(&SERVERS.map(|(_, addr)| addr));
        lab
    }

    /// Writes the Service and a slice with these endpoints.
    pub(crate) fn write_manifests(&self, endpoints: &[&str]) {
        let endpoints: String = endpoints.iter().map(|addr| format!("- addresses: [{addr}]\n")).collect();
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\nspec:\n  clusterIP: {VIP}\n  \
             clusterIPs: [{VIP}]\n  ports:\n  - {{name: http, port: 80, protocol: TCP}}\n  - {{name: dns, port: 53, \
             protocol: UDP}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, \
             namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports:\n- {{name: http, \
             port: 8080, protocol: TCP}}\n- {{name: dns, port: 5353, protocol: UDP}}\nendpoints:\n{endpoints}"
        );
        std::fs::create_dir_all(self.manifests()).unwrap();
        std::fs::write(self.manifests().join("web.yaml"), text).unwrap();
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.files.path().join("manifests")
    }

    pub(crate) fn node(&self) -> &Sandbox {
        self.cluster.node(NODE).unwrap().sandbox()
    }

    pub(crate) fn client(&self, pod: &str) -> Client {
        Client::new(self.cluster.pod(pod).unwrap().sandbox(), Duration::from_secs(2))
    }

    /// Starts the agent and waits until it has nothing left to do.
    pub(crate) fn start_agent(&mut self) {
        let manifests = self.manifests();
        self.start_agent_with(&["--source", manifests.to_str().unwrap()]);
    }

    /// The same, with options that say where Services come from.
    pub(crate) fn start_agent_with(&mut self, source: &[&str]) {
        self.start_agent_by(Command::new(SHEAVE), source);
    }

    /// The same, by a command that becomes the binary.
    pub(crate) fn start_agent_by(&mut self, command: Command, options: &[&str]) {
        self.starts += 1;
        let log = std::fs::File::create(self.log_path()).unwrap();
        self.spawn_agent_by(command, options, log.into());
        eventually("the agent serves the devices", || self.serves());
    }

    /// Whether the devices have their programs and, where nothing was held before, the frontends are published.
    fn serves(&self) -> bool {
        let log = self.log();
        let held_nothing = log.contains(r#""services":0"#);
        log.contains("device entrance attached") && (!held_nothing || log.contains(r#""message":"serving""#))
    }

    /// Starts the agent and waits for nothing.
    pub(crate) fn spawn_agent(&mut self, source: &[&str], log: Stdio) {
        self.spawn_agent_by(Command::new(SHEAVE), source, log);
    }

    fn spawn_agent_by(&mut self, mut command: Command, options: &[&str], log: Stdio) {
        command.args(["agent", "--until-stdin-closes", "--node", NODE]).args(options);
        command.arg("--cgroup").arg(self.node().cgroup().unwrap().path());
        command.env("RUST_LOG", "info").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.agent = Some(self.node().spawn(command).unwrap().unwrap());
    }

    /// Ends the agent as the kernel's OOM killer does.
    pub(crate) fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Ends the agent as a parent does that has gone, and waits for it.
    pub(crate) fn stop_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        drop(agent.stdin.take());
        assert!(agent.wait().unwrap().success(), "{}", self.log());
    }

    /// Ends the agent as the kubelet does, and waits for it.
    pub(crate) fn terminate_agent(&mut self) {
        let mut agent = self.agent.take().expect("the agent runs");
        kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(agent.wait().unwrap().success(), "{}", self.log());
    }

    /// The log of the last start.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.files.path().join(format!("agent-{}.log", self.starts))
    }

    /// Runs another command of the binary on the node.
    pub(crate) fn sheave(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(SHEAVE);
        command.args(arguments);
        self.output(command)
    }

    /// Runs a command on the node, with nothing to read.
    pub(crate) fn output(&self, mut command: Command) -> Output {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.node().spawn(command).unwrap().unwrap().wait_with_output().unwrap()
    }

    /// What the kernel holds.
    pub(crate) fn image(&self) -> Image {
        let (image, strays) = self.node().run(|| read_back_live(Path::new(BPFFS))).unwrap().unwrap();
        assert!(strays.is_empty(), "{strays:?}");
        image
    }

    /// Whether anything of ours is pinned. (The kernel itself puts files into every BPF file system.)
    pub(crate) fn has_pins(&self) -> bool {
        self.node().run(|| Path::new(BPFFS).join("sheave").exists()).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// What a client dials.
pub(crate) fn targets() -> [Target; 2] {
    let at = |port| SocketAddr::new(ip(VIP), port);
    [Target::tcp(at(80)), Target::udp(at(53))]
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
