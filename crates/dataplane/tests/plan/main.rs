//! Plans: what makes comes before what breaks, nothing differs means nothing planned, a failure is planned again.
mod features;
mod life;
mod node;
mod rules;

use node::{Node, endpoints, gone, service, steps, want, words};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Touched};
use sheave_dataplane::{Dataplane, Fake};

#[test]
fn a_plan_makes_before_it_breaks() {
    let web = || vec![service("web", 1, "10.96.0.1"), endpoints("web", &[1, 2])];
    for (case, before, after, make, break_) in [
        ("a new Service", vec![], web(), vec!["serve web 1/2", "claim 10.96.0.1"], vec![]),
        ("nothing new", web(), web(), vec![], vec![]),
        ("an endpoint comes", web(), vec![endpoints("web", &[1, 2, 3])], vec!["serve web 1/3"], vec![]),
        ("one goes", web(), vec![endpoints("web", &[1])], vec!["serve web 1/1"], vec!["retire 10.244.0.2:80 of web"]),
        (
            "another address",
            web(),
            vec![service("web", 1, "10.96.0.2")],
            vec!["serve web 1/2", "claim 10.96.0.2"],
            vec!["release 10.96.0.1:80/tcp", "give back 10.96.0.1"],
        ),
        (
            "the Service goes",
            web(),
            vec![gone("web")],
            vec![],
            vec!["release 10.96.0.1:80/tcp", "give back 10.96.0.1", "forget web"],
        ),
        (
            "a frontend moves in one write, and is never released",
            web(),
            vec![service("api", 0, "10.96.0.1"), endpoints("api", &[9]), gone("web")],
            vec!["serve api 1/1"],
            vec!["forget web"],
        ),
        (
            "the holder loses to an older one (X1)",
            web(),
            vec![service("api", 0, "10.96.0.1")],
            vec!["serve api 1/0"],
            vec![],
        ),
    ] {
        assert_eq!(steps(before, after), want(&make, &break_), "case: {case}");
    }
}

#[test]
fn nothing_is_broken_in_a_round_in_which_something_could_not_be_made() {
    let mut node = Node::new(Fake::failing_at([2]));
    node.see([service("web", 1, "10.96.0.1"), endpoints("web", &[1])]);
    node.sync();
    node.see([service("api", 0, "10.96.0.1"), endpoints("api", &[2]), gone("web")]);
    let applied = node.sync();
    assert_eq!(
        applied.failed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["Service shop/api:http/TCP/IPv4: step 2 fails on purpose; it is planned again at the next sync"]
    );
    assert_eq!(applied.writes.ops, 1, "forgetting web was not tried");
    assert_eq!(node.pending.keys.len(), 2, "both are planned again");
    assert!(node.sync().pending.is_empty(), "I3");
    assert!(plan_all(&node.desired, &node.fake).is_empty());
}

#[test]
fn an_audit_finds_what_is_held_and_not_wanted() {
    let mut node = Node::new(Fake::default());
    node.see([service("web", 1, "10.96.0.1"), endpoints("web", &[1])]);
    node.sync();
    let plan = plan_all(&Desired::default(), &node.fake);
    assert_eq!(words(&plan.break_), ["release 10.96.0.1:80/tcp", "give back 10.96.0.1", "forget web"]);
    assert!(node.fake.apply(&plan).pending.is_empty());
    assert!(plan_all(&Desired::default(), &node.fake).is_empty());
}

#[test]
fn a_plan_for_a_holder_alone_brings_its_heir_with_it() {
    let mut node = Node::new(Fake::default());
    node.see([service("web", 1, "10.96.0.1"), endpoints("web", &[1])]);
    node.sync();
    node.see([service("api", 0, "10.96.0.1"), endpoints("api", &[2])]);
    let web = node.pending.keys.iter().find(|key| &*key.port.service.name == "web").cloned();
    let plan = plan(&node.desired, &node.fake, &Touched { keys: web.into_iter().collect(), ..Touched::default() });
    assert_eq!((words(&plan.make), words(&plan.break_)), (vec!["serve api 1/1".to_owned()], vec![]));
}

#[test]
fn a_frontend_that_could_not_move_is_released_when_its_heir_goes() {
    // Steps: web served, address claimed, then api fails to take the frontend web gives up.
    let mut node = Node::new(Fake::failing_at([2]));
    node.see([service("web", 1, "10.96.0.1")]);
    node.sync();
    node.see([service("web", 1, "10.96.0.2"), service("api", 2, "10.96.0.1")]);
    assert_eq!(node.sync().failed.len(), 1);
    node.see([gone("api")]);
    assert!(node.sync().pending.is_empty());
    assert!(plan_all(&node.desired, &node.fake).is_empty(), "I3: web holds nothing it does not want");
}
