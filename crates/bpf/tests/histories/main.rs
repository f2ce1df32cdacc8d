//! Random histories through the whole pure path: events → index → desired → plan → lower → maps, with failures at random
//! operations and restarts at random moments. I1, I2, I3, I5, I7 and I8 hold in each of them.
mod oracle;
mod watched;
mod world;

use oracle::{Expected, expected};
use proptest::collection::vec;
use proptest::prelude::*;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::contents::Contents;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::memory::{Fault, Found, MemoryMaps};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{
    Backend, Desired, Diagnostic, Frontend, FrontendKind, Index, Problem, ProxyConfig, Realized, ServiceKey, Serving,
    Touched, TrafficPolicy,
};
use sheave_dataplane::{Applied, Dataplane};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use watched::{Allowed, Watched};
use world::{NODE, Step, World, step};

/// Steps that are seen at once, and what befalls their being carried out.
#[derive(Clone, Debug)]
struct Round {
    steps: Vec<Step>,
    /// Operations of the round that fail, with the number of entries that are written all the same.
    faults: Vec<(u64, usize)>,
    /// The agent is killed after the round and started again.
    restart: bool,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let faults = prop_oneof![1 => Just(Vec::new()), 1 => vec((0..8u64, 0..4usize), 1..3)];
    let round = (vec(step(), 1..4), faults, prop::bool::weighted(0.1));
    vec(round.prop_map(|(steps, faults, restart)| Round { steps, faults, restart }), 1..25)
}

fn set(maps: &MemoryMaps, frontend: &Frontend, policy: TrafficPolicy) -> Option<BTreeSet<Backend>> {
    let Found::Set { backends, .. } = maps.resolve(frontend, policy) else { return None };
    Some(backends.into_iter().collect())
}

/// What a frontend resolves to now.
fn now(maps: &MemoryMaps, frontend: &Frontend) -> Allowed {
    let Some(policy) = maps.policy(frontend) else { return Allowed { nowhere: true, ..Allowed::default() } };
    Allowed {
        cluster: Vec::from_iter(set(maps, frontend, TrafficPolicy::Cluster)),
        outside: Vec::from_iter(set(maps, frontend, policy)),
        sources: vec![(maps.sources(frontend), maps.sources(frontend))],
        nowhere: false,
    }
}

/// The sets are independent of each other and of the policies: a reader may find the new set under the old policy, as far as
/// it is in force, or the other way round.
fn allow_wanted(allowed: &mut Allowed, frontend: &Frontend, maps: &MemoryMaps, held: &Serving, wanted: &Serving) {
    let sets = |serving: &Serving, policy| -> BTreeSet<Backend> { serving.set(policy).keys().copied().collect() };
    let kinds = [held, wanted].map(|serving| serving.frontends.get(frontend).copied());
    let policies: BTreeSet<_> = [held, wanted]
        .into_iter()
        .flat_map(|serving| kinds.into_iter().flatten().map(|kind| serving.policy(kind)))
        .chain(maps.policy(frontend))
        .collect();
    allowed.cluster.push(sets(wanted, TrafficPolicy::Cluster));
    for policy in policies {
        let in_force = |serving: &&Serving| {
            policy == TrafficPolicy::Cluster || [serving.internal, serving.external].contains(&TrafficPolicy::Local)
        };
        allowed.outside.extend([held, wanted].into_iter().filter(in_force).map(|serving| sets(serving, policy)));
    }
    let of = |serving: &Serving| serving.sources.as_ref().map(|sources| sources.ranges.iter().copied().collect());
    let restricted =
        |serving: &Serving, kind| if kind == Some(FrontendKind::LoadBalancer) { of(serving) } else { None };
    for kind in kinds.into_iter().flatten() {
        let (old, new) = (restricted(held, Some(kind)), restricted(wanted, Some(kind)));
        allowed.sources.push((old, new));
    }
}

/// The agent's loop, without the agent.
struct Agent {
    index: Index,
    desired: Desired,
    pending: Touched,
    dataplane: BpfDataplane<Watched>,
    /// Flows that the programs have counted for each backend since it serves.
    counted: BTreeMap<(ServiceKey, Backend), u64>,
}

impl Agent {
    fn new(limits: Limits) -> Self {
        // So little that hashes grow now and then.
        let maps = MemoryMaps::with_room(2);
        let (image, _) = Image::from_contents(maps.contents());
        Self {
            index: Index::new(NODE),
            desired: Desired::default(),
            pending: Touched::default(),
            dataplane: BpfDataplane::new(image, limits, Watched::new(maps)),
            counted: BTreeMap::new(),
        }
    }

