//! ClusterIPs on devices of the node (A12). Bridges stand in for dummy devices, which not every kernel has.
use crate::NEEDS;
use crate::manifests::ServiceSpec;
use crate::world::{BACKENDS, World, answering, eventually, outcome, targets, web};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, new_connection};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Failure, Phase, Server, Target};
use sheave_tests::kernel_or_skip;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The indices of the devices of these tests, beyond those of the lab.
const NODE_LOCAL: u32 = 100_001;
const KUBE_IPVS0: u32 = 100_002;
const LOCAL_DNS: &str = "node-local";

/// Changes the network of the agent's node.
fn on_node<F: Future<Output = ()>>(world: &World, change: impl FnOnce(Handle) -> F + Send + 'static) {
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = new_connection().unwrap();
            tokio::spawn(connection);
            change(handle).await;
        });
    };
    world.cluster.node("node-a").unwrap().sandbox().run(body).unwrap();
}

/// A device that is up and has these addresses.
fn add_device(world: &World, name: &'static str, index: u32, addrs: Vec<IpAddr>) {
    on_node(world, async move |handle| {
        handle.link().add(LinkBridge::new(name).index(index).build()).execute().await.unwrap();
        handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
        for addr in addrs {
            let mut request = handle.address().add(index, addr, if addr.is_ipv4() { 32 } else { 128 });
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            request.execute().await.unwrap();
        }
    });
}

fn remove_device(world: &World, index: u32) {
    on_node(world, async move |handle| handle.link().del(index).execute().await.unwrap());
}

/// A server of the node itself, as soon as the kernel lets it have the addresses.
fn node_local_server(world: &World, targets: &[Target]) -> Server {
    let node = world.cluster.node("node-a").unwrap().sandbox();
    let mut server = None;
    eventually("the node listens at its new addresses", || {
        server = Server::start(node, LOCAL_DNS, targets).ok();
        server.is_some()
    });
    server.unwrap()
}

/// Waits until the node answers itself. That one request is answered by it is not enough: a client may get the port of a UDP
/// flow that was translated before, and that goes on.
fn until_node_local(world: &World, place: &str, target: Target) {
    let answers = || outcome(world, place, target).is_ok_and(|answer| answer.pod == LOCAL_DNS);
    eventually(&format!("{target} is not translated for {place}"), || (0..10).all(|_| answers()));
}

/// The frontends of a Service, and a port of each VIP that it does not have.
fn with_another_port(service: &ServiceSpec) -> (Vec<Target>, Vec<Target>) {
    (targets(service), service.vips.iter().map(|&vip| Target::tcp((vip, 81).into())).collect())
}

/// Node-local DNS: the node answers at a ClusterIP that it has itself, and the Service answers again when it has it no more.
#[test]
fn a_cluster_ip_is_the_nodes_own_for_as_long_as_the_node_has_it() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let (served, another_port) = with_another_port(&service);
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let world = World::serving(socket_lb, &service);
        for _ in 0..2 {
            add_device(&world, "nodelocaldns", NODE_LOCAL, service.vips.clone());
            let server = node_local_server(&world, &[served.clone(), another_port.clone()].concat());
            for &target in served.iter().chain(&another_port) {
                ["client", "node-a"].iter().for_each(|place| until_node_local(&world, place, target));
            }
            server.stop();
            remove_device(&world, NODE_LOCAL);
            world.until_served(&service);
            for &target in &served {
                world.until_answered_only_by(target, &BACKENDS);
            }
            for &target in &another_port {
                eventually(&format!("{target} is refused again"), || {
                    outcome(&world, "client", target) == Err(Failure::Refused(Phase::Connect))
                });
            }
        }
    }
}

/// kube-proxy's IPVS mode leaves a device with every VIP behind.
#[test]
fn vips_on_kube_ipvs0_are_served() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    let service = web(&BACKENDS);
    let vips = ["10.96.0.53", "fd96::53"].map(|vip| vip.parse().unwrap());
    let dns = ServiceSpec { name: "dns", vips: vips.into(), ..service.clone() };
    let world = World::serving(SocketLb::All, &service);
    world.put(&dns);
    world.until_served(&dns);
    add_device(&world, "kube-ipvs0", KUBE_IPVS0, service.vips.clone());
    add_device(&world, "nodelocaldns", NODE_LOCAL, dns.vips.clone());
    // That these pass says that the agent has heard of the others as well.
    let _server = node_local_server(&world, &targets(&dns));
    targets(&dns).into_iter().for_each(|target| until_node_local(&world, "client", target));
    let backends: BTreeSet<String> = BACKENDS.iter().map(|&pod| pod.to_owned()).collect();
    for target in targets(&service) {
        assert_eq!(answering(&world.client("client"), target, 64), backends, "{target}");
    }
}
