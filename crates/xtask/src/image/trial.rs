//! The image's binary in a root directory with nothing else in it, as in a container.
use crate::process::{command, run, run_captured};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = "/usr/local/bin/sheave";
const LIMIT: Duration = Duration::from_secs(120);

/// Everything that has to work there.
///
/// # Errors
/// Names what does not.
pub(crate) fn try_out(root: &Path) -> Result<()> {
    let files = files(root)?;
    ensure!(files == [PathBuf::from("usr/local/bin/sheave")], "the image has other files than the binary: {files:?}");
    let (version, _) = run_captured(inside(root, &["--version"]), LIMIT)?;
    ensure!(version.trim().ends_with(env!("CARGO_PKG_VERSION")), "it says {version:?}");
    explains(root)?;
    for name in [Name::InDns, Name::InHosts] {
        resolves(root, name)?;
    }
    println!("the binary works in an empty root directory");
    Ok(())
}

/// The files below a directory, by their paths there.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() { directories.push(path) } else { files.push(path.strip_prefix(root)?.to_owned()) }
        }
    }
    Ok(files)
}

/// A command of the binary, with the root directory as its own.
fn inside(root: &Path, args: &[&str]) -> Command {
    let mut inside = command("chroot", &[]);
    inside.arg(root).arg(BINARY).args(args);
    inside
}

/// The model answers: a question without the kernel and without a network.
fn explains(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("examples"))?;
    for entry in fs::read_dir(crate::process::workspace_root().join("examples"))? {
        let entry = entry?;
        fs::copy(entry.path(), root.join("examples").join(entry.file_name()))?;
    }
    let question =
        ["explain", "--manifests", "/examples", "--node", "node-a", "--from", "10.244.1.10", "--to", "shop/web"];
    let (text, _) = run_captured(inside(root, &[&question[..], &["-o", "json"]].concat()), LIMIT)?;
    let answer: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text:?}"))?;
    ensure!(answer["verdict"] == "forward", "{answer}");
    Ok(())
}

const SERVER_PORT: u16 = 6443;
/// Nothing is attached to the machine's own cgroup.
const CONFIG: &str = "apiVersion: sheave.dev/v1alpha1\nkind: SheaveConfiguration\nsocketLb: \"off\"\n";
/// As a cluster has it: the authority comes with the service account, so the system's are not needed.
const KUBECONFIG: &str = r#"{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c",
"user":"u"}}],"users":[{"name":"u","user":{"token":"none"}}],"clusters":[{"name":"c","cluster":{"server":"https://api.test:6443",
"certificate-authority":"/etc/ca.crt"}}]}"#;
/// Made for this alone; its key is nowhere.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBNjCB6aADAgECAhRv5yKMsDWmQRSIEhftltYzGB6JKjAFBgMrZXAwEDEOMAwG
A1UEAwwFdHJpYWwwIBcNMjYxMTIyMDgyMTUzWhgPMjEyNjEwMjkwODIxNTNaMBAx
DjAMBgNVBAMMBXRyaWFsMCowBQYDK2VwAyEA1zWb6SKR1Q5VMmyaXOfoZ+8k2Pti
Wwa3OPgQ25HENj+jUzBRMB0GA1UdDgQWBBRPxp/gK576A4lXwZwQlMOwhYMR8jAf
BgNVHSMEGDAWgBRPxp/gK576A4lXwZwQlMOwhYMR8jAPBgNVHRMBAf8EBTADAQH/
MAUGAytlcANBAK0mPEDAZsqn2WtcwNkfSYEj9keBtOeN2Kmx+6lae7sddzSbLBkH
5HKY73Njau8ds+jsjJdu/z8YiPdYO0nBvww=
-----END CERTIFICATE-----
";

/// Where the name of the API server stands.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Name {
    /// In the domain name system.
    InDns,
    /// In /etc/hosts.
    InHosts,
}