    /// A new process on the maps the old one left (I5).
    fn restart(&mut self, world: &World, limits: Limits) -> Result<(), TestCaseError> {
        let mut old = std::mem::replace(self, Self::new(limits));
        let (image, strays) = Image::from_contents(old.dataplane.maps().maps.contents());
        prop_assert_eq!(strays, vec![]);
        for key in old.dataplane.keys() {
            prop_assert_eq!(image.id(&key), old.dataplane.image().id(&key), "I5: {} keeps its id", key);
        }
        let mut maps = std::mem::replace(old.dataplane.maps_mut(), Watched::new(MemoryMaps::new()));
        maps.maps.flows().adopt(&image);
        self.dataplane = BpfDataplane::new(image, limits, maps);
        // What was not known to be written, and was not, is gone.
        let ids = self.backend_ids();
        self.counted = old.counted.into_iter().filter(|(member, _)| ids.contains_key(member)).collect();
        world.lists().into_iter().for_each(|event| self.index.apply(event));
        let changed = self.index.take_changed();
        self.desired.update(&self.index, &changed);
        Ok(())
    }

    fn see(&mut self, world: &mut World, steps: &[Step]) {
        for step in steps {
            world.happen(step).into_iter().for_each(|event| self.index.apply(event));
        }
        let changed = self.index.take_changed();
        let touched = self.desired.update(&self.index, &changed);
        self.pending.merge(touched);
    }

    /// Plans what is pending and carries it out, under watch.
    fn sync(&mut self) -> Result<Applied, TestCaseError> {
        let plan = plan(&self.desired, &self.dataplane, &self.pending);
        self.carry_out(&plan)
    }

    fn carry_out(&mut self, plan: &sheave_core::Plan) -> Result<Applied, TestCaseError> {
        self.allow();
        let ids = self.backend_ids();
        let applied = self.dataplane.apply(plan);
        prop_assert_eq!(&self.dataplane.maps().violations, &Vec::<String>::new(), "I1");
        for (member, id) in self.backend_ids() {
            if let Some(old) = ids.get(&member) {
                prop_assert_eq!(id, *old, "I5: {:?} keeps its id while it serves", member);
            }
        }
        self.pending = applied.pending.clone();
        self.count_flows()?;
        Ok(applied)
    }

    /// Each backend has the flows that were counted since it serves and none of whoever had its id before (I5), and a Service at least
    /// as many as its backends. Then each gets one more.
    fn count_flows(&mut self) -> Result<(), TestCaseError> {
        let ids = self.backend_ids();
        self.counted.retain(|member, _| ids.contains_key(member));
        for ((key, backend), id) in ids {
            let service = self.dataplane.image().id(&key).expect("it has members");
            let (of_service, of_backend) = self.dataplane.maps_mut().maps.flows().of(key.family, service, id);
            let counted = self.counted.entry((key.clone(), backend)).or_default();
            prop_assert_eq!(of_backend, *counted, "I5: flows of {} of {}", backend, key);
            prop_assert!(of_service >= of_backend, "flows of {}: {}, of {}: {}", key, of_service, backend, of_backend);
            self.dataplane.maps_mut().maps.flows().count(key.family, service, id);
            *counted += 1;
        }
        Ok(())
    }

    fn backend_ids(&self) -> BTreeMap<(ServiceKey, Backend), sheave_abi::BackendId> {
        let image = self.dataplane.image();
        let keys = self.dataplane.keys().into_iter();
        let members = keys.flat_map(|key| {
            let members = image.id(&key).map(|id| image.members(id)).unwrap_or_default();
            members.into_iter().map(move |(backend, id)| ((key.clone(), backend), id))
        });
        members.collect()
    }

    /// A frontend may resolve to what it resolves to now, to what is wanted of it, and, until it is moved or removed, to
    /// what is wanted of the Service it leads to.
    fn allow(&mut self) {
        let (desired, dataplane) = (&self.desired, &self.dataplane);
        let frontends: BTreeSet<Frontend> = desired.frontends().into_iter().chain(dataplane.frontends()).collect();
        let allowed = frontends.into_iter().map(|frontend| {
            let mut allowed = now(&dataplane.maps().maps, &frontend);
            let heir = desired.holder(&frontend);
            allowed.nowhere |= heir.is_none();
            for key in heir.cloned().into_iter().chain(dataplane.holder(&frontend)) {
                if let Some(wanted) = desired.serving(&key) {
                    let held = dataplane.serving(&key).unwrap_or_default();
                    allow_wanted(&mut allowed, &frontend, &dataplane.maps().maps, &held, wanted);
                }
            }
            (frontend, allowed)
        });
        let allowed = allowed.collect();
        self.dataplane.maps_mut().allowed = allowed;
    }

