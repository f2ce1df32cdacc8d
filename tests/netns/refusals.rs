//! Clients that cannot be served learn so at once.
use crate::NEEDS;
use crate::world::{BACKENDS, World, eventually, outcome, targets, web};
use sheave_agent::config::SocketLb;
use sheave_lab::probe::{Failure, Phase, Target, Transport};
use sheave_tests::kernel_or_skip;

/// The failure that a refusal is to a client: UDP learns it from the ICMP message after its first datagram.
fn refused(target: Target) -> Failure {
    Failure::Refused(if target.transport == Transport::Tcp { Phase::Connect } else { Phase::Exchange })
}

/// The places whose refusals are ours: what the node sends itself past the socket entrance is not seen, yet.
fn places(target: Target, socket_lb: SocketLb) -> &'static [&'static str] {
    let node = target.transport == Transport::Tcp && socket_lb == SocketLb::All;
    if node { &["client", "node-a"] } else { &["client"] }
}

/// E11
#[test]
fn a_service_without_endpoints_refuses_until_it_has_one() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let (empty, filled) = (web(&[]), web(&["far-1"]));
        let mut world = World::new(socket_lb);
        world.put(&empty);
        world.start_agent();
        for target in targets(&empty) {
            eventually(&format!("{target} refuses"), || outcome(&world, "client", target) == Err(refused(target)));
            for &place in places(target, socket_lb) {
                assert_eq!(
                    outcome(&world, place, target),
                    Err(refused(target)),
                    "{place} dials {target}, {socket_lb:?}"
                );
            }
        }
        world.put(&filled);
        world.until_served(&filled);
        world.put(&empty);
        for target in targets(&empty) {
            eventually(&format!("{target} refuses again"), || {
                outcome(&world, "client", target) == Err(refused(target))
            });
        }
    }
}

/// A2, A13
#[test]
fn a_vip_refuses_ports_and_protocols_it_does_not_have() {
    if !kernel_or_skip(NEEDS) {
        return;
    }
    for socket_lb in [SocketLb::All, SocketLb::Off] {
        let service = web(&BACKENDS);
        let world = World::serving(socket_lb, &service);
        for &vip in &service.vips {
            for target in [
                Target::tcp((vip, 81).into()),
                Target::udp((vip, 54).into()),
                Target::udp((vip, 80).into()),
                Target::tcp((vip, 53).into()),
            ] {
                for &place in places(target, socket_lb) {
                    assert_eq!(
                        outcome(&world, place, target),
                        Err(refused(target)),
                        "{place} dials {target}, {socket_lb:?}"
                    );
                }
            }
        }
    }
}
