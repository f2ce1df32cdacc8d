//! The bench's side: starts a worker, asks it, and ends it when it takes too long.
use super::protocol::{Job, Reply, Request};
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often somebody looks whether the run was interrupted.
const POLL: Duration = Duration::from_millis(50);
/// How much of what a worker says on standard error is kept.
const SAID_MAX: u64 = 2000;

/// A running worker. Ended, with all that it started, when dropped.
pub(crate) struct Worker {
    group: Pid,
    stdin: Option<ChildStdin>,
    replies: Receiver<Reply>,
    said: Receiver<String>,
}

/// Why a request has no answer. The worker is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It took longer than it may.
    #[error("it took longer than {0:?}")]
    TooLong(Duration),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// The worker has ended.
    #[error("the worker has ended: {0}")]
    Died(String),
    /// It could not be started.
    #[error("the worker does not start: {0}")]
    Start(io::Error),
}

impl Worker {
    /// Starts one. It is the leader of a process group of its own: an interrupt from the terminal does not reach it.
    pub(crate) fn start(mut command: Command, job: Job) -> Result<Self, Ended> {
        // Tools that outlive their worker become children of this process, which can then wait for their end.
        set_child_subreaper(true).map_err(|errno| Ended::Start(errno.into()))?;
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Ended::Start)?;
        let replies = reading_replies(child.stdout.take());
        let said = reading_errors(child.stderr.take());
        let mut worker = Self { group: pid_of(&child), stdin: child.stdin.take(), replies, said };
        worker.tell(&job)?;
        Ok(worker)
    }

    /// Asks for one thing and waits for the answer, for so long and until `interrupted`.
    pub(crate) fn ask(
        &mut self,
        request: Request,
        limit: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Reply, Ended> {
        let start = Instant::now();
        self.tell(&request)?;
        loop {
            match self.replies.recv_timeout(POLL) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Disconnected) => return Err(self.died()),
                Err(RecvTimeoutError::Timeout) if interrupted() => return Err(Ended::Interrupted),
                Err(RecvTimeoutError::Timeout) if start.elapsed() > limit => {
                    return Err(Ended::TooLong(start.elapsed()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn tell(&mut self, line: &impl serde::Serialize) -> Result<(), Ended> {
        let stdin = self.stdin.as_mut().expect("invariant: closed in drop only");
        let mut text = serde_json::to_string(line).expect("invariant: requests are plain data");
        text.push('\n');
        stdin.write_all(text.as_bytes()).map_err(|_| self.died())
    }

    fn died(&self) -> Ended {
        let said = self.said.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        Ended::Died(if said.trim().is_empty() { "it said nothing".to_owned() } else { said.trim().to_owned() })
    }
}

impl Drop for Worker {
    /// Returns when nothing of it is left: what the kernel still works on for it would be measured with the next round.
    fn drop(&mut self) {
        drop(self.stdin.take());
        // ESRCH: the whole group has ended already.
        let _unused = killpg(self.group, Signal::SIGKILL);
        let all = Pid::from_raw(-self.group.as_raw());
        while !matches!(waitpid(all, None), Err(errno) if errno != Errno::EINTR) {}
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("invariant: a pid fits"))
}

fn reading_replies(stdout: Option<ChildStdout>) -> Receiver<Reply> {
    let (sink, replies) = channel();
    thread::spawn(move || {
        let lines = stdout.map(|stdout| BufReader::new(stdout).lines()).into_iter().flatten();
        // A line that is no reply ends the channel: the worker is of another version or beside itself.
        for reply in lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()) {
            if sink.send(reply).is_err() {
                return;
            }
        }
    });
    replies
}

fn reading_errors(stderr: Option<ChildStderr>) -> Receiver<String> {
    let (sink, said) = channel();
    thread::spawn(move || {
        let Some(mut stderr) = stderr else { return };
        let mut text = Vec::new();
        let _unused = (&mut stderr).take(SAID_MAX).read_to_end(&mut text);
        // The rest is read and dropped, so that nobody waits for room in the pipe.
        let _unused = io::copy(&mut stderr, &mut io::sink());
        // The bench may have lost interest.
        let _unused = sink.send(String::from_utf8_lossy(&text).into_owned());
    });
    said
}
