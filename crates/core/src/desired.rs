//! What this node should serve: the [`Index`] after selection (E1, E2, E7) and after conflicts are settled (X1).
//!
//! Kept up to date Service by Service: the cost of a change follows the Services it touches, not the cluster. Only a change of
//! the node itself (its zone, its addresses) looks at every Service, and works on those that it concerns (W14).
use crate::claim::{Claim, Claims, claims};
use crate::config::ProxyConfig;
use crate::diagnostic::Diagnostic;
use crate::flat::{FlatMap, FlatSet, beyond};
use crate::index::{Changed, Index};
use crate::name::{ServiceKey, ServiceName};
use crate::net::{Family, Frontend};
use crate::object::{Service, TrafficPolicy};
use crate::rules::NodeRules;
use crate::select::Candidates;
use crate::serving::{FrontendKind, Serving, Sources};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What should be served on this node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Desired {
    config: ProxyConfig,
    rules: Arc<NodeRules>,
    standpoint: Standpoint,
    services: Table<ServiceName, Wanted>,
    claims: Claims,
    /// Addresses of Services, with the number of Services that have them.
    users: Table<IpAddr, Users>,
}

/// Who has an address.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Users {
    /// As a ClusterIP: every port of it is ours (A2), unless it is the node's own (A12).
    cluster: u32,
    /// In any way.
    all: u32,
}

/// What Services depend on of the node, beside its rules.
#[derive(Clone, PartialEq, Debug, Default)]
struct Standpoint {
    zone: Option<Arc<str>>,
    primary: [Option<IpAddr>; 2],
}

/// What one Service wants, before conflicts are settled.
#[derive(Clone, PartialEq, Debug)]
struct Wanted {
    created_unix_s: i64,
    origin: Option<Arc<str>>,
    /// Its addresses in order, and whether each is a ClusterIP.
    addrs: Box<[(IpAddr, bool)]>,
    /// By key.
    ports: Box<[WantedPort]>,
}

/// One family of one port of a Service.
#[derive(Clone, PartialEq, Debug)]
struct WantedPort {
    key: ServiceKey,
    /// In order, won or lost.
    claims: Box<[(Frontend, FrontendKind)]>,
    serving: Arc<Serving>,
}

/// What a plan has to look at again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Touched {
    /// Keys whose serving may have changed.
    pub keys: BTreeSet<ServiceKey>,
    /// Frontends that may have to be led elsewhere, whoever holds them: not always a key that was wanted last.
    pub frontends: BTreeSet<Frontend>,
    /// Addresses whose ownership may have changed (A2).
    pub vips: BTreeSet<IpAddr>,
    /// Whether the rules of the node may have changed.
    pub rules: bool,
    /// Whether [`Desired::diagnostics`] may have changed; no plan depends on it.
    pub conflicts: bool,
}

impl Touched {
    /// Whether a plan has nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.frontends.is_empty() && self.vips.is_empty() && !self.rules
    }

    /// Adds what `other` names.
    pub fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.frontends.extend(other.frontends);
        self.vips.extend(other.vips);
        self.rules |= other.rules;
        self.conflicts |= other.conflicts;
    }
}