    fn fail(&mut self, faults: &[(u64, usize)]) {
        let maps = &mut self.dataplane.maps_mut().maps;
        let now = maps.ops();
        maps.fail(faults.iter().map(|(op, entries)| Fault { op: now + op, errno: 12, entries: *entries }).collect());
    }

    /// The maps serve exactly what is expected, evenly (E9), and nothing is left to do (I2).
    fn converged(&mut self, want: &Expected) -> Result<(), TestCaseError> {
        prop_assert!(self.pending.is_empty(), "pending: {:?}", self.pending);
        let maps = &self.dataplane.maps().maps;
        prop_assert_eq!(maps.frontends().copied().collect::<BTreeSet<_>>(), want.holders.keys().copied().collect());
        for (frontend, key) in &want.holders {
            for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
                let Found::Set { service, mut backends } = maps.resolve(frontend, policy) else {
                    return Err(TestCaseError::fail(format!(
                        "{frontend} resolves to {:?}",
                        maps.resolve(frontend, policy)
                    )));
                };
                prop_assert_eq!(maps.name(service), Some(key));
                backends.sort_unstable();
                let wanted: Vec<_> = want.serving[key].set(policy).keys().copied().collect();
                prop_assert_eq!(backends, wanted, "{} {}", frontend, policy);
            }
        }
        prop_assert_eq!(self.dataplane.rules().map(Arc::unwrap_or_clone), Some(want.rules.clone()));
        for (key, serving) in &want.serving {
            prop_assert_eq!(self.dataplane.serving(key), Some(serving.clone()), "{}", key);
        }
        prop_assert_eq!(self.dataplane.keys(), want.serving.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(self.dataplane.vips().into_iter().collect::<BTreeSet<_>>(), want.vips.clone());
        prop_assert!(plan_all(&self.desired, &self.dataplane).is_empty(), "I2");
        let contents = maps.contents();
        nothing_is_left_over(&contents, want)?;
        let (found, strays) = Image::from_contents(contents);
        prop_assert_eq!(strays, vec![]);
        prop_assert_eq!(self.dataplane.image().slots_used(), found.slots_used(), "every other block is free");
        prop_assert!(plan_all(&self.desired, &found).is_empty(), "I2, after a restart");
        Ok(())
    }
}

/// What no frontend shows: sources that do not count, and entries that say they are in a set (E10).
fn nothing_is_left_over(contents: &Contents, want: &Expected) -> Result<(), TestCaseError> {
    let wanted = |id| want.serving.get(contents.names.get(&id)?);
    let ranges = contents.ranges.iter().filter_map(|(id, ranges)| Some(((*id)?, ranges)));
    for (id, ranges) in ranges {
        let sources = wanted(id).and_then(|serving| serving.sources.clone());
        let sources = sources.map(|sources| sources.ranges.iter().copied().collect());
        prop_assert_eq!(Some(ranges), sources.as_ref(), "R8: sources of {:?}", id);
    }
    for entry in contents.backends_v4.values().chain(contents.backends_v6.values()) {
        let in_sets =
            wanted(entry.service).map(|s| (s.cluster.contains(&entry.backend), s.local.contains(&entry.backend)));
        prop_assert_eq!(Some((entry.in_cluster, entry.in_local)), in_sets, "E10: {:?}", entry);
    }
    Ok(())
}

