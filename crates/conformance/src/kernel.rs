//! The kernel programs as an engine: private maps, filled by plans as the agent fills them, and packets by `BPF_PROG_TEST_RUN`.
//!
//! Everything happens in namespaces of its own, with a BPF file system of its own; nothing is attached to anything. A packet is
//! run through the programs in the order a node would: at ingress of the device it comes in by, then, unless it is for the node,
//! at egress of the one it leaves by; what the node itself sends, at egress alone. A whole flow is not played: that is what the
//! packet tests are for.
mod affinity;
mod devices;
mod node;
mod shot;
mod survey;
mod tally;

use crate::engine::{Answer, Engine, EngineError, World};
use node::Node;
use sheave_bpf::counters::CounterError;
use sheave_bpf::load::LoadError;
use sheave_bpf::maps::MapError;
use sheave_bpf::read_back::ReadBackError;
use sheave_core::{Desired, Packet};
use sheave_lab::{SandboxError, Stand, StandError};
use std::io;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread::JoinHandle;

/// The programs could not be asked, or contradict themselves.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No namespaces or devices to do it in.
    #[error(transparent)]
    Stand(#[from] StandError),
    /// No thread to do it in.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// No programs.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A map cannot be written.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The counters cannot be read.
    #[error(transparent)]
    Counters(#[from] CounterError),
    /// The maps cannot be read back.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// A map cannot be opened or read.
    #[error("cannot read the map {map}: {source}")]
    Read {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program cannot be run on a packet.
    #[error("the kernel does not run {program} on a packet (BPF_PROG_TEST_RUN): {source}")]
    TestRun {
        /// The program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program is missing from the object.
    #[error("there is no program {program}: {why}")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Why.
        why: String,
    },
    /// The programs know no way to the endpoint from where the packet leaves.
    #[error("there is no route to the endpoint from the device the packet leaves by")]
    NoRoute,
    /// The kernel runs no program on a packet as one that came in by another device.
    #[error("before Linux 5.16, BPF_PROG_TEST_RUN knows no packets that are forwarded")]
    NotForwarded,
    /// What the programs did makes no sense, whatever was expected.
    #[error("{0}")]
    Contradiction(String),
}

type Job = Box<dyn FnOnce(&mut Node) + Send>;

/// Programs and maps of their own, in a thread that lives in namespaces of its own.
#[derive(Debug)]
pub struct KernelEngine {
    /// Closed in drop, which ends the thread.
    jobs: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
}

impl KernelEngine {
    /// Loads the programs. Needs root; takes as long as the kernel takes to verify them.
    ///
    /// # Errors
    /// What is missing.
    pub fn start() -> Result<Self, EngineError> {
        let stand = Stand::new("conformance").map_err(KernelError::from)?;
        let sandbox = stand.sandbox().clone();
        let (jobs, queue) = channel::<Job>();
        let (ready, made) = sync_channel(1);
        let work = move || match Node::new(stand) {
            Ok(mut node) => {
                let _ = ready.send(Ok(()));
                queue.into_iter().for_each(|job| job(&mut node));
            }
            Err(error) => drop(ready.send(Err(error))),
        };
        let worker = sandbox.start("conformance", work).map_err(KernelError::from)?;
        made.recv().expect("invariant: the thread reports before it ends")?;
        Ok(Self { jobs: Some(jobs), worker: Some(worker) })
    }

    /// Has something done where the programs are.
    fn call<T: Send + 'static>(&self, body: impl FnOnce(&mut Node) -> T + Send + 'static) -> T {
        let (reply, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().expect("invariant: closed in drop only");
        let job: Job = Box::new(move |node| drop(reply.send(body(node))));
        jobs.send(job).expect("invariant: the thread lives as long as the engine");
        answer.recv().expect("invariant: each job is answered")
    }
}

impl Drop for KernelEngine {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Engine for KernelEngine {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn hold(&mut self, world: World<'_>) -> Result<(), EngineError> {
        let desired = Desired::rebuild(world.config.clone(), world.index);
        self.call(move |node| node.hold(&desired))
    }

    fn ask(&mut self, packet: &Packet) -> Result<Answer, EngineError> {
        let packet = packet.clone();
        Ok(self.call(move |node| node.ask(&packet))?)
    }
}

/// What the kernel programs do to a packet, with these objects: for `sheave explain --engine kernel`.
///
/// # Errors
/// As [`KernelEngine::start`], and what the objects cannot be carried for.
pub fn explain(world: World<'_>, packet: &Packet) -> Result<Answer, EngineError> {
    let mut engine = KernelEngine::start()?;
    engine.hold(world)?;
    engine.ask(packet)
}