/// A static C library has to find the API server by its name, too: it has no modules to load for that.
fn resolves(root: &Path, name: Name) -> Result<()> {
    let (resolv, hosts) = match name {
        Name::InDns => ("nameserver 127.0.0.1\noptions timeout:1 attempts:10\n", ""),
        Name::InHosts => ("", "127.0.0.1 api.test\n"),
    };
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/resolv.conf"), resolv)?;
    fs::write(root.join("etc/hosts"), hosts)?;
    fs::write(root.join("etc/sheave.yaml"), CONFIG)?;
    fs::write(root.join("etc/kubeconfig.yaml"), KUBECONFIG)?;
    fs::write(root.join("etc/ca.crt"), CA)?;
    let own = std::env::current_exe()?;
    let name = clap::ValueEnum::to_possible_value(&name).context("invariant: no name is hidden")?;
    let mut apart = command("unshare", &["--net", "--mount"]);
    apart.arg(own).args(["try-image", "--name", name.get_name(), "--root"]).arg(root);
    run(apart)
}

/// A part of the stage `image`, in namespaces of its own.
#[derive(clap::Args)]
pub(crate) struct TrialArgs {
    /// Where the name of the API server stands.
    #[arg(long)]
    name: Name,
    /// The image's files.
    #[arg(long)]
    root: PathBuf,
}

/// A DNS server and an API server that only accepts, both on loopback, and the agent that has to come.
///
/// # Errors
/// When the agent does not find its server, with what it logged.
pub(crate) fn resolve(TrialArgs { name, root }: &TrialArgs) -> Result<()> {
    run(command("ip", &["link", "set", "lo", "up"]))?;
    for (kind, place) in [("bpf", "sys/fs/bpf"), ("proc", "proc")] {
        let place = root.join(place);
        fs::create_dir_all(&place)?;
        let mut mount = command("mount", &["-t", kind, kind]);
        mount.arg(&place);
        run(mount)?;
    }
    let dns = UdpSocket::bind("127.0.0.1:53")?;
    std::thread::spawn(move || answer(&dns));
    let server = TcpListener::bind(("127.0.0.1", SERVER_PORT))?;
    server.set_nonblocking(true)?;
    let log = root.join("agent.log");
    let mut agent = agent(root, File::create(&log)?)?;
    let found = wait_for(&server, &mut agent);
    agent.kill()?;
    agent.wait()?;
    let mut said = String::new();
    File::open(&log)?.read_to_string(&mut said)?;
    found.with_context(|| format!("no request for a name {name:?}; the agent said:\n{said}"))
}

fn agent(root: &Path, log: File) -> Result<Child> {
    let args = ["agent", "--config", "/etc/sheave.yaml", "--kubeconfig", "/etc/kubeconfig.yaml", "--node", "node-a"];
    // chroot(1) becomes the agent, so its process is the one to end.
    Ok(inside(root, &args).stdout(Stdio::null()).stderr(log).spawn()?)
}

/// Answers each question of the domain name system: 127.0.0.1, and no other kind of record (RFC 1035, section 4).
fn answer(dns: &UdpSocket) {
    const HEADER: usize = 12;
    const QUESTION_TAIL: usize = 5;
    /// A pointer to the question's name, type A, class IN, 60 s, four bytes of address.
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1];
    let mut packet = [0; 512];
    while let Ok((length, client)) = dns.recv_from(&mut packet) {
        let Some(name) = packet[HEADER.min(length)..length].iter().position(|&byte| byte == 0) else { continue };
        let end = HEADER + name + QUESTION_TAIL;
        let Some(question) = packet.get(HEADER..end) else { continue };
        let is_address = question.ends_with(&[0, 1, 0, 1]);
        let mut reply = [&packet[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0], question].concat();
        if is_address {
            reply.extend(RECORD);
        }
        // A client that has gone asks again, or not.
        let _unused = dns.send_to(&reply, client);
    }
}

fn wait_for(server: &TcpListener, agent: &mut Child) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if server.accept().is_ok() {
            return Ok(());
        }
        if let Some(status) = agent.try_wait()? {
            bail!("the agent ended by itself: {status}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("the agent did not come within {} s", LIMIT.as_secs())
}
