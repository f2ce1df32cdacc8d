//! The life of flows as steps of a plan (L1 to L7): a backend is retired when it does not serve any more, and not before.
use crate::node::{Node, applied, endpoints, gone, pod, port, slice, steps, unready, want, web, words};
use sheave_core::plan::plan_all;
use sheave_core::{Event, Protocol, Service};
use sheave_dataplane::Fake;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// A Service of one port of this protocol, whose endpoints are 1 and 2.
fn served(protocol: Protocol) -> Vec<Event> {
    vec![applied(of(protocol)), endpoints("web", &[1, 2])]
}

fn of(protocol: Protocol) -> Service {
    Service { ports: vec![port("http", protocol, 80)], ..web("10.96.0.1") }
}

#[test]
fn a_backend_is_retired_when_it_serves_no_more_and_not_while_it_drains() {
    for (case, second, make, break_) in [
        ("L2: it terminates and serves on", vec![unready(2, "draining")], &["serve web 1/1+1"][..], &[][..]),
        ("L2: it fails its readiness probe only", vec![unready(2, "serving")], &["serve web 1/1+1"], &[]),
        ("L1, L2: it serves no more", vec![unready(2, "down")], &["serve web 1/1"], &["retire 10.244.0.2:80 of web"]),
        ("L1, L2: it is gone", vec![], &["serve web 1/1"], &["retire 10.244.0.2:80 of web"]),
    ] {
        for protocol in PROTOCOLS {
            let now = slice("web", 80, [vec![pod(1)], second.clone()].concat());
            assert_eq!(steps(served(protocol), vec![now]), want(make, break_), "case: {case}, {protocol}");
        }
    }
}

#[test]
fn a_backend_that_drained_is_retired_when_it_is_gone() {
    let mut node = Node::new(Fake::default());
    node.steps(served(Protocol::Udp));
    let draining = slice("web", 80, vec![pod(1), unready(2, "draining")]);
    assert_eq!(node.steps([draining]), want(&["serve web 1/1+1"], &[]));
    let back = node.steps([endpoints("web", &[1, 2])]);
    assert_eq!(back, want(&["serve web 1/2"], &[]), "ready again, it was held all the time");
    node.steps([slice("web", 80, vec![pod(1), unready(2, "draining")])]);
    assert_eq!(node.steps([endpoints("web", &[1])]), want(&[], &["retire 10.244.0.2:80 of web"]), "L2: no set changes");
}

#[test]
fn scaling_to_zero_retires_every_backend_and_draining_all_of_them_none() {
    let all = ["retire 10.244.0.1:80 10.244.0.2:80 of web"];
    for protocol in PROTOCOLS {
        let none = steps(served(protocol), vec![slice("web", 80, vec![])]);
        assert_eq!(none, want(&["serve web 1/0"], &all), "L3, {protocol}");
        let draining = vec![unready(1, "draining"), unready(2, "draining")];
        let draining = steps(served(protocol), vec![slice("web", 80, draining)]);
        assert_eq!(draining, want(&[], &[]), "E1: the same set, {protocol}");
    }
}

#[test]
fn a_service_that_goes_is_forgotten_with_its_backends_and_a_port_that_goes_alone() {
    for protocol in PROTOCOLS {
        let frontend = format!("release 10.96.0.1:80/{protocol}");
        let whole = steps(served(protocol), vec![gone("web")]);
        assert_eq!(whole, want(&[], &[&frontend, "give back 10.96.0.1", "forget web"]), "L4, {protocol}");
        let two = Service { ports: vec![port("http", protocol, 80), port("more", Protocol::Tcp, 81)], ..of(protocol) };
        let before = vec![applied(two.clone()), endpoints("web", &[1])];
        let rest = Service { ports: two.ports[1..].to_vec(), ..two };
        let one = steps(before, vec![applied(rest)]);
        assert_eq!(one, want(&[], &[&frontend, "forget web"]), "L4: the address stays, {protocol}");
    }
}

#[test]
fn the_first_usable_endpoint_is_one_step_and_one_that_is_down_none() {
    for protocol in PROTOCOLS {
        let empty = || vec![applied(of(protocol))];
        let some = steps(empty(), vec![endpoints("web", &[1, 2])]);
        assert_eq!(some, want(&["serve web 1/2"], &[]), "L5, {protocol}");
        let down = steps(empty(), vec![slice("web", 80, vec![unready(1, "down")])]);
        assert_eq!(down, want(&[], &[]), "L5: still from zero to zero, {protocol}");
    }
}

#[test]
fn a_restart_plans_nothing_unless_something_changed_meanwhile() {
    for (case, meanwhile, make, break_) in [
        ("L6: nothing did", vec![], &[][..], &[][..]),
        (
            "L6: an endpoint was replaced",
            vec![endpoints("web", &[1, 3])],
            &["serve web 1/2"],
            &["retire 10.244.0.2:80 of web"],
        ),
        (
            "L4: the Service went",
            vec![gone("web")],
            &[],
            &["release 10.96.0.1:80/udp", "give back 10.96.0.1", "forget web"],
        ),
    ] {
        let mut old = Node::new(Fake::default());
        old.steps(served(Protocol::Udp));
        let mut new = Node::new(old.fake);
        new.see(served(Protocol::Udp).into_iter().rev().chain(meanwhile));
        let plan = plan_all(&new.desired, &new.fake);
        assert_eq!((words(&plan.make), words(&plan.break_)), want(make, break_), "case: {case}");
    }
}

#[test]
fn another_target_port_retires_the_old_backend_and_another_number_to_dial_does_not() {
    for protocol in PROTOCOLS {
        let target = steps(served(protocol), vec![slice("web", 8080, vec![pod(1), pod(2)])]);
        let retired = ["retire 10.244.0.1:80 10.244.0.2:80 of web"];
        assert_eq!(target, want(&["serve web 1/2"], &retired), "L7, {protocol}");
        let dialled = Service { ports: vec![port("http", protocol, 81)], ..of(protocol) };
        let dialled = steps(served(protocol), vec![applied(dialled)]);
        let released = format!("release 10.96.0.1:80/{protocol}");
        assert_eq!(dialled, want(&["serve web 1/2"], &[&released]), "the backends are the same, {protocol}");
    }
}
