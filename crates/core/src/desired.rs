//! What this node should serve: the [`Index`] after selection (E1) and after conflicts are settled (X1).
//!
//! Kept up to date Service by Service: the cost of a change follows the Services it touches, not the cluster.
use crate::claim::{Claim, ClaimKind, Claims};
use crate::diagnostic::Diagnostic;
use crate::index::Index;
use crate::name::{ServiceKey, ServiceName, ServicePortName};
use crate::net::{Family, Frontend, Port};
use crate::object::Service;
use crate::select::select;
use crate::serving::Serving;
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What should be served on this node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Desired {
    services: Table<ServiceName, Wanted>,
    claims: Claims,
    /// Addresses of which every port is ours (A2), with the number of Services that have them.
    vips: Table<IpAddr, u32>,
}

/// What one Service wants.
#[derive(Clone, PartialEq, Debug)]
struct Wanted {
    created_unix_s: i64,
    origin: Option<Arc<str>>,
    addrs: Vec<IpAddr>,
    /// By key.
    ports: Vec<WantedPort>,
}

/// One family of one port of a Service.
#[derive(Clone, PartialEq, Debug)]
struct WantedPort {
    key: ServiceKey,
    number: Port,
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
}

impl Touched {
    /// Whether there is nothing to look at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.frontends.is_empty() && self.vips.is_empty()
    }

    /// Adds what `other` names.
    pub fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.frontends.extend(other.frontends);
        self.vips.extend(other.vips);
    }
}

impl Desired {
    /// Brings the named Services up to date with the index; says what a plan has to look at.
    pub fn update(&mut self, index: &Index, changed: &BTreeSet<ServiceName>) -> Touched {
        let mut before = Before::default();
        for name in changed {
            let old = self.services.remove(name);
            if let Some(old) = &old {
                self.withdraw(old, &mut before);
            }
            if let Some(new) = wanted(index, name) {
                self.place(name, new, &mut before);
            }
            before.ports.extend(old.into_iter().flat_map(|old| old.ports).map(|port| (port.key, port.serving)));
        }
        self.settle(&before.holders);
        self.touched(changed, &before)
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
        self.vips.get(&addr).is_some()
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
        self.vips.sorted().into_iter().map(|(addr, _)| *addr).collect()
    }

    /// Every key and address: what a plan from scratch has to look at.
    #[must_use]
    pub fn all(&self) -> Touched {
        let frontends = BTreeSet::new(); // Each stands with the key that holds it.
        Touched { keys: self.keys().into_iter().collect(), frontends, vips: self.vips().into_iter().collect() }
    }

