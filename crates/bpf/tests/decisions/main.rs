//! What the maps say of a packet, after any history, is what the reference makes of the objects: looked up as the kernel
//! programs do, against `decide()`, in every verdict, set, masquerade and affinity (A2, A3, A5, A6, E4, E5, E6, E10, E11, R1 to
//! R4, R8). The kernel itself is not asked.
mod lookup;
#[path = "../../../dataplane/tests/decisions/rounds.rs"]
mod rounds;
#[path = "../../../dataplane/tests/decisions/world.rs"]
mod world;

use lookup::outcome;
use proptest::prelude::*;
use rounds::rounds;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::MemoryMaps;
use sheave_core::decide::{Decision, Packet, Transport};
use sheave_core::plan::plan;
use sheave_core::{Desired, Event, Index, ProxyConfig, Realized, decide};
use sheave_dataplane::{Dataplane, Outcome};
use world::{NODE, config};

struct Agent {
    config: ProxyConfig,
    index: Index,
    desired: Desired,
    dataplane: BpfDataplane<MemoryMaps>,
}

impl Agent {
    fn new(config: ProxyConfig) -> Self {
        let limits = Limits::default();
        let dataplane = BpfDataplane::new(Image::default(), limits, MemoryMaps::new());
        Self { desired: Desired::new(config.clone()), config, index: Index::new(NODE), dataplane }
    }

    fn see(&mut self, events: &[Event]) -> Result<(), TestCaseError> {
        events.iter().for_each(|event| self.index.apply(event.clone()));
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        let applied = self.dataplane.apply(&plan(&self.desired, &self.dataplane, &touched));
        prop_assert!(applied.pending.is_empty(), "{:?}", applied);
        Ok(())
    }

    /// The packet, sent to a frontend of its source's family.
    fn aim(&self, packet: &Packet, at: prop::sample::Index) -> Option<Packet> {
        let of_family = |addr: std::net::IpAddr| addr.is_ipv4() == packet.source.is_ipv4();
        let frontends: Vec<_> = self.dataplane.frontends().into_iter().filter(|f| of_family(f.addr)).collect();
        let frontend = frontends.get(at.index(frontends.len().max(1)))?;
        let node_port = self.desired.rules().node_port_addrs.iter().find(|addr| of_family(**addr));
        let destination = if frontend.is_node_port() { *node_port? } else { frontend.addr };
        let transport = Transport::Port(frontend.protocol, frontend.port.get());
        Some(Packet { destination, transport, ..packet.clone() })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_maps_hold_decides_as_the_reference_does(config in config(), rounds in rounds()) {
        let mut agent = Agent::new(config);
        for round in &rounds {
            agent.see(&round.events)?;
            let aimed: Vec<_> = round.aimed.iter().filter_map(|(packet, at)| agent.aim(packet, *at)).collect();
            let contents = agent.dataplane.maps().contents();
            for packet in round.packets.iter().chain(&aimed) {
                let decision = decide(packet, &agent.index, &agent.config);
                let Decision { verdict, endpoints, masquerade, affinity, rule, why, .. } = decision;
                let want = Outcome { verdict, endpoints, masquerade, affinity };
                prop_assert_eq!(outcome(&contents, packet), want, "{:?}: {} {:?}", packet, rule, why);
            }
        }
    }
}
