//! What a dataplane does from what it holds, after any history, is what the reference makes of the objects: the `Fake` after
//! plans against `decide()`, in every verdict, set, masquerade and affinity.
mod rounds;
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rounds::{Round, rounds};
use sheave_core::decide::{Decision, Masquerade, Packet, Rule, Transport, Verdict};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Desired, Event, Index, Plan, ProxyConfig, Realized, Touched, decide};
use sheave_dataplane::{Dataplane, Fake, Outcome};
use std::collections::BTreeSet;
use world::{NODE, config};

/// The pure part of an agent, with a dataplane in memory.
struct Agent {
    config: ProxyConfig,
    index: Index,
    desired: Desired,
    fake: Fake,
}

impl Agent {
    fn new(config: ProxyConfig) -> Self {
        let desired = Desired::new(config.clone());
        Self { config, index: Index::new(NODE), desired, fake: Fake::default() }
    }

    fn see(&mut self, events: &[Event]) -> Touched {
        events.iter().for_each(|event| self.index.apply(event.clone()));
        let changed = self.index.take_changed();
        self.desired.update(&self.index, &changed)
    }

    fn sync(&mut self, touched: &Touched) -> Result<(), TestCaseError> {
        let applied = self.fake.apply(&plan(&self.desired, &self.fake, touched));
        prop_assert!(applied.pending.is_empty(), "{:?}", applied);
        prop_assert!(plan_all(&self.desired, &self.fake).is_empty(), "I2: what is touched is all that changed");
        Ok(())
    }

    /// Like [`sync`](Self::sync), and looks at the packets after each step.
    fn sync_watched(&mut self, touched: &Touched, packets: &[Packet]) -> Result<(), TestCaseError> {
        let verdicts = |fake: &Fake| packets.iter().map(|packet| fake.decide(packet).verdict).collect::<Vec<_>>();
        let before = verdicts(&self.fake);
        let whole = plan(&self.desired, &self.fake, touched);
        let mut between = Vec::new();
        for change in whole.make.iter().chain(&whole.break_) {
            let applied = self.fake.apply(&Plan { make: vec![change.clone()], break_: Vec::new() });
            prop_assert!(applied.pending.is_empty(), "{:?}", applied);
            between.push((change, verdicts(&self.fake)));
        }
        let after = verdicts(&self.fake);
        for (step, during) in &between {
            for (((packet, before), during), after) in packets.iter().zip(&before).zip(during).zip(&after) {
                let forwarded = [before, after].iter().all(|verdict| **verdict == Verdict::Forward);
                let told = || format!("{packet:?}: {during:?} after {step:?}");
                prop_assert!(!forwarded || *during == Verdict::Forward, "{}", told());
            }
        }
        Ok(())
    }

    /// The packet, sent to a frontend of its source's family.
    fn aim(&self, packet: &Packet, at: prop::sample::Index) -> Option<Packet> {
        let frontends: Vec<_> = self.fake.frontends();
        let of_family = |addr: std::net::IpAddr| addr.is_ipv4() == packet.source.is_ipv4();
        let frontends: Vec<_> = frontends.into_iter().filter(|frontend| of_family(frontend.addr)).collect();
        let frontend = frontends.get(at.index(frontends.len().max(1)))?;
        let node_port = self.desired.rules().node_port_addrs.iter().find(|addr| of_family(**addr));
        let destination = if frontend.is_node_port() { *node_port? } else { frontend.addr };
        let transport = Transport::Port(frontend.protocol, frontend.port.get());
        Some(Packet { destination, transport, ..packet.clone() })
    }

    fn check(&self, packet: &Packet) -> Result<Reached, TestCaseError> {
        let decision = decide(packet, &self.index, &self.config);
        let Decision { verdict, endpoints, masquerade, affinity, rule, why, .. } = decision;
        let want = Outcome { verdict, endpoints, masquerade, affinity };
        prop_assert_eq!(self.fake.decide(packet), want, "{:?}: {} {:?}", packet, rule, why);
        Ok((rule, verdict, masquerade))
    }

    /// Lets rounds happen and checks every packet.
    fn live(&mut self, rounds: &[Round]) -> Result<BTreeSet<Reached>, TestCaseError> {
        let mut reached = BTreeSet::new();
        for round in rounds {
            let touched = self.see(&round.events);
            self.sync(&touched)?;
            let aimed: Vec<_> = round.aimed.iter().filter_map(|(packet, at)| self.aim(packet, *at)).collect();
            for packet in round.packets.iter().chain(&aimed) {
                reached.insert(self.check(packet)?);
            }
        }
        Ok(reached)
    }
}

/// What a packet met.
type Reached = (Rule, Verdict, Masquerade);

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_held_decides_as_the_reference_does(config in config(), rounds in rounds()) {
        Agent::new(config).live(&rounds)?;
    }

    /// I1, seen from a client: a flow that is forwarded before and after a plan is forwarded after each of its steps.
    #[test]
    fn no_step_refuses_what_was_forwarded_and_will_be(config in config(), rounds in rounds()) {
        let mut agent = Agent::new(config);
        for round in &rounds {
            let touched = agent.see(&round.events);
            let aimed = round.aimed.iter().filter_map(|(packet, at)| agent.aim(packet, *at));
            let packets: Vec<_> = round.packets.iter().cloned().chain(aimed).collect();
            agent.sync_watched(&touched, &packets)?;
        }
    }
}

/// Else the test above would say nothing of what it never meets.
#[test]
fn the_worlds_are_rich_enough_to_meet_every_rule() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..400 {
        let config = config().new_tree(&mut runner).unwrap().current();
        let rounds = rounds().new_tree(&mut runner).unwrap().current();
        reached.extend(Agent::new(config).live(&rounds).unwrap());
    }
    let rules: BTreeSet<Rule> = reached.iter().map(|(rule, _, _)| *rule).collect();
    use Rule::*;
    let all = [A2, A3, A5, A6, A10, A11, A12, A15, E1, E4, E5, E6, E7, E11, R8];
    assert_eq!(all.into_iter().filter(|rule| !rules.contains(rule)).collect::<Vec<_>>(), []);
    let (forward, all) = (Verdict::Forward, [Masquerade::Never, Masquerade::Always, Masquerade::Hairpin]);
    for (rule, masquerades) in [(E1, &all[..]), (E4, &all), (E5, &[all[0], all[2]]), (E6, &all), (E7, &all[..2])] {
        let met = |masquerade: &Masquerade| reached.contains(&(rule, forward, *masquerade));
        assert!(masquerades.iter().all(met), "{rule} is never met with one of {masquerades:?}");
    }
    for (rule, verdict) in [(E4, Verdict::Drop), (E5, Verdict::Drop)] {
        assert!(reached.contains(&(rule, verdict, Masquerade::Never)), "{rule} never drops");
    }
}