impl Desired {
    /// Nothing wanted yet, under these settings.
    #[must_use]
    pub fn new(config: ProxyConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Brings what changed up to date with the index; says what a plan has to look at.
    pub fn update(&mut self, index: &Index, changed: &Changed) -> Touched {
        let rules = Arc::clone(&self.rules);
        let mut before = Before::default();
        let concerned = if changed.node { self.update_node(index, &mut before) } else { BTreeSet::new() };
        let names: BTreeSet<_> = changed.services.iter().chain(&concerned).collect();
        // All claims go before any comes: what is noted of a frontend was under the node's rules of before.
        for old in names.iter().filter_map(|name| self.services.remove(*name)).collect::<Vec<_>>() {
            self.withdraw(&old, &mut before);
            before.ports.extend(old.ports.into_iter().map(|port| (port.key, port.serving)));
        }
        for name in &names {
            if let Some(new) = index.service(name).and_then(|service| self.wanted(index, service)) {
                self.place(name, new, &mut before);
            }
        }
        if self.update_node_local(&mut before) || changed.node {
            self.rules = Arc::new(NodeRules::of(&self.config, index, self.claims.node_local()));
        }
        self.settle(&before.holders);
        Touched { rules: self.rules != rules, conflicts: before.conflicts, ..self.touched(&names, &before) }
    }

    /// Everything anew: what [`update`](Self::update) would have made of the same objects in any order.
    #[must_use]
    pub fn rebuild(config: ProxyConfig, index: &Index) -> Self {
        let mut desired = Self::new(config);
        desired.update(index, &Changed { services: index.names(), node: true });
        desired
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ProxyConfig {
        &self.config
    }

    /// What holds for the node as a whole.
    #[must_use]
    pub fn rules(&self) -> &Arc<NodeRules> {
        &self.rules
    }

    /// What this key serves; `None` when it should not exist.
    #[must_use]
    pub fn serving(&self, key: &ServiceKey) -> Option<&Arc<Serving>> {
        let ports = &self.services.get(&key.port.service)?.ports;
        let at = ports.binary_search_by(|port| port.key.cmp(key)).ok()?;
        Some(&ports[at].serving)
    }

    /// Who should hold a frontend (X1).
    #[must_use]
    pub fn holder(&self, frontend: &Frontend) -> Option<&ServiceKey> {
        self.claims.holder(frontend)
    }

    /// Whether every port of the address is ours (A2).
    #[must_use]
    pub fn owns(&self, addr: IpAddr) -> bool {
        self.users.get(&addr).is_some_and(|users| users.cluster > 0) && !self.claims.is_node_local(addr)
    }

    /// Every key, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<ServiceKey> {
        self.services.sorted().into_iter().flat_map(|(_, s)| s.ports.iter().map(|port| port.key.clone())).collect()
    }

    /// Every frontend, in order.
    #[must_use]
    pub fn frontends(&self) -> Vec<Frontend> {
        self.claims.frontends()
    }

    /// Every address of which every port is ours (A2), in order.
    #[must_use]
    pub fn vips(&self) -> Vec<IpAddr> {
        self.users.sorted().into_iter().map(|(addr, _)| *addr).filter(|addr| self.owns(*addr)).collect()
    }

    /// Every key and address: what a plan from scratch has to look at.
    #[must_use]
    pub fn all(&self) -> Touched {
        let frontends = BTreeSet::new(); // Each stands with the key that holds it.
        let (keys, vips) = (self.keys().into_iter().collect(), self.vips().into_iter().collect());
        Touched { keys, frontends, vips, rules: true, conflicts: true }
    }

    /// What cannot be served as asked: one for each Service that lost frontends, by name (I8).
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.claims.losers().into_iter().map(|(name, lost)| lost.diagnostic(self.origin(name))).collect()
    }

    /// That of one Service. Costs nothing of others.
    #[must_use]
    pub fn diagnostic(&self, name: &ServiceName) -> Option<Diagnostic> {
        Some(self.claims.lost(name)?.diagnostic(self.origin(name)))
    }

    fn origin(&self, name: &ServiceName) -> Option<Arc<str>> {
        self.services.get(name)?.origin.clone()
    }

