//! From a step of a plan to kernel writes: pure, so the same image and step give the same operations.
//!
//! A step is lowered as a whole or refused as a whole: a limit never leaves half a Service behind (I7). Within a step the
//! order keeps I1: a backend's entry before the slot that names it, slots before the word that publishes them, sources before
//! the flag that makes them count, the set before the frontends that lead to it; what goes, in the opposite order.
use crate::image::Image;
use crate::limits::{Knob, Limits};
use crate::lower_growth::growth;
use crate::lower_rules::lower_rules;
use crate::ops::{BackendEntry, Hash, MapOp, ServiceEntry};
use crate::refused::{Full, Refused, Remedy};
use crate::set;
use ipnet::IpNet;
use sheave_abi::{BackendId, RANGES_MAX, SERVICE_NAME_LEN, ServiceId};
use sheave_core::{
    Backend, Change, Family, FlatMap, FlatSet, Frontend, FrontendKind, ServiceKey, Serving, TrafficPolicy,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// The operations that carry out a step; none if nothing is left to do.
///
/// # Errors
/// When a map has no room, or when something that could not be changed before still uses what should go.
pub fn lower(image: &Image, limits: &Limits, change: &Change) -> Result<Vec<MapOp>, Refused> {
    match change {
        Change::Rules { rules } => lower_rules(image, rules),
        Change::Serve { key, serving } => serve(image, limits, key, serving),
        Change::ClaimVip { addr } => claim_vip(image, limits, *addr),
        Change::Release { frontend, key } => release(image, *frontend, key.as_ref()),
        Change::ReleaseVip { addr } => Ok(vec![MapOp::DeleteVip { addr: *addr }]),
        Change::Retire { key, backends } => retire(image, key, backends),
        Change::Forget { key } => forget(image, key),
    }
}

fn serve(image: &Image, limits: &Limits, key: &ServiceKey, serving: &Serving) -> Result<Vec<MapOp>, Refused> {
    let held = image.id(key);
    let service = held.map_or_else(|| new_service(image, limits, key), Ok)?;
    let members = Members::plan(image, limits, (key, service), serving)?;
    let new_ranges = new_ranges(image, (key, service), serving)?;
    let sets = sets(image, limits, (key, service), serving, &members)?;
    let missing = missing_frontends(image, limits, (key, service), &serving.frontends)?;
    // Room comes first of all: a kernel without memory for it leaves nothing half done.
    let mut ops = Vec::from_iter(missing.room);
    if held.is_none() {
        ops.extend(growth(image, Hash::Names, 1));
        let is_used = !image.service_ids.is_fresh(service.0.get());
        ops.extend(is_used.then_some(MapOp::ClearServiceFlows { service }));
        ops.push(MapOp::PutName { service, key: key.clone() });
    }
    ops.extend(members.reused);
    ops.extend(members.first);
    ops.extend(new_ranges);
    ops.extend(sets);
    // A frontend that comes from another Service lets in whom either lets in, never whom this one let in before.
    ops.extend(old_ranges(image, service, serving));
    let missing = missing.frontends.into_iter();
    ops.extend(missing.map(|(frontend, kind)| MapOp::PutFrontend { frontend, kind, service }));
    ops.extend(members.last);
    Ok(ops)
}

fn new_service(image: &Image, limits: &Limits, key: &ServiceKey) -> Result<ServiceId, Refused> {
    let len = key.to_string().len();
    if len > SERVICE_NAME_LEN {
        return Err(Refused::LongName { key: key.clone(), len, max: SERVICE_NAME_LEN });
    }
    let max = limits.services_max;
    let id = image.service_ids.peek(1, max).and_then(|ids| NonZeroU32::new(*ids.first()?));
    let full = || Full { map: "services", max, remedy: Remedy::of(Knob::Services, max) };
    id.map(ServiceId).ok_or_else(|| Refused::full(full(), key, image))
}

/// The entries of a Service's backends, before and after its sets change.
struct Members {
    /// Those of the Cluster set, in the order of the backends.
    cluster: Vec<BackendId>,
    /// Those of the Local set.
    local: Vec<BackendId>,
    /// Of new ones, ids that others had: their flows count from zero.
    reused: Option<MapOp>,
    /// Entries that are new, or not known, or of backends that enter a set: before a slot names them.
    first: Option<MapOp>,
    /// Entries of backends that leave a set: after no slot names them.
    last: Option<MapOp>,
}

impl Members {
    fn plan(
        image: &Image,
        limits: &Limits,
        (key, service): (&ServiceKey, ServiceId),
        serving: &Serving,
    ) -> Result<Self, Refused> {
        let (family, max) = (key.family, limits.backends_max);
        let held = image.members(service);
        let new: FlatSet<Backend> = serving.members_beyond([&held]).copied().collect();
        let fresh = image.backend_ids(family).peek(new.len(), max).ok_or_else(|| {
            let full = Full { map: backends_map(family), max, remedy: Remedy::of(Knob::Backends, max) };
            Refused::full(full, key, image)
        })?;
        let fresh: Vec<_> = fresh.into_iter().filter_map(NonZeroU32::new).map(BackendId).collect();
        let is_used = |id: &&BackendId| !image.backend_ids(family).is_fresh(id.0.get());
        let reused: Vec<_> = fresh.iter().filter(is_used).copied().collect();
        let reused = (!reused.is_empty()).then_some(MapOp::ClearBackendFlows { family, ids: reused });
        let ids: FlatMap<_, _> = held.into_iter().chain(new.keys().copied().zip(fresh)).collect();
        let mut in_sets = [&serving.cluster, &serving.local].map(|set| Vec::with_capacity(set.len()));
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut sets = serving.sets().map(FlatSet::in_order);
        for (backend, id) in ids.iter() {
            let [in_cluster, in_local, is_kept] = sets.each_mut().map(|set| set.has(backend));
            in_sets[0].extend(in_cluster.then_some(*id));
            in_sets[1].extend(in_local.then_some(*id));
            let wanted = BackendEntry { backend: *backend, service, serving: true, in_cluster, in_local };
            let is_wanted = in_cluster || in_local || is_kept;
            let held = image.backend(family, *id).copied();
            // A backend that the next step retires is only spared the write if nobody asks for its sets until then (E10).
            if held.is_some() && !is_wanted && serving.affinity.is_none() {
                continue;
            }
            let widened = BackendEntry {
                in_cluster: wanted.in_cluster || held.is_some_and(|held| held.in_cluster),
                in_local: wanted.in_local || held.is_some_and(|held| held.in_local),
                ..wanted
            };
            if held != Some(widened) || !image.is_sure(family, *id) {
                first.push((*id, widened));
            }
            if widened != wanted {
                last.push((*id, wanted));
            }
        }
        let ([cluster, local], first) = (in_sets, write_backends(family, first));
        Ok(Self { cluster, local, reused, first, last: write_backends(family, last) })
    }
}

fn write_backends(family: Family, entries: Vec<(BackendId, BackendEntry)>) -> Option<MapOp> {
    (!entries.is_empty()).then_some(MapOp::WriteBackends { family, entries })
}

/// The slots of both sets, then the one word pair and the policies that publish them.
fn sets(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    serving: &Serving,
    members: &Members,
) -> Result<Vec<MapOp>, Refused> {
    let held = image.entry(service);
    let cluster = set::change((image, limits), key, held.cluster, &members.cluster, &(0..0))?;
    let local = set::change((image, limits), key, held.local, &members.local, &cluster.occupied())?;
    let wanted = ServiceEntry {
        cluster: cluster.word,
        local: local.word,
        internal: serving.internal,
        external: serving.external,
        affinity: serving.affinity,
        restricted: serving.sources.is_some(),
    };
    let between = between(&held, &wanted).filter(|between| image.is_led_to(service) && *between != wanted);
    let news = between.into_iter().chain([wanted]).filter(|entry| *entry != held);
    let slots = [cluster.slots, local.slots].into_iter().flatten();
    Ok(slots.chain(news.map(|entry| MapOp::WriteService { service, entry })).collect())
}

/// What has to be in force between two entries. A reader takes the policies and the set that belongs to them one after the
/// other: where a policy becomes Local, its set is there first; where none is any more, the set goes last. Else such a reader
/// would meet an empty set, and drop (I1).
fn between(held: &ServiceEntry, wanted: &ServiceEntry) -> Option<ServiceEntry> {
    let local = |entry: &ServiceEntry| [entry.internal, entry.external].contains(&TrafficPolicy::Local);
    match (local(held), local(wanted)) {
        (false, true) => Some(ServiceEntry { internal: held.internal, external: held.external, ..*wanted }),
        (true, false) => Some(ServiceEntry { local: held.local, ..*wanted }),
        _ => None,
    }
}

/// What of a step that was refused is carried out all the same: who may dial a Service that is held does not wait for room in
/// other maps, and where the new sources themselves find none, only those may dial that might before (R8).
pub(crate) fn lower_sources(image: &Image, change: &Change) -> Vec<MapOp> {
    let Change::Serve { key, serving } = change else { return Vec::new() };
    let Some(service) = image.id(key) else { return Vec::new() };
    let held = image.entry(service);
    let entry = ServiceEntry { restricted: serving.sources.is_some(), ..held };
    let mut ops = new_ranges(image, (key, service), serving).unwrap_or_default();
    ops.extend((entry != held).then_some(MapOp::WriteService { service, entry }));
    ops.extend(old_ranges(image, service, serving));
    ops
}

/// The sources to add before they count.
fn new_ranges(
    image: &Image,
    (key, service): (&ServiceKey, ServiceId),
    serving: &Serving,
) -> Result<Vec<MapOp>, Refused> {
    let held = image.ranges(Some(service));
    let new: Vec<IpNet> = sources(serving).iter().filter(|range| !held.contains(range)).copied().collect();
    room_for_ranges(image, &new).map_err(|full| Refused::full(full, key, image))?;
    Ok(new.into_iter().map(|range| MapOp::PutRange { service: Some(service), range }).collect())
}

/// The sources to remove after they do not count any more: in between, those that are in both may dial.
fn old_ranges(image: &Image, service: ServiceId, serving: &Serving) -> Vec<MapOp> {
    let wanted = sources(serving);
    let old = image.ranges(Some(service)).iter().filter(|range| wanted.binary_search(range).is_err());
    old.map(|range| MapOp::DeleteRange { service: Some(service), range: *range }).collect()
}

/// Sorted.
fn sources(serving: &Serving) -> &[IpNet] {
    serving.sources.as_ref().map_or(&[], |sources| &sources.ranges)
}

/// Whether there is room for so many prefixes more.
pub(crate) fn room_for_ranges(image: &Image, new: &[IpNet]) -> Result<(), Full> {
    for family in Family::ALL {
        let more = new.iter().filter(|range| Family::of(range.addr()) == family).count();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > 0 && image.range_entries(family).saturating_add(more) > RANGES_MAX {
            let map = ["ranges_v4", "ranges_v6"][usize::from(family == Family::V6)];
            let remedy = Remedy::Fewer("loadBalancerSourceRanges and ServiceCIDRs");
            return Err(Full { map, max: RANGES_MAX, remedy });
        }
    }
    Ok(())
}

/// The frontends of a change that do not lead where they are to.
struct Missing {
    /// What makes room for those of them that are new, if there is none yet.
    room: Option<MapOp>,
    /// Each as what it is to.
    frontends: Vec<(Frontend, FrontendKind)>,
}

fn missing_frontends(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    frontends: &FlatMap<Frontend, FrontendKind>,
) -> Result<Missing, Refused> {
    let missing = frontends.iter().filter(|(frontend, kind)| image.leads_to(frontend) != Some((service, **kind)));
    let frontends: Vec<_> = missing.map(|(frontend, kind)| (*frontend, *kind)).collect();
    let new = frontends.iter().filter(|(frontend, _)| image.leads_to(frontend).is_none()).count();
    let room = room_for_frontends(image, limits, key.family, new).map_err(|full| Refused::full(full, key, image))?;
    Ok(Missing { room, frontends })
}

/// What makes room for so many, if there is none yet.
fn room_for_frontends(image: &Image, limits: &Limits, family: Family, new: usize) -> Result<Option<MapOp>, Full> {
    let (used, max) = (image.frontend_entries(family), limits.frontends_max);
    let needed = u32::try_from(new).unwrap_or(u32::MAX);
    if new > 0 && used.saturating_add(needed) > max {
        return Err(Full { map: Hash::Frontends(family).name(), max, remedy: Remedy::of(Knob::Frontends, max) });
    }
    Ok(growth(image, Hash::Frontends(family), new))
}

fn claim_vip(image: &Image, limits: &Limits, addr: IpAddr) -> Result<Vec<MapOp>, Refused> {
    let room = room_for_frontends(image, limits, Family::of(addr), 1).map_err(|full| Refused::Vip { addr, full })?;
    Ok(room.into_iter().chain([MapOp::PutVip { addr }]).collect())
}

fn release(image: &Image, frontend: Frontend, key: Option<&ServiceKey>) -> Result<Vec<MapOp>, Refused> {
    let Some((service, _)) = image.leads_to(&frontend) else { return Ok(Vec::new()) };
    if image.key(service) != key {
        return Err(Refused::Moved { frontend });
    }
    Ok(vec![MapOp::DeleteFrontend { frontend }])
}

fn retire(image: &Image, key: &ServiceKey, backends: &BTreeSet<Backend>) -> Result<Vec<MapOp>, Refused> {
    let Some(service) = image.id(key) else { return Ok(Vec::new()) };
    let ServiceEntry { cluster, local, .. } = image.entry(service);
    let members = image.each_member(service).filter(|(backend, _)| backends.contains(backend));
    let going: FlatMap<Backend, BackendId> = members.collect();
    let ids: BTreeSet<BackendId> = going.iter().map(|(_, id)| *id).collect();
    if [cluster, local].into_iter().flat_map(|word| image.slots(word)).any(|id| ids.contains(&id)) {
        return Err(Refused::InUse { user: key.clone() });
    }
    Ok(retire_entries(key.family, service, going).into_iter().collect())
}

fn forget(image: &Image, key: &ServiceKey) -> Result<Vec<MapOp>, Refused> {
    let Some(service) = image.id(key) else { return Ok(Vec::new()) };
    if image.is_led_to(service) {
        return Err(Refused::InUse { user: key.clone() });
    }
    // A reader that found the frontend just before it went sees a Service without backends, and rejects (E11).
    let empty = ServiceEntry::default();
    let unpublish = (image.entry(service) != empty).then_some(MapOp::WriteService { service, entry: empty });
    let ranges = image.ranges(Some(service)).iter();
    let ranges = ranges.map(|range| MapOp::DeleteRange { service: Some(service), range: *range });
    let retire = retire_entries(key.family, service, image.members(service));
    Ok(unpublish.into_iter().chain(ranges).chain(retire).chain([MapOp::DeleteName { service }]).collect())
}

fn retire_entries(
    family: Family,
    service: ServiceId,
    going: impl IntoIterator<Item = (Backend, BackendId)>,
) -> Option<MapOp> {
    let absent = |backend| BackendEntry { backend, service, serving: false, in_cluster: false, in_local: false };
    write_backends(family, going.into_iter().map(|(backend, id)| (id, absent(backend))).collect())
}

fn backends_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "backends_v4",
        Family::V6 => "backends_v6",
    }
}
