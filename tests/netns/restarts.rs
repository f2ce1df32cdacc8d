//! The agent stops and starts; traffic does not notice.
use crate::NEEDS;
use crate::world::{BACKENDS, World, answering, eventually, outcome, targets, web};
use sheave_agent::config::SocketLb;
use sheave_bpf::pins::Pins;
use sheave_lab::probe::{Caller, Load, Manner};
use sheave_tests::kernel_or_skip;
use std::path::Path;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(10);

/// L6, I5
#[test]
fn no_request_fails_while_the_agent_is_away_and_when_it_is_back() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let service = web(&BACKENDS);
        let mut world = World::serving(socket_lb, &service);
        let callers = targets(&service).into_iter().flat_map(|target| {
            [Manner::Fresh, Manner::Held].map(|manner| Caller { client: world.client("client"), target, manner })
        });
        let (load, samples) = Load::start(callers.collect(), INTERVAL).unwrap();
        world.stop_agent();
        for target in targets(&service) {
            assert_eq!(
                answering(&world.client("client"), target, 64).len(),
                BACKENDS.len(),
                "{target} without an agent"
            );
        }
        // What changed meanwhile is made up for: that it is served says that the agent is back at work.
        world.put(&web(&["far-2"]));
        world.start_agent();
        for target in targets(&service) {
            world.until_answered_only_by(target, &["far-2"]);
        }
        load.stop();
        let failed: Vec<_> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
        assert!(failed.is_empty(), "socketLb {socket_lb:?}: {failed:?}");
    }
}

#[test]
fn a_restart_without_the_socket_entrance_takes_it_away() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let mut world = World::serving(SocketLb::All, &service);
    let http = targets(&service)[0];
    assert!(outcome(&world, "node-a", http).is_ok() && has_socket_entrance(&world), "by the socket");
    world.stop_agent();
    world.start_agent_with(SocketLb::Off);
    eventually("the socket entrance is gone", || !has_socket_entrance(&world));
    eventually("the node is served at its device", || outcome(&world, "node-a", http).is_ok());
    world.until_served(&service);
    world.stop_agent();
    world.start_agent_with(SocketLb::All);
    eventually("the socket entrance is back", || has_socket_entrance(&world));
    eventually("the node is served by it", || outcome(&world, "node-a", http).is_ok());
}

/// Whether a program is attached to the connect() of the node's cgroup.
fn has_socket_entrance(world: &World) -> bool {
    let pinned = || Pins::new(Path::new("/sys/fs/bpf")).links().join("connect4").exists();
    world.cluster.node("node-a").unwrap().sandbox().run(pinned).unwrap()
}
