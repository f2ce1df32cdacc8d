//! The difference between what is wanted and what is held, as steps in an order that never breaks a flow.
//!
//! Everything that makes comes before everything that breaks: a frontend leads to a complete set before it is published,
//! moves to another Service in one write, and what it led to before goes away last (I1). Nothing differs, nothing is
//! planned (I2). A retry is not a code path: after a failure the caller plans again (I3).
use crate::desired::{Desired, Touched};
use crate::flat::beyond;
use crate::name::ServiceKey;
use crate::net::{Backend, Frontend};
use crate::rules::NodeRules;
use crate::serving::Serving;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a dataplane holds, whatever its kind.
pub trait Realized {
    /// As much of what is wanted as can be held here; all of it, unless the kind of dataplane says otherwise. What it leaves
    /// out is never planned: it has to be named to the user.
    fn carried(&self, wanted: &Arc<Serving>) -> Arc<Serving> {
        Arc::clone(wanted)
    }
    /// What holds for the node as a whole; `None` where no such thing can be held here.
    fn rules(&self) -> Option<Arc<NodeRules>>;
    /// What is held for this key; `None` when nothing is.
    fn serving(&self, key: &ServiceKey) -> Option<Serving>;
    /// False while what is held needs another write although it equals [`Self::serving`]: a failure may leave one backend
    /// twice in a set (E9 would be uneven), or an entry of which it is not known whether it was written.
    fn settled(&self, key: &ServiceKey) -> bool;
    /// Where a frontend leads; `None` when it is not held, or leads to nothing that has a name.
    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey>;
    /// Whether every port of the address is claimed (A2).
    fn owns(&self, addr: IpAddr) -> bool;
    /// Every key held, in order.
    fn keys(&self) -> Vec<ServiceKey>;
    /// Every frontend held, in order, also those that lead to nothing.
    fn frontends(&self) -> Vec<Frontend>;
    /// Every address claimed (A2), in order.
    fn vips(&self) -> Vec<IpAddr>;
}

/// One step of a [`Plan`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The node's rules are these, all of them at once. Makes what they add, or breaks what they take away.
    Rules {
        /// What is to hold.
        rules: Arc<NodeRules>,
    },
    /// Makes: new flows to the key pick from exactly its sets, flows that name one of `keep` go on, and the frontends lead to
    /// it, in this order. What the key holds beyond that stays until it is released or retired: a frontend that is about to go
    /// leads to the new sets for a moment. Where the key had no backend
    /// and has some now, conntrack entries without translation are stale (L5).
    Serve {
        /// The key, held or new.
        key: ServiceKey,
        /// All it is to serve.
        serving: Arc<Serving>,
    },
    /// Makes: every port of an address is ours (A2).
    ClaimVip {
        /// The address.
        addr: IpAddr,
    },
    /// Breaks: a frontend leads nowhere.
    Release {
        /// The frontend.
        frontend: Frontend,
        /// Where it leads; `None` for one that leads to nothing that has a name.
        key: Option<ServiceKey>,
    },
    /// Breaks: an address is no longer ours.
    ReleaseVip {
        /// The address.
        addr: IpAddr,
    },
    /// Breaks: UDP flows that name these backends are decided anew (L2, L3, L7), TCP flows go on (L1).
    Retire {
        /// The key they belong to.
        key: ServiceKey,
        /// The backends, none of them picked any more.
        backends: BTreeSet<Backend>,
    },
    /// Breaks: a key that no frontend leads to is gone with all its backends (L4).
    Forget {
        /// The key.
        key: ServiceKey,
    },
}

impl Change {
    /// What has to be planned again when this step is not carried out.
    #[must_use]
    pub fn touched(&self) -> Touched {
        let mut touched = Touched::default();
        match self {
            Self::Serve { key, serving } => {
                touched.keys.insert(key.clone());
                touched.frontends.extend(serving.frontends.keys());
            }
            Self::Retire { key, .. } | Self::Forget { key } => {
                touched.keys.insert(key.clone());
            }
            Self::Release { frontend, key } => {
                touched.keys.extend(key.clone());
                touched.frontends.insert(*frontend);
            }
            Self::Rules { .. } => touched.rules = true,
            Self::ClaimVip { addr } | Self::ReleaseVip { addr } => {
                touched.vips.insert(*addr);
            }
        }
        touched
    }
}

/// Steps that lead from what is held to what is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Steps that add or change; independent of each other.
    pub make: Vec<Change>,
    /// Steps that remove; only after every step of `make` was carried out or refused.
    pub break_: Vec<Change>,
}

impl Plan {
    /// Whether there is nothing to do (I2).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.make.is_empty() && self.break_.is_empty()
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.make.len() + self.break_.len()
    }
}

