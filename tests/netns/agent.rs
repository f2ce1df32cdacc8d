//! The real agent in a sandbox.
use sheave_agent::config::{Config, SocketLb};
use sheave_lab::Node;
use std::path::Path;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A running agent; stopped when dropped. What it put into the kernel stays.
pub(crate) struct Agent {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts the agent of a node with manifests as its source.
    pub(crate) fn start(node: &Node, manifests: &Path, socket_lb: SocketLb) -> Self {
        let config = Config {
            source: manifests.to_str().unwrap().to_owned(),
            node_name: node.name().to_owned(),
            cgroup: Some(node.sandbox().cgroup().unwrap().path().to_owned()),
            socket_lb,
            ..Config::default()
        };
        Self::run(node, config)
    }

    /// Starts the agent of a node with this configuration.
    pub(crate) fn run(node: &Node, config: Config) -> Self {
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // Its workers are started by this thread, so they are in the sandbox as well.
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(sheave_agent::run(config, async { drop(stopped.await) })).unwrap();
        };
        let thread = node.sandbox().start("agent", run).unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }

    /// Whether it has ended by itself, which it never should.
    pub(crate) fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it; its failure fails the test.
    pub(crate) fn stop(mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> std::thread::Result<()> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