/// Desired is what it would be had it been built from scratch, and what the oracle says.
fn check_desired(agent: &Agent, world: &World) -> Result<Expected, TestCaseError> {
    let mut index = Index::new(NODE);
    world.lists().into_iter().for_each(|event| index.apply(event));
    let rebuilt = Desired::rebuild(ProxyConfig::default(), &index);
    prop_assert_eq!(&agent.desired, &rebuilt, "incremental = from scratch");
    let want = expected(world);
    let keys: Vec<_> = want.serving.keys().cloned().collect();
    prop_assert_eq!(agent.desired.keys(), keys);
    prop_assert_eq!(&**agent.desired.rules(), &want.rules);
    for (key, serving) in &want.serving {
        prop_assert_eq!(agent.desired.serving(key).map(|wanted| &**wanted), Some(serving), "{}", key);
    }
    let conflicts = agent.desired.diagnostics().into_iter().filter(|d| d.problem == Problem::Conflict);
    let named: Vec<_> = conflicts.map(|d| d.object.name.to_string()).collect();
    prop_assert_eq!(named, want.losers.iter().cloned().collect::<Vec<_>>(), "I8: each loser has one diagnostic");
    Ok(want)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_converges_and_no_prefix_of_it_shows_a_mixture(rounds in rounds()) {
        let limits = Limits::default();
        let (mut agent, mut world) = (Agent::new(limits), World::default());
        for round in rounds {
            agent.see(&mut world, &round.steps);
            let want = check_desired(&agent, &world)?;
            agent.fail(&round.faults);
            let applied = agent.sync()?;
            prop_assert!(!applied.failed.is_empty() || agent.pending.is_empty(), "only a failure leaves something pending");
            let ungrown = |refused: &Diagnostic| refused.message.contains("the kernel makes no larger one");
            prop_assert!(applied.refused.iter().all(ungrown), "no limit is near: {:?}", applied.refused);
            agent.fail(&[]);
            if round.restart {
                agent.restart(&world, limits)?;
                let plan = plan_all(&agent.desired, &agent.dataplane);
                agent.carry_out(&plan)?;
                agent.converged(&want)?;
            }
            // What failed is only planned again (I3), now or in the next round.
            if round.faults.len() < 2 {
                agent.sync()?;
                agent.converged(&want)?;
            }
        }
        agent.sync()?;
        agent.converged(&expected(&world))?;
    }

    #[test]
    fn a_restart_after_any_operation_finds_maps_it_can_go_on_from(rounds in rounds()) {
        let limits = Limits::default();
        let (mut agent, mut world) = (Agent::new(limits), World::default());
        for round in rounds {
            agent.see(&mut world, &round.steps);
            // Everything fails from some operation on: the agent is dead.
            let (first, entries) = round.faults.first().copied().unwrap_or((u64::MAX, 0));
            agent.fail(&(0..200).map(|n| (first.saturating_add(n).min(u64::MAX / 2), entries)).collect::<Vec<_>>());
            agent.sync()?;
            agent.fail(&[]);
            agent.restart(&world, limits)?;
            let plan = plan_all(&agent.desired, &agent.dataplane);
            agent.carry_out(&plan)?;
            agent.converged(&expected(&world))?;
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_the_rest_is_served_whole(rounds in rounds(), room in 3..12u32) {
        let limits = Limits { frontends_max: room, services_max: room, slots_max: room * 4, backends_max: room * 2 };
        let (mut agent, mut world) = (Agent::new(limits), World::default());
        for round in rounds {
            agent.see(&mut world, &round.steps);
            let applied = agent.sync()?;
            prop_assert_eq!(applied.failed.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
            prop_assert_eq!(applied.refused.is_empty(), agent.pending.is_empty(), "{:?}", agent.pending);
            for diagnostic in &applied.refused {
                prop_assert_eq!(diagnostic.problem, Problem::Capacity);
                prop_assert!(diagnostic.message.contains("raise `maps."), "{}", diagnostic);
            }
            for key in agent.desired.keys().iter().filter(|key| !agent.pending.keys.contains(key)) {
                let mut held = agent.dataplane.serving(key).unwrap_or_default();
                // A frontend stays with the loser while the winner has no room.
                let heir_waits = |f: &Frontend| agent.desired.holder(f).is_some_and(|k| agent.pending.keys.contains(k));
                let stays = |f: &Frontend| agent.desired.holder(f) == Some(key) || !heir_waits(f);
                held.frontends = held.frontends.iter().filter(|(f, _)| stays(f)).map(|(f, kind)| (*f, *kind)).collect();
                prop_assert_eq!(Some(&held), agent.desired.serving(key).map(|wanted| &**wanted), "{}", key);
            }
        }
        let (image, maps) = (agent.dataplane.image().clone(), Watched::new(MemoryMaps::new()));
        let maps = std::mem::replace(agent.dataplane.maps_mut(), maps);
        agent.dataplane = BpfDataplane::new(image, Limits::default(), maps);
        agent.sync()?;
        agent.converged(&expected(&world))?;
    }
}