    /// Takes the node as it is now; says which Services that concerns. Looks at all of them only if it may concern one.
    fn update_node(&mut self, index: &Index, before: &mut Before) -> BTreeSet<ServiceName> {
        let rules = NodeRules::of(&self.config, index, self.claims.node_local());
        let zone = index.node().and_then(|node| node.zone.clone());
        let standpoint = Standpoint { zone, primary: Family::ALL.map(|family| index.primary_address(family)) };
        let moved = rules.own.symmetric_difference(&self.rules.own).copied();
        let moved: BTreeSet<IpAddr> = moved.filter(|addr| self.users.get(addr).is_some()).collect();
        before.vips.extend(moved.iter().map(|addr| (*addr, self.owns(*addr))));
        let (rezoned, readdressed) =
            (standpoint.zone != self.standpoint.zone, standpoint.primary != self.standpoint.primary);
        let concerns = |name: &ServiceName| {
            let hinted = || index.slices(name).flat_map(|slice| &slice.endpoints).any(|e| e.hints.is_some());
            let has_moved = |service: &Service| service.addresses().any(|addr| moved.contains(&addr));
            let service = |service| has_moved(service) || (readdressed && !service.source_ranges.is_empty());
            index.service(name).is_some_and(service) || (rezoned && hinted())
        };
        let looked_at = if moved.is_empty() && !rezoned && !readdressed { BTreeSet::new() } else { index.names() };
        let concerned = looked_at.into_iter().filter(concerns).collect();
        (self.rules, self.standpoint) = (Arc::new(rules), standpoint);
        concerned
    }

    /// Settles which of the touched ClusterIPs are the node's own (A12); whether any became so or is so no more.
    fn update_node_local(&mut self, before: &mut Before) -> bool {
        let touched: Vec<IpAddr> = before.vips.keys().copied().collect();
        let mut news = false;
        for addr in touched {
            let cluster_ip = self.users.get(&addr).is_some_and(|users| users.cluster > 0);
            let local = cluster_ip && self.rules.is_own(addr);
            if local != self.claims.is_node_local(addr) {
                self.claims.at(addr).into_iter().for_each(|frontend| before.note_holder(frontend, &self.claims));
                self.claims.set_node_local(addr, local);
                news = true;
            }
        }
        news
    }

    /// What a Service wants; `None` for one that gives no rules (W1–W3).
    fn wanted(&self, index: &Index, service: &Service) -> Option<Wanted> {
        if service.cluster_ips.is_empty() {
            return None;
        }
        let mut by_key: BTreeMap<ServiceKey, Vec<(Frontend, FrontendKind)>> = BTreeMap::new();
        for (key, number) in service.keys() {
            // Two ports of one name and protocol are one port: the first (the API refuses the second).
            by_key.entry(key).or_insert_with_key(|key| claims(service, number, key.family, &self.config).collect());
        }
        let port = |(key, mut claims): (ServiceKey, Vec<_>)| {
            claims.sort_unstable();
            WantedPort { serving: Arc::new(self.serve(index, service, &key)), claims: claims.into(), key }
        };
        let addrs: BTreeMap<IpAddr, bool> =
            service.addresses().map(|addr| (addr, service.cluster_ips.contains(&addr))).collect();
        Some(Wanted {
            created_unix_s: service.created_unix_s,
            origin: service.origin.clone(),
            addrs: addrs.into_iter().collect(),
            ports: by_key.into_iter().map(port).collect(),
        })
    }

    /// The sets and terms of a key; frontends come when conflicts are settled.
    fn serve(&self, index: &Index, service: &Service, key: &ServiceKey) -> Serving {
        let vantage = index.vantage();
        let candidates = Candidates::of(index.slices(&service.name), &key.port, key.family, vantage);
        let set = |policy| FlatSet::from_iter(candidates.choose(policy, vantage).picked);
        let cluster = set(TrafficPolicy::Cluster);
        let local = match [service.internal_policy, service.external_policy].contains(&TrafficPolicy::Local) {
            true => set(TrafficPolicy::Local),
            false => FlatSet::default(),
        };
        let keep = beyond(candidates.serving(), [&cluster, &local]).collect();
        Serving {
            frontends: FlatMap::default(),
            internal: service.internal_policy,
            external: service.external_policy,
            keep,
            cluster,
            local,
            affinity: service.affinity,
            sources: Sources::of(service, key.family, index.primary_address(key.family)).map(Arc::new),
        }
    }

    fn withdraw(&mut self, old: &Wanted, before: &mut Before) {
        for (frontend, claim) in old.claims() {
            before.note_holder(frontend, &self.claims);
            before.conflicts |= self.claims.withdraw(&frontend, &claim);
        }
        for (addr, cluster) in &old.addrs {
            before.vips.entry(*addr).or_insert_with(|| self.owns(*addr));
            let users = self.users.get_mut(addr).expect("invariant: an address in use is counted");
            users.all -= 1;
            users.cluster -= u32::from(*cluster);
            if users.all == 0 {
                self.users.remove(addr);
            }
        }
    }