    /// What cannot be served as asked: one for each Service that lost frontends, by name (I8).
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let origin = |name| self.services.get(name).and_then(|wanted| wanted.origin.clone());
        self.claims.losers().into_iter().map(|(name, lost)| lost.diagnostic(origin(name))).collect()
    }

    fn withdraw(&mut self, old: &Wanted, before: &mut Before) {
        for (frontend, claim) in old.claims() {
            before.note_holder(frontend, &self.claims);
            self.claims.withdraw(&frontend, &claim);
        }
        for addr in &old.addrs {
            before.vips.entry(*addr).or_insert(true);
            let users = self.vips.get_mut(addr).expect("invariant: an address in use is counted");
            *users -= 1;
            if *users == 0 {
                self.vips.remove(addr);
            }
        }
    }

    fn place(&mut self, name: &ServiceName, new: Wanted, before: &mut Before) {
        for (frontend, claim) in new.claims() {
            before.note_holder(frontend, &self.claims);
            self.claims.place(frontend, claim);
        }
        for addr in &new.addrs {
            before.vips.entry(*addr).or_insert(self.vips.get(addr).is_some());
            *self.vips.get_or_default(*addr) += 1;
        }
        self.services.insert(name.clone(), new);
    }

    /// Gives each frontend of `before` to the key that holds it now, and takes it from the one that held it.
    fn settle(&mut self, before: &BTreeMap<Frontend, Option<ServiceKey>>) {
        for (frontend, old) in before {
            let new = self.claims.holder(frontend).cloned();
            if let Some(serving) =
                old.as_ref().filter(|old| Some(*old) != new.as_ref()).and_then(|k| self.serving_mut(k))
                && serving.frontends.contains(frontend)
            {
                Arc::make_mut(serving).frontends.remove(frontend);
            }
            if let Some(serving) = new.as_ref().and_then(|k| self.serving_mut(k))
                && !serving.frontends.contains(frontend)
            {
                Arc::make_mut(serving).frontends.insert(*frontend);
            }
        }
    }

    fn serving_mut(&mut self, key: &ServiceKey) -> Option<&mut Arc<Serving>> {
        let ports = &mut self.services.get_mut(&key.port.service)?.ports;
        let at = ports.binary_search_by(|port| port.key.cmp(key)).ok()?;
        Some(&mut ports[at].serving)
    }

    fn touched(&self, changed: &BTreeSet<ServiceName>, before: &Before) -> Touched {
        let mut touched = Touched::default();
        for (key, old) in &before.ports {
            if self.serving(key) != Some(old) {
                touched.keys.insert(key.clone());
            }
        }
        for port in changed.iter().filter_map(|name| self.services.get(name)).flat_map(|wanted| &wanted.ports) {
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
    vips: BTreeMap<IpAddr, bool>,
}

impl Before {
    fn note_holder(&mut self, frontend: Frontend, claims: &Claims) {
        self.holders.entry(frontend).or_insert_with(|| claims.holder(&frontend).cloned());
    }
}

impl Wanted {
    /// The frontends this Service asks for: every address with every port of its family (A1).
    fn claims(&self) -> impl Iterator<Item = (Frontend, Claim)> {
        self.ports.iter().flat_map(move |port| {
            let of_family = self.addrs.iter().filter(|addr| Family::of(**addr) == port.key.family);
            of_family.map(move |addr| {
                let frontend = Frontend { addr: *addr, port: port.number, protocol: port.key.port.protocol };
                let key = port.key.clone();
                (frontend, Claim { kind: ClaimKind::ClusterIp, created_unix_s: self.created_unix_s, key })
            })
        })
    }
}

/// What the Service of this name wants, before conflicts are settled; `None` for one that gives no rules (W1–W3).
fn wanted(index: &Index, name: &ServiceName) -> Option<Wanted> {
    let service = index.service(name)?;
    let addrs: BTreeSet<IpAddr> = service.cluster_ips.iter().copied().collect();
    if addrs.is_empty() {
        return None;
    }
    let families: BTreeSet<Family> = addrs.iter().copied().map(Family::of).collect();
    let ports = families.into_iter().flat_map(|family| wanted_ports(index, service, family));
    // Two ports of one name and protocol are one port: the first (the API refuses the second).
    let by_key: BTreeMap<_, _> = ports.rev().map(|port| (port.key.clone(), port)).collect();
    Some(Wanted {
        created_unix_s: service.created_unix_s,
        origin: service.origin.clone(),
        addrs: addrs.into_iter().collect(),
        ports: by_key.into_values().collect(),
    })
}

fn wanted_ports<'a>(
    index: &'a Index,
    service: &'a Service,
    family: Family,
) -> impl DoubleEndedIterator<Item = WantedPort> + 'a {
    service.ports.iter().map(move |port| {
        let name = ServicePortName { service: service.name.clone(), port: port.name.clone(), protocol: port.protocol };
        let selected = select(index.slices(&service.name), &name, family);
        let serving = Serving { frontends: BTreeSet::new(), pick: selected.pick, keep: selected.keep };
        WantedPort { key: ServiceKey { port: name, family }, number: port.port, serving: Arc::new(serving) }
    })
}
