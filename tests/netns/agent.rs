//! How the agent of a test is configured.
use sheave_agent::config::{Config, SocketLb};
use sheave_conformance::agent::Agent;
use sheave_lab::Node;
use std::path::Path;

/// Starts the agent of a node with manifests as its source.
pub(crate) fn start(node: &Node, manifests: &Path, socket_lb: SocketLb) -> Agent {
    let config = Config {
        source: manifests.to_str().unwrap().to_owned(),
        node_name: node.name().to_owned(),
        cgroup: Some(node.sandbox().cgroup().unwrap().path().to_owned()),
        socket_lb,
        ..Config::default()
    };
    Agent::start(node, config).unwrap()
}
