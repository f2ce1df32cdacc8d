//! Threads that live outside the machine's own namespaces.
use crate::cgroup::{CgroupError, ThreadCgroup};
use crate::netns::NetNs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use std::io;
use std::panic::resume_unwind;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Where a node's agent pins its maps; each node of the lab has its own file system there.
const BPFFS: &str = "/sys/fs/bpf";

/// A sandbox could not be made, or could not start a thread.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// unshare() failed.
    #[error("{sandbox}: cannot leave the machine's {namespace} namespace: {source}; run as root")]
    Unshare {
        /// Whose thread.
        sandbox: String,
        /// Which kind of namespace.
        namespace: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// mount() failed.
    #[error(
        "{sandbox}: cannot mount {target}: {source}; the kernel needs CONFIG_BPF_SYSCALL, the process CAP_SYS_ADMIN"
    )]
    Mount {
        /// Whose mount namespace.
        sandbox: String,
        /// Where.
        target: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// No more threads.
    #[error("{sandbox}: cannot start a thread: {source}; raise the limit on tasks")]
    Thread {
        /// Whose thread.
        sandbox: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread could not join the node's cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

type Job = Box<dyn FnOnce() + Send>;

/// What a new sandbox leaves behind besides the network namespace.
#[derive(Default)]
pub(crate) struct Isolation {
    /// Joined by the resident thread, and so by all that it starts.
    pub(crate) cgroup: Option<Arc<ThreadCgroup>>,
    /// Own mount namespace with a fresh bpffs at `/sys/fs/bpf` and an empty `/run`.
    pub(crate) mounts: bool,
}

/// One resident thread in a network namespace of its own. Whatever runs in the sandbox is started by that thread and
/// inherits its network and mount namespace and its cgroup, as a process in a container does; sockets and eBPF links made
/// there stay there. No name, no mount and no process is left, also after SIGKILL.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    thread: Pid,
    netns: NetNs,
    jobs: Option<Sender<Job>>,
    resident: Mutex<Option<JoinHandle<()>>>,
    // Declared last: the cgroup can only be removed when its threads are gone.
    cgroup: Option<Arc<ThreadCgroup>>,
}

impl Sandbox {
    /// A sandbox with an empty network namespace: a `lo` that is down and nothing else.
    ///
    /// # Errors
    /// The process may not create namespaces.
    pub fn new(name: &str) -> Result<Self, SandboxError> {
        Self::isolated(name, Isolation::default())
    }

    /// A sandbox with a mount namespace of its own as well, a fresh bpffs at `/sys/fs/bpf` and an empty `/run` in it.
    ///
    /// # Errors
    /// The process may not create namespaces or mount.
    pub fn with_bpffs(name: &str) -> Result<Self, SandboxError> {
        Self::isolated(name, Isolation { cgroup: None, mounts: true })
    }

    pub(crate) fn isolated(name: &str, isolation: Isolation) -> Result<Self, SandboxError> {
        let Isolation { cgroup, mounts } = isolation;
        let (sandbox, joins) = (name.to_owned(), cgroup.clone());
        let setup = move || {
            if let Some(cgroup) = &joins {
                cgroup.enter()?;
            }
            if mounts {
                private_mounts(&sandbox)?;
            }
            private_network(&sandbox)
        };
        Self::start_resident(name, cgroup, |resident| {
            thread::Builder::new().name(name.to_owned()).spawn(move || resident(Box::new(setup)))
        })
    }

    /// A sandbox with its own network namespace that shares all else with this one: a pod on a node.
    ///
    /// # Errors
    /// The process may not create namespaces.
    pub fn nested(&self, name: &str) -> Result<Self, SandboxError> {
        let sandbox = name.to_owned();
        let setup = move || private_network(&sandbox);
        Self::start_resident(name, self.inner.cgroup.clone(), |resident| {
            self.start(name, move || resident(Box::new(setup))).map_err(io::Error::other)
        })
    }

    fn start_resident(
        name: &str,
        cgroup: Option<Arc<ThreadCgroup>>,
        spawn: impl FnOnce(Box<dyn FnOnce(Setup) + Send>) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self, SandboxError> {
        let (jobs, queue) = channel::<Job>();
        let (ready, outcome) = sync_channel(1);
        let resident = spawn(Box::new(move |setup| {
            let made = setup().map(|netns| (gettid(), netns));
            let serve = made.is_ok();
            let _ = ready.send(made);
            if serve {
                queue.into_iter().for_each(|job| job());
            }
        }))
        .map_err(|source| SandboxError::Thread { sandbox: name.to_owned(), source })?;
        let (thread, netns) = outcome.recv().expect("invariant: the resident thread reports before it ends")?;
        let resident = Mutex::new(Some(resident));
        let inner = Inner { name: name.to_owned(), thread, netns, jobs: Some(jobs), resident, cgroup };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &NetNs {
        &self.inner.netns
    }

    /// The id of its resident thread: `nsenter --target ID --net --mount` leads into the sandbox.
    #[must_use]
    pub fn thread_id(&self) -> Pid {
        self.inner.thread
    }

    /// The cgroup of everything that runs here, if the sandbox has one of its own.
    #[must_use]
    pub fn cgroup(&self) -> Option<&ThreadCgroup> {
        self.inner.cgroup.as_deref()
    }

    /// Starts a thread in the sandbox. Threads that it starts, those of an async runtime included, are in the sandbox too.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start<T, F>(&self, thread: &str, body: F) -> Result<JoinHandle<T>, SandboxError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let builder = thread::Builder::new().name(thread.to_owned());
        let (reply, handle) = sync_channel(1);
        let job: Job = Box::new(move || {
            let _ = reply.send(builder.spawn(body));
        });
        let jobs = self.inner.jobs.as_ref().expect("invariant: the queue closes in drop only");
        jobs.send(job).expect("invariant: the resident thread outlives its sandbox");
        let started = handle.recv().expect("invariant: the resident thread answers each job");
        started.map_err(|source| SandboxError::Thread { sandbox: self.inner.name.clone(), source })
    }

    /// Runs a closure on a fresh thread in the sandbox and waits for it. A panic in there goes on here.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn run<T, F>(&self, body: F) -> Result<T, SandboxError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.start(&self.inner.name, body)?.join().or_else(|panic| resume_unwind(panic))
    }

    /// Starts a program in the sandbox. Its end is the caller's affair.
    ///
    /// # Errors
    /// The outer error: no thread left. The inner one: the program does not start.
    pub fn spawn(&self, mut command: Command) -> Result<io::Result<Child>, SandboxError> {
        self.run(move || command.spawn())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.jobs = None;
        let resident = self.resident.get_mut().ok().and_then(Option::take);
        // A sandbox dropped by a closure that runs on its own resident thread must not wait for itself.
        if let Some(resident) = resident.filter(|resident| resident.thread().id() != thread::current().id()) {
            let _ = resident.join();
        }
    }
}

type Setup = Box<dyn FnOnce() -> Result<NetNs, SandboxError> + Send>;

fn private_network(sandbox: &str) -> Result<NetNs, SandboxError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(io::Error::from)
        .and_then(|()| NetNs::current())
        .map_err(|source| SandboxError::Unshare { sandbox: sandbox.to_owned(), namespace: "network", source })
}

/// Unsharing mounts in a process with many threads moves the calling thread only; CLONE_NEWNS implies CLONE_FS, so that
/// thread gets its own working directory (unchanged) as well.
fn private_mounts(sandbox: &str) -> Result<(), SandboxError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| SandboxError::Unshare {
        sandbox: sandbox.to_owned(),
        namespace: "mount",
        source: errno.into(),
    })?;
    let failed = |target| {
        move |errno: nix::Error| SandboxError::Mount { sandbox: sandbox.to_owned(), target, source: errno.into() }
    };
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("/ (as private)"))?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).map_err(failed(BPFFS))?;
    // Sockets and locks of what runs here stand there: two nodes of a lab are not to meet.
    mount(Some("run"), "/run", Some("tmpfs"), MsFlags::empty(), none).map_err(failed("/run"))
}
