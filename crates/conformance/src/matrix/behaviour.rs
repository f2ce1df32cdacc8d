//! What takes more than one request to see: cases that change their world, one after the other, when its cells are done.
use super::services::{HOSTS, NODE, SERVERS, SERVICES, Spec, ports};
use super::setting::{Filter, Setting};
use super::world::World;
use sheave_agent::config::SocketLb;
use sheave_lab::PodNetwork;
use sheave_lab::probe::{Answer, Client, Target, Transport};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(3);
/// A request that finds nothing served yet is given up after this time.
const PATIENCE: Duration = Duration::from_millis(300);
/// For what follows from a change of the world.
const DEADLINE: Duration = Duration::from_secs(60);
const REQUESTS: usize = 20;
const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

/// A case.
pub(super) struct Behaviour {
    name: &'static str,
    /// Where it makes sense.
    pub(super) applies: fn(Setting) -> bool,
    /// What was wrong, if anything was.
    pub(super) run: fn(&mut World) -> Result<(), String>,
}

impl Behaviour {
    /// The name that `--only` matches.
    pub(super) fn name(&self, setting: Setting) -> String {
        format!("matrix/{setting}/{}", self.name)
    }
}

/// All of them, in an order in which none disturbs those after it.
pub(super) const BEHAVIOURS: [Behaviour; 3] = [
    Behaviour { name: "affinity-is-one-for-all-addresses", applies: plain, run: affinity_is_one },
    Behaviour { name: "pods-made-while-the-agent-is-down", applies: without_sockets, run: pods_made_in_between },
    Behaviour {
        name: "replies-leave-by-the-uplink-of-their-flow",
        applies: two_uplinks,
        run: replies_by_the_right_uplink,
    },
];

fn plain(setting: Setting) -> bool {
    setting.filter == Filter::Nothing
}

fn without_sockets(setting: Setting) -> bool {
    plain(setting) && setting.socket_lb == SocketLb::Off
}

fn two_uplinks(setting: Setting) -> bool {
    without_sockets(setting) && setting.network == PodNetwork::Routed
}

fn families(world: &World) -> impl Iterator<Item = bool> + use<> {
    let has = [true, false].map(|v4| world.has_family(v4));
    [true, false].into_iter().zip(has).filter_map(|(v4, has)| has.then_some(v4))
}

fn service(name: &str) -> Spec {
    *SERVICES.iter().find(|service| service.name == name).expect("invariant: a Service of the matrix")
}

/// One request, made once.
fn ask(client: &Client, target: Target) -> Result<Answer, String> {
    let place = client.sandbox().name();
    let outcome = client.request(target).map_err(|error| error.to_string())?;
    outcome.map_err(|failure| format!("{place} dials {target}: {failure}"))
}

/// E10: whichever of its addresses a client dials, a Service port has one backend for it.
fn affinity_is_one(world: &mut World) -> Result<(), String> {
    let service = service("affinity");
    let node = world.cluster.node(NODE).map(|node| node.addrs().to_vec()).unwrap_or_default();
    for place in ["client", HOSTS[0].0] {
        let client = world.client(place, TIMEOUT);
        for (transport, v4) in TRANSPORTS.into_iter().flat_map(|t| families(world).map(move |v4| (t, v4))) {
            let port = ports(transport).0;
            let own = node.iter().filter(|addr| addr.is_ipv4() == v4).map(|&addr| (addr, service.node_port(transport)));
            let vips = [service.cluster_ip(v4), service.load_balancer(v4), service.external_ip(v4)];
            let dialled: Vec<_> = vips.into_iter().map(|vip| (vip, port)).chain(own).map(SocketAddr::from).collect();
            let mut backends = BTreeSet::new();
            for &addr in dialled.iter().cycle().take(REQUESTS) {
                backends.insert(ask(&client, Target { addr, transport })?.backend);
            }
            if backends.len() > 1 {
                return Err(format!("{place} dialled {dialled:?} over {transport} and got {backends:?}"));
            }
        }
    }
    Ok(())
}

/// A pod's device is not served yet: what it sends is decided where it leaves the node.
fn pods_made_in_between(world: &mut World) -> Result<(), String> {
    world.stop_agent();
    let addrs = [IpAddr::V4(Ipv4Addr::new(10, 180, 0, 50)), IpAddr::V6(Ipv6Addr::new(0xfd18, 0, 0, 0, 0, 0, 0, 50))];
    world.cluster.add_pod(NODE, "late", &addrs).map_err(|error| error.to_string())?;
    let asked = ask_as_a_pod(world, "late", &addrs);
    world.start_agent().map_err(|error| error.to_string())?;
    asked
}

fn ask_as_a_pod(world: &World, place: &str, addrs: &[IpAddr]) -> Result<(), String> {
    let client = world.client(place, TIMEOUT);
    for (transport, v4) in TRANSPORTS.into_iter().flat_map(|t| families(world).map(move |v4| (t, v4))) {
        let addr = SocketAddr::new(SERVICES[0].cluster_ip(v4), ports(transport).0);
        let mut pods = BTreeSet::new();
        for _ in 0..2 * REQUESTS {
            let answer = ask(&client, Target { addr, transport })?;
            if !addrs.contains(&answer.peer.ip()) {
                return Err(format!("{} saw {} in place of the pod", answer.backend, answer.peer.ip()));
            }
            pods.insert(answer.pod);
        }
        if pods.len() != SERVERS.len() {
            return Err(format!("{} requests over {transport} reached {pods:?} only", 2 * REQUESTS));
        }
    }
    Ok(())
}

/// Multi-NIC: the fabric takes nothing from an uplink whose source address it does not find behind it (strict rp_filter), so
/// a reply that leaves by the default route is lost.
fn replies_by_the_right_uplink(world: &mut World) -> Result<(), String> {
    let addrs = [IpAddr::V4(Ipv4Addr::new(172, 31, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd31, 0, 0, 0, 0, 0, 0, 1))];
    // As nodes with several NICs have it: the first packet comes by a device that is not the way back.
    let node = world.cluster.node(NODE).expect("invariant: built with the world");
    node.set("net/ipv4/conf/all/rp_filter", "2").map_err(|error| error.to_string())?;
    world.cluster.add_uplink(NODE, &addrs).map_err(|error| error.to_string())?;
    let client = world.client(HOSTS[0].0, TIMEOUT);
    for (v4, transport) in families(world).flat_map(|v4| TRANSPORTS.map(|transport| (v4, transport))) {
        for service in [service("cluster"), service("local")] {
            let addr = SocketAddr::new(addrs[usize::from(!v4)], service.node_port(transport));
            let target = Target { addr, transport };
            until_answered(&world.client(HOSTS[0].0, PATIENCE), target, world.pace.of(DEADLINE))?;
            for _ in 0..REQUESTS {
                ask(&client, target)?;
            }
        }
    }
    Ok(())
}

/// The agent has to hear of a new device and its address first.
fn until_answered(client: &Client, target: Target, limit: Duration) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        match ask(client, target) {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => {
                return Err(format!("{why}, {limit:?} after the address was added"));
            }
            Err(_) => {}
        }
    }
}