    fn place(&mut self, name: &ServiceName, new: Wanted, before: &mut Before) {
        for (frontend, claim) in new.claims() {
            before.note_holder(frontend, &self.claims);
            before.conflicts |= self.claims.place(frontend, claim, &self.rules);
        }
        for (addr, cluster) in &new.addrs {
            before.vips.entry(*addr).or_insert_with(|| self.owns(*addr));
            let users = self.users.get_or_default(*addr);
            users.all += 1;
            users.cluster += u32::from(*cluster);
        }
        self.services.insert(name.clone(), new);
    }

    /// Gives each frontend of `before` to the claim that holds it now, and takes it from the one that held it.
    fn settle(&mut self, before: &BTreeMap<Frontend, Option<ServiceKey>>) {
        for (frontend, old) in before {
            let new = self.claims.first(frontend).map(|claim| (claim.key.clone(), claim.kind));
            if let Some(serving) = old
                .as_ref()
                .filter(|old| Some(*old) != new.as_ref().map(|(key, _)| key))
                .and_then(|k| self.serving_mut(k))
                && serving.frontends.contains(frontend)
            {
                Arc::make_mut(serving).frontends.remove(frontend);
            }
            if let Some((key, kind)) = new
                && let Some(serving) = self.serving_mut(&key)
                && serving.frontends.get(frontend) != Some(&kind)
            {
                Arc::make_mut(serving).frontends.insert(*frontend, kind);
            }
        }
    }

    fn serving_mut(&mut self, key: &ServiceKey) -> Option<&mut Arc<Serving>> {
        let ports = &mut self.services.get_mut(&key.port.service)?.ports;
        let at = ports.binary_search_by(|port| port.key.cmp(key)).ok()?;
        Some(&mut ports[at].serving)
    }

    fn touched(&self, names: &BTreeSet<&ServiceName>, before: &Before) -> Touched {
        let mut touched = Touched::default();
        for (key, old) in &before.ports {
            if self.serving(key) != Some(old) {
                touched.keys.insert(key.clone());
            }
        }
        for port in names.iter().filter_map(|name| self.services.get(*name)).flat_map(|wanted| &wanted.ports) {
            if !before.ports.contains_key(&port.key) {
                touched.keys.insert(port.key.clone());
            }
        }
        for (frontend, old) in &before.holders {
            let new = self.claims.holder(frontend);
            if new != old.as_ref() {
                touched.keys.extend(old.iter().chain(new).cloned());
                touched.frontends.insert(*frontend);
            }
        }
        touched
            .vips
            .extend(before.vips.iter().filter(|(addr, owned)| self.owns(**addr) != **owned).map(|(addr, _)| *addr));
        touched
    }
}

/// What stood before an update, of all that the update may change.
#[derive(Default)]
struct Before {
    ports: BTreeMap<ServiceKey, Arc<Serving>>,
    holders: BTreeMap<Frontend, Option<ServiceKey>>,
    /// Addresses of the Services concerned, and whether every port of each was ours.
    vips: BTreeMap<IpAddr, bool>,
    /// Whether anybody lost a frontend, or loses one now.
    conflicts: bool,
}

impl Before {
    fn note_holder(&mut self, frontend: Frontend, claims: &Claims) {
        self.holders.entry(frontend).or_insert_with(|| claims.holder(&frontend).cloned());
    }
}

impl Wanted {
    /// What this Service claims.
    fn claims(&self) -> impl Iterator<Item = (Frontend, Claim)> {
        self.ports.iter().flat_map(|port| {
            port.claims.iter().map(|(frontend, kind)| {
                (*frontend, Claim { kind: *kind, created_unix_s: self.created_unix_s, key: port.key.clone() })
            })
        })
    }
}
