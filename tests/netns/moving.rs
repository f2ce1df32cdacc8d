//! From kube-proxy to the agent and back, under load: what is under way goes on, what is new is answered. Nothing is tried twice.
mod kube_proxy;
mod ledger;

use crate::NEEDS;
use crate::outside::{NODE_PORTS, OUTSIDE, ips, publish};
use crate::world::{BACKENDS, TIMEOUT, World, counted, eventually, outcome, targets, web};
use kube_proxy::KubeProxy;
use ledger::Ledger;
use sheave_agent::config::SocketLb;
use sheave_agent::leftovers::{Removal, clean_up};
use sheave_baseline::{Layout, Restore, Variant};
use sheave_bpf::cleanup::cleanup;
use sheave_bpf::drain::Drain;
use sheave_bpf::sweep::monotonic_ns;
use sheave_lab::probe::{Caller, Client, Manner, Target, Transport};
use sheave_node::keep_nat;
use sheave_tests::kernel_or_skip;
use std::net::SocketAddr;
use std::path::Path;

const BPFFS: &str = "/sys/fs/bpf";
/// What kube-proxy writes, and whose sockets the agent serves at connect().
const CASES: [(Layout, SocketLb); 3] = [
    (Layout::Nftables, SocketLb::All),
    (Layout::Iptables(Variant::Nft, Restore::Partial), SocketLb::Host),
    (Layout::Iptables(Variant::Legacy, Restore::Partial), SocketLb::Off),
];

/// A world with a Service that leads there from inside, from the node and, masqueraded, from outside.
fn world(socket_lb: SocketLb) -> World {
    let mut world = World::new(socket_lb);
    world.put(&web(&BACKENDS));
    publish(&world, "Cluster");
    world.cluster.add_host("outside", &ips(OUTSIDE)).unwrap();
    let node = world.cluster.node("node-a").unwrap().sandbox();
    node.run(kube_proxy::track_connections).unwrap();
    world
}

/// Each kind of client, by a socket for each request and by one for all.
fn callers(world: &World) -> Vec<Caller> {
    let inside = ["client", "node-a"].into_iter().flat_map(|place| {
        let client = world.client(place);
        targets(&web(&BACKENDS)).into_iter().map(move |target| (client.clone(), target))
    });
    let outside = Client::new(world.cluster.host("outside").unwrap().sandbox(), TIMEOUT);
    let node_ports = world
        .addrs("node-a")
        .iter()
        .flat_map(|&addr| NODE_PORTS.map(|(transport, port)| Target { addr: SocketAddr::new(addr, port), transport }));
    let from_outside = node_ports.map(|target| (outside.clone(), target));
    let both = |(client, target): (Client, Target)| {
        [Manner::Fresh, Manner::Held].map(|manner| Caller { client: client.clone(), target, manner })
    };
    inside.chain(from_outside).flat_map(both).collect()
}

/// Starts the agent, and waits until it decides what comes in by devices.
fn take_over(world: &mut World) {
    world.start_agent();
    let pinned = || Path::new(BPFFS).join("sheave/v3/links").read_dir().is_ok_and(|mut links| links.next().is_some());
    let node = world.cluster.node("node-a").unwrap().sandbox().clone();
    eventually("the agent attaches its programs", || node.run(pinned).unwrap());
    for counter in ["flow_new", "flow_masquerade"] {
        eventually(&format!("{counter} counts"), || counted(&node, counter) > 0);
    }
}

/// L6, H10
#[test]
fn no_request_fails_when_the_agent_takes_over_and_kube_proxys_rules_go() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for (layout, socket_lb) in CASES {
        let mut world = world(socket_lb);
        let node = world.cluster.node("node-a").unwrap().sandbox().clone();
        KubeProxy::new(layout, &world).start();
        let mut ledger = Ledger::open(callers(&world));
        ledger.until_each_was_answered("by kube-proxy");
        take_over(&mut world);
        eventually("UDP flows of kube-proxy's pass as they are", || counted(&node, "pass_foreign") > 0);
        ledger.until_each_was_answered("beside kube-proxy");
        let report = node.run(|| clean_up(Removal::Careful)).unwrap().unwrap();
        assert!(
            report.left.is_empty() && !(report.tables.is_empty() && report.chains.is_empty()),
            "{layout}: {report:?}"
        );
        ledger.until_each_was_answered("without kube-proxy's rules");
        let again = node.run(|| clean_up(Removal::DryRun)).unwrap().unwrap();
        assert!(again.tables.is_empty() && again.chains.is_empty(), "{layout}: {again:?}");
        ledger.close(&format!("{layout}"));
    }
}

