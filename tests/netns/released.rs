//! What a packet holds is released when it is sent another way than the stack chose. Kernels that forget a packet's route (before 6.18, or a
//! stable one of October 2025: commit 23f3770e1a53) are asked by `cargo xtask vm`.
use crate::NEEDS;
use crate::links::shell;
use crate::world::{BACKENDS, World, answer, eventually, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_tests::kernel_or_skip;
use std::process::Command;

const REQUESTS: usize = 5;
/// Namespaces end one batch after another. The first of these may end together with those of the world, the next ones end after them.
const SUCCESSORS: usize = 3;

/// True once the namespace of this device's other end has ended.
fn is_gone(outer: &Sandbox, device: String) -> bool {
    let shown = move || Command::new("ip").args(["link", "show", "dev", &device]).output().unwrap().status.success();
    !outer.run(shown).unwrap()
}

/// A route that is never released keeps the devices of its namespace, and no other namespace ends after that one: on 5.10 for ever.
#[test]
fn namespaces_end_after_the_nodes_datagrams_were_sent_by_the_routes_to_backends() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let world = World::serving(SocketLb::Off, &service);
    let client = world.client("node-a");
    for target in targets(&service) {
        (0..REQUESTS).for_each(|_| drop(answer(&client, target)));
    }
    drop((client, world));
    let outer = Sandbox::new("outer").unwrap();
    for n in 0..SUCCESSORS {
        let inner = Sandbox::new("inner").unwrap();
        shell(&outer, format!("ip link add wire{n} type veth peer name end netns {}", inner.thread_id()));
        assert!(!is_gone(&outer, format!("wire{n}")));
        drop(inner);
        eventually("a namespace ends", || is_gone(&outer, format!("wire{n}")));
    }
}
