//! The real agent, as a process of its own on the lab's node.
use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_lab::Sandbox;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running agent; stopped when dropped. It ends as well when this process does, whatever ends it: the agent reads its
/// standard input, a pipe that then closes.
pub(crate) struct AgentProcess(Child);

impl AgentProcess {
    /// Starts this very binary as the agent of a node of the lab.
    pub(crate) fn start(node: &Sandbox, name: &str, server: &str, log: File) -> anyhow::Result<Self> {
        let cgroup = node.cgroup().context("the node has no cgroup of its own")?.path();
        let mut command = Command::new(std::env::current_exe().context("finding this binary")?);
        command.args(["agent", "--until-stdin-closes", "--source", "kube", "--node", name, "--server", server]);
        command.arg("--cgroup").arg(cgroup);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = node.spawn(command)?.context("starting the agent")?;
        Ok(Self(child))
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself, which it never should.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("invariant: a pid fits"));
        let deadline = Instant::now() + Duration::from_secs(5);
        if kill(pid, Signal::SIGTERM).is_ok() {
            while Instant::now() < deadline && !self.ended() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // Already ended, or deaf: kill() and wait() of a child that was waited for do nothing.
        let _unused = self.0.kill();
        let _unused = self.0.wait();
    }
}