/// H10
#[test]
fn no_request_fails_when_kube_proxy_comes_back_and_sheave_drains() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for (layout, socket_lb) in CASES {
        let mut world = world(socket_lb);
        let node = world.cluster.node("node-a").unwrap().sandbox().clone();
        world.start_agent();
        world.until_served(&web(&BACKENDS));
        let (held, fresh): (Vec<_>, Vec<_>) =
            callers(&world).into_iter().partition(|caller| caller.manner == Manner::Held);
        let (mut held, mut fresh) = (Ledger::open(held), Ledger::open(fresh));
        held.until_each_was_answered("by the agent");
        fresh.until_each_was_answered("by the agent");
        KubeProxy::new(layout, &world).start();
        fresh.until_each_was_answered("with kube-proxy's rules beside");
        world.stop_agent();
        let drain = node.run(|| Drain::begin(Path::new(BPFFS))).unwrap().unwrap().expect("sheave is here");
        held.until_each_was_answered("while sheave drains");
        fresh.until_each_was_answered("while sheave drains");
        let under_way = drain.under_way(monotonic_ns()).unwrap();
        // Of each family the host outside; the pod and the node, unless they are served at the socket.
        let at_devices = match socket_lb {
            SocketLb::All => 2,
            SocketLb::Host => 4,
            SocketLb::Off => 6,
        };
        assert!(under_way.tcp >= at_devices && under_way.udp >= at_devices, "{layout}: {under_way:?}");
        let before = counted(&node, "flow_new");
        fresh.until_each_was_answered("while sheave drains, once more");
        assert_eq!(counted(&node, "flow_new"), before, "{layout}: nothing new is decided");
        held.close(&format!("{layout}, held"));
        eventually("TCP flows have ended", || drain.under_way(monotonic_ns()).unwrap().tcp == 0);
        drop(drain);
        let removed = node.run(|| cleanup(Path::new(BPFFS))).unwrap().unwrap();
        assert!(removed.links > 0 && removed.maps > 0, "{layout}: {removed:?}");
        fresh.until_each_was_answered("without sheave");
        fresh.close(&format!("{layout}, fresh"));
    }
}

#[test]
fn a_drain_is_refused_beside_an_agent_and_taken_back_by_the_next_one() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let mut world = world(SocketLb::All);
    let node = world.cluster.node("node-a").unwrap().sandbox().clone();
    assert!(node.run(|| Drain::begin(Path::new(BPFFS))).unwrap().unwrap().is_none(), "nothing is there");
    world.start_agent();
    world.until_served(&web(&BACKENDS));
    let refused = node.run(|| Drain::begin(Path::new(BPFFS))).unwrap().unwrap_err().to_string();
    assert!(refused.ends_with("another agent of this node is running: stop it first"), "{refused}");
    world.stop_agent();
    let drain = node.run(|| Drain::begin(Path::new(BPFFS))).unwrap().unwrap().expect("sheave is here");
    for target in targets(&web(&BACKENDS)) {
        assert!(outcome(&world, "client", target).is_err(), "{target}: nothing new is decided");
    }
    drop(drain);
    world.start_agent();
    world.until_served(&web(&BACKENDS));
}

/// H10
#[test]
fn the_nat_chain_that_is_kept_goes_with_the_last_flow_that_needs_it() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let world = world(SocketLb::All);
    let node = world.cluster.node("node-a").unwrap().sandbox().clone();
    KubeProxy::new(Layout::Nftables, &world).start();
    let http = targets(&web(&BACKENDS)).into_iter().find(|target| target.transport == Transport::Tcp).unwrap();
    let mut held = world.client("client").hold(http).unwrap().unwrap();
    held.round_trip().unwrap();
    let removed = node.run(|| clean_up(Removal::Careful)).unwrap().unwrap();
    assert_eq!(removed.kept_nat, Some(keep_nat::TABLE));
    held.round_trip().expect("a flow goes on without kube-proxy's rules");
    assert_eq!(node.run(keep_nat::release).unwrap().unwrap(), keep_nat::Kept::Needed);
    held.round_trip().expect("the chain is still there");
    let rules = KubeProxy::new(Layout::Nftables, &world);
    rules.start();
    assert_eq!(node.run(keep_nat::release).unwrap().unwrap(), keep_nat::Kept::Released, "others translate again");
    held.round_trip().expect("by their chains");
    node.run(|| clean_up(Removal::Forced)).unwrap().unwrap();
    drop(held);
    kube_proxy::forget_flows(&world);
    assert_eq!(node.run(keep_nat::release).unwrap().unwrap(), keep_nat::Kept::Released, "no flow is left");
    assert_eq!(node.run(keep_nat::release).unwrap().unwrap(), keep_nat::Kept::Absent);
}
