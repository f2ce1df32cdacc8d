//! The API server of the demo: on the node's loopback, so that the agent reaches it without any Service.
use anyhow::Context as _;
use sheave_apistub::{Api, Server};
use sheave_lab::Sandbox;
use std::net::TcpListener;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Serves until dropped.
pub(crate) struct ApiServer {
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl ApiServer {
    /// Starts in a sandbox.
    pub(crate) fn start(node: &Sandbox, api: &Api) -> anyhow::Result<Self> {
        let listener = node.run(|| TcpListener::bind("127.0.0.1:0"))?.context("listening for the API")?;
        let url = format!("http://{}", listener.local_addr()?);
        let api = api.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = node.start("kube-apiserver", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let _server = Server::on(&api, listener)?;
                // An error says that the sender is gone, which means the same.
                let _unused = stopped.await;
                Ok(())
            })
        })?;
        Ok(Self { url, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _unused = self.thread.take().map(JoinHandle::join);
    }
}
