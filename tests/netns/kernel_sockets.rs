//! A tunnel whose other end is a Service: the kernel's own sockets dial a VIP, past every cgroup hook, and hear of their backend by it.
use crate::NEEDS;
use crate::links::shell;
use crate::manifests::{PortSpec, ServiceSpec};
use crate::world::{SHORT, TIMEOUT, World, answer, counted, eventually, web};
use sheave_agent::config::SocketLb;
use sheave_lab::Sandbox;
use sheave_lab::probe::{Client, Server, Target};
use sheave_tests::kernel_or_skip;
use std::net::{IpAddr, SocketAddr};

const VXLAN: PortSpec = PortSpec("vxlan", "UDP", 4789, 4789);
/// Ends of the tunnel inside of it: the node's, the pod's.
const INSIDE: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
const PORT: u16 = 9000;
const REQUESTS: usize = 5;

/// One source port, that of the socket: what comes back to it is heard.
fn add_tunnel(place: &Sandbox, local: IpAddr, remote: IpAddr, inside: &str) {
    shell(
        place,
        format!(
            "ip link add tunnel type vxlan id 7 local {local} remote {remote} dstport 4789 srcport 4789 4790
             ip address add {inside}/24 dev tunnel
             ip link set tunnel up"
        ),
    );
}

fn remove_tunnel(place: &Sandbox) {
    shell(place, "ip link delete tunnel".to_owned());
}

/// A1, R1
#[test]
fn a_tunnel_of_the_node_to_a_vip_ends_at_its_backend_and_hears_of_it() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for pod in ["near", "far-1"] {
        let service = ServiceSpec { name: "tunnel", ports: vec![VXLAN], ..web(&[pod]) };
        let mut world = World::new(SocketLb::All);
        world.put(&service);
        world.start_agent();
        let (node, place) =
            (world.cluster.node("node-a").unwrap().sandbox(), world.cluster.pod(pod).unwrap().sandbox());
        for &vip in &service.vips {
            let of = |place| *world.addrs(place).iter().find(|addr| addr.is_ipv4() == vip.is_ipv4()).unwrap();
            add_tunnel(node, of("node-a"), vip, INSIDE[0]);
            add_tunnel(place, of(pod), of("node-a"), INSIDE[1]);
            let target = Target::tcp(SocketAddr::new(INSIDE[1].parse().unwrap(), PORT));
            let server = Server::start(place, pod, &[target]).unwrap();
            let impatient = Client::new(node, SHORT);
            eventually(&format!("{pod} answers through {vip}"), || impatient.request(target).unwrap().is_ok());
            let [forward, reply] = ["flow_forward", "flow_reply"].map(|name| counted(node, name));
            for _ in 0..REQUESTS {
                let answer = answer(&Client::new(node, TIMEOUT), target);
                assert_eq!(answer.peer.ip(), INSIDE[0].parse::<IpAddr>().unwrap(), "{vip}");
            }
            for (name, before) in [("flow_forward", forward), ("flow_reply", reply)] {
                assert!(counted(node, name) >= before + REQUESTS as u64, "{name}, {pod} by {vip}");
            }
            server.stop();
            [node, place].into_iter().for_each(remove_tunnel);
        }
    }
}
