//! The real agent on a node of the lab, as a thread of this process.
use sheave_agent::config::Config;
use sheave_lab::{Node, SandboxError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running agent; stopped when dropped. What it put into the kernel stays.
#[derive(Debug)]
pub struct Agent {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Agent {
    /// Starts it where the node's programs run: in its namespaces and its cgroup.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn start(node: &Node, config: Config) -> Result<Self, SandboxError> {
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // Its workers are started by this thread, so they are in the sandbox as well.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            // An error says that the sender is gone, which means the same.
            let stopped = async { drop(stopped.await) };
            runtime.block_on(sheave_agent::run(config, stopped)).map_err(|error| error.to_string())
        };
        let thread = node.sandbox().start("agent", run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Whether it has ended by itself, which it never should.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it.
    ///
    /// # Errors
    /// Why it failed, now or before.
    pub fn stop(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        drop(self.stop.take());
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err("it panicked".to_owned())))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Whoever wants to know how it ended has stopped it.
        let _ = self.end();
    }
}
