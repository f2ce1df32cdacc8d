//! Endpoints come and go while requests run.
use crate::NEEDS;
use crate::world::{BACKENDS, World, eventually, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Caller, Load, Manner, Sample, Transport};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(10);

/// L1: TCP goes on until it ends. L2: UDP is decided anew at once.
#[test]
fn flows_of_a_removed_endpoint_go_on_over_tcp_and_move_over_udp() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let (before, after) = (web(&["near"]), web(&["far-1"]));
        let world = World::serving(socket_lb, &before);
        let hold = |target| (target, world.client("client").hold(target).unwrap().unwrap());
        let mut held: Vec<_> = targets(&before).into_iter().map(hold).collect();
        for (target, held) in &mut held {
            assert_eq!(held.round_trip().unwrap().pod, "near", "{target}");
        }
        world.put(&after);
        for target in targets(&after) {
            world.until_answered_only_by(target, &["far-1"]);
        }
        for (target, held) in &mut held {
            let want = if target.transport == Transport::Tcp { "near" } else { "far-1" };
            assert_eq!(held.round_trip().unwrap().pod, want, "{target}, socketLb {socket_lb:?}");
        }
    }
}

/// I1 as clients see it: a set is the old one or the new one, and no request fails.
#[test]
fn no_request_fails_while_sets_grow_shrink_and_are_replaced() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let world = World::serving(socket_lb, &web(&BACKENDS));
        let callers = targets(&web(&BACKENDS)).into_iter().flat_map(|target| {
            [Manner::Fresh, Manner::Held].map(|manner| Caller { client: world.client("client"), target, manner })
        });
        let (load, samples) = Load::start(callers.collect(), INTERVAL).unwrap();
        let steps: [&[&str]; 6] =
            [&["near"], &["near", "far-1"], &["far-1", "far-2"], &["far-2"], &["near", "far-2"], &BACKENDS];
        for pods in steps {
            world.put(&web(pods));
            for target in targets(&web(pods)) {
                world.until_answered_only_by(target, pods);
            }
        }
        load.stop();
        let samples: Vec<Sample> = samples.iter().collect();
        let failed: Vec<&Sample> = samples.iter().filter(|sample| sample.outcome.is_err()).collect();
        assert!(failed.is_empty(), "{} of {}, socketLb {socket_lb:?}: {failed:?}", failed.len(), samples.len());
        let asked: BTreeSet<usize> = samples.iter().map(|sample| sample.caller).collect();
        assert_eq!(asked.len(), 8, "every caller had its turn");
    }
}

/// E9, and the end of an endpoint as Kubernetes has it: out of the set first, then its server stops.
#[test]
fn a_server_that_stops_after_it_left_the_set_is_asked_no_more() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut world = World::serving(SocketLb::Off, &web(&BACKENDS));
    let left = web(&["near", "far-2"]);
    world.put(&left);
    for target in targets(&left) {
        world.until_answered_only_by(target, &["near", "far-2"]);
    }
    world.stop_server("far-1");
    let client = world.client("client");
    for target in targets(&left) {
        for _ in 0..100 {
            client.request(target).unwrap().unwrap();
        }
    }
    world.serve("far-1");
    world.put(&web(&BACKENDS));
    eventually("the pod that came back is asked again", || {
        targets(&left).into_iter().all(|target| client.request(target).unwrap().unwrap().pod == "far-1")
    });
}