/// Plans what `touched` names; its cost does not grow with what is neither touched nor held by a touched key.
#[must_use]
pub fn plan(desired: &Desired, realized: &dyn Realized, touched: &Touched) -> Plan {
    let mut draft = Draft { desired, realized, serve: BTreeMap::new(), releases: BTreeMap::new(), rest: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut keys: Vec<ServiceKey> = touched.frontends.iter().filter_map(|frontend| realized.holder(frontend)).collect();
    keys.extend(touched.keys.iter().rev().cloned());
    while let Some(key) = keys.pop() {
        if seen.insert(key.clone()) {
            keys.extend(draft.key(&key));
        }
    }
    let mut plan = draft.finish(touched.vips.iter().copied());
    if touched.rules
        && let Some(held) = realized.rules()
    {
        plan_rules(&mut plan, &held, desired.rules());
    }
    plan
}

/// What the rules give comes first and what they take last: an address that becomes a ClusterIP's is not dropped before it is
/// served, and what is sent to the node's own is not decided otherwise before that is (I1).
fn plan_rules(plan: &mut Plan, held: &NodeRules, wanted: &Arc<NodeRules>) {
    let relaxed = held.relaxed(wanted);
    if relaxed != **wanted {
        plan.break_.insert(0, Change::Rules { rules: Arc::clone(wanted) });
    }
    if relaxed != *held {
        plan.make.insert(0, Change::Rules { rules: Arc::new(relaxed) });
    }
}

/// Plans everything: at start and on an audit, when also what is held but not wanted has to be found.
#[must_use]
pub fn plan_all(desired: &Desired, realized: &dyn Realized) -> Plan {
    let mut touched = desired.all();
    touched.keys.extend(realized.keys());
    touched.vips.extend(realized.vips());
    let mut plan = plan(desired, realized, &touched);
    let strays = realized
        .frontends()
        .into_iter()
        .filter(|f| realized.holder(f).is_none() && carrier(desired, realized, f).is_none());
    plan.break_.splice(0..0, strays.map(|frontend| Change::Release { frontend, key: None }));
    plan
}

struct Draft<'a> {
    desired: &'a Desired,
    realized: &'a dyn Realized,
    serve: BTreeMap<ServiceKey, Arc<Serving>>,
    releases: BTreeMap<Frontend, ServiceKey>,
    /// Retire and Forget, by key.
    rest: Vec<Change>,
}

impl Draft<'_> {
    /// Plans one key; returns the keys that take over a frontend it holds.
    fn key(&mut self, key: &ServiceKey) -> Vec<ServiceKey> {
        let wanted = self.desired.serving(key).map(|wanted| self.realized.carried(wanted));
        let held = self.realized.serving(key);
        if let Some(wanted) = &wanted
            && held.as_ref().is_none_or(|held| !covers(held, wanted) || !self.realized.settled(key))
        {
            self.serve.insert(key.clone(), Arc::clone(wanted));
        }
        let Some(held) = held else { return Vec::new() };
        match &wanted {
            None => self.rest.push(Change::Forget { key: key.clone() }),
            Some(wanted) => self.retire(key, &held, wanted),
        }
        let wants = |frontend: &Frontend| wanted.as_ref().is_some_and(|wanted| wanted.frontends.contains(frontend));
        let lost = held.frontends.keys().filter(|frontend| !wants(frontend));
        let mut heirs = Vec::new();
        for frontend in lost {
            match carrier(self.desired, self.realized, frontend) {
                Some(heir) => heirs.push(heir.clone()),
                None => drop(self.releases.insert(*frontend, key.clone())),
            }
        }
        heirs
    }

    fn retire(&mut self, key: &ServiceKey, held: &Serving, wanted: &Serving) {
        let backends: BTreeSet<_> = held.members_beyond(wanted.sets()).copied().collect();
        if !backends.is_empty() {
            self.rest.push(Change::Retire { key: key.clone(), backends });
        }
    }

    fn finish(mut self, vips: impl Iterator<Item = IpAddr> + Clone) -> Plan {
        let differ = vips.filter(|addr| self.desired.owns(*addr) != self.realized.owns(*addr));
        let (claim, release): (Vec<_>, Vec<_>) = differ.partition(|addr| self.desired.owns(*addr));
        let mut plan = Plan::default();
        plan.make.extend(self.serve.into_iter().map(|(key, serving)| Change::Serve { key, serving }));
        // A frontend is served before the rest of its address is rejected, and goes before the address is given back.
        plan.make.extend(claim.into_iter().map(|addr| Change::ClaimVip { addr }));
        let releases = self.releases.into_iter();
        plan.break_.extend(releases.map(|(frontend, key)| Change::Release { frontend, key: Some(key) }));
        plan.break_.extend(release.into_iter().map(|addr| Change::ReleaseVip { addr }));
        self.rest.sort_by(|a, b| order(a).cmp(&order(b)));
        plan.break_.append(&mut self.rest);
        plan
    }
}

/// The key that is to hold a frontend here; none where a dataplane cannot carry it.
fn carrier<'a>(desired: &'a Desired, realized: &dyn Realized, frontend: &Frontend) -> Option<&'a ServiceKey> {
    let key = desired.holder(frontend)?;
    realized.carried(desired.serving(key)?).frontends.contains(frontend).then_some(key)
}

/// Retire before Forget, each by key.
fn order(change: &Change) -> (bool, Option<&ServiceKey>) {
    match change {
        Change::Retire { key, .. } => (false, Some(key)),
        Change::Forget { key } => (true, Some(key)),
        _ => (true, None),
    }
}

/// Whether nothing has to be made: what is held beyond `wanted` is only to be released or retired.
fn covers(held: &Serving, wanted: &Serving) -> bool {
    let Serving { frontends, internal, external, cluster, local, keep, affinity, sources } = wanted;
    (&held.cluster, &held.local, held.internal, held.external) == (cluster, local, *internal, *external)
        && (&held.affinity, &held.sources) == (affinity, sources)
        && frontends.iter().all(|(frontend, kind)| held.frontends.get(frontend) == Some(kind))
        && beyond(keep.keys(), [&held.keep]).next().is_none()
}
