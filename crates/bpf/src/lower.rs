//! From a step of a plan to kernel writes: pure, so the same image and step give the same operations.
//!
//! A step is lowered as a whole or refused as a whole: a limit never leaves half a Service behind (I7). Within a step the
//! order keeps I1: a backend's entry before the slot that names it, slots before the word that publishes them, the set
//! before the frontends that lead to it.
use crate::image::Image;
use crate::limits::{Knob, Limits};
use crate::ops::{BackendEntry, MapOp};
use crate::refused::{Full, Refused};
use crate::set;
use sheave_abi::{BackendId, SERVICE_NAME_LEN, ServiceId, SetWord};
use sheave_core::{Backend, Change, Family, FlatMap, Frontend, FrontendKind, ServiceKey, Serving};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

/// The operations that carry out a step; none if nothing is left to do.
///
/// # Errors
/// When a map has no room, or when something that could not be changed before still uses what should go.
pub fn lower(image: &Image, limits: &Limits, change: &Change) -> Result<Vec<MapOp>, Refused> {
    match change {
        // The image says it holds none, so none are planned.
        Change::Rules { .. } => Ok(Vec::new()),
        Change::Serve { key, serving } => serve(image, limits, key, serving),
        Change::ClaimVip { addr } => claim_vip(image, limits, *addr),
        Change::Release { frontend, key } => release(image, *frontend, key.as_ref()),
        Change::ReleaseVip { addr } => Ok(vec![MapOp::DeleteVip { addr: *addr }]),
        Change::Retire { key, backends } => retire(image, key, backends),
        Change::Forget { key } => forget(image, key),
    }
}

fn serve(image: &Image, limits: &Limits, key: &ServiceKey, serving: &Serving) -> Result<Vec<MapOp>, Refused> {
    let mut ops = Vec::new();
    let service = match image.id(key) {
        Some(service) => service,
        None => {
            let service = new_service(image, limits, key)?;
            ops.push(MapOp::PutName { service, key: key.clone() });
            service
        }
    };
    let mut ids = image.members(service);
    ops.extend(write_backends(image, limits, (key, service), serving, &mut ids)?);
    let target: Vec<BackendId> = serving.cluster.keys().filter_map(|backend| ids.get(backend).copied()).collect();
    ops.extend(set::change(image, limits, (key, service), &target)?);
    ops.extend(put_frontends(image, limits, (key, service), &serving.frontends)?);
    Ok(ops)
}

fn new_service(image: &Image, limits: &Limits, key: &ServiceKey) -> Result<ServiceId, Refused> {
    let len = key.to_string().len();
    if len > SERVICE_NAME_LEN {
        return Err(Refused::LongName { key: key.clone(), len, max: SERVICE_NAME_LEN });
    }
    let max = limits.services_max;
    let id = image.service_ids.peek(1, max).and_then(|ids| NonZeroU32::new(*ids.first()?));
    id.map(ServiceId).ok_or_else(|| Refused::full(Full { map: "services", knob: Knob::Services, max }, key, image))
}

/// Writes the entries of backends that have none, or of which it is not known what they hold. Adds the new ids to `ids`.
fn write_backends(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    serving: &Serving,
    ids: &mut BTreeMap<Backend, BackendId>,
) -> Result<Option<MapOp>, Refused> {
    let (family, max) = (key.family, limits.backends_max);
    let wanted = serving.members().copied();
    let (held, new): (Vec<Backend>, Vec<Backend>) = wanted.partition(|backend| ids.contains_key(backend));
    let unsure = held.into_iter().filter_map(|backend| Some((*ids.get(&backend)?, backend)));
    let mut entries: Vec<_> = unsure.filter(|(id, _)| !image.is_sure(family, *id)).collect();
    let fresh = image.backend_ids(family).peek(new.len(), max).ok_or_else(|| {
        let full = Full { map: backends_map(family), knob: Knob::Backends, max };
        Refused::full(full, key, image)
    })?;
    let fresh = fresh.into_iter().filter_map(NonZeroU32::new).map(BackendId);
    entries.extend(fresh.zip(new));
    ids.extend(entries.iter().map(|(id, backend)| (*backend, *id)));
    let entry = |(id, backend)| (id, BackendEntry { backend, service, serving: true });
    let entries: Vec<_> = entries.into_iter().map(entry).collect();
    Ok((!entries.is_empty()).then_some(MapOp::WriteBackends { family, entries }))
}

fn put_frontends(
    image: &Image,
    limits: &Limits,
    (key, service): (&ServiceKey, ServiceId),
    frontends: &FlatMap<Frontend, FrontendKind>,
) -> Result<impl Iterator<Item = MapOp>, Refused> {
    let missing: Vec<_> = frontends.keys().filter(|f| image.leads_to(f) != Some(service)).copied().collect();
    let new = missing.iter().filter(|f| image.leads_to(f).is_none()).count();
    room_for_frontends(image, limits, key.family, new).map_err(|full| Refused::full(full, key, image))?;
    Ok(missing.into_iter().map(move |frontend| MapOp::PutFrontend { frontend, service }))
}

fn room_for_frontends(image: &Image, limits: &Limits, family: Family, new: usize) -> Result<(), Full> {
    let (used, max) = (image.frontend_entries(family), limits.frontends_max);
    let needed = u32::try_from(new).unwrap_or(u32::MAX);
    if new == 0 || used.saturating_add(needed) <= max {
        return Ok(());
    }
    Err(Full { map: frontends_map(family), knob: Knob::Frontends, max })
}

fn claim_vip(image: &Image, limits: &Limits, addr: IpAddr) -> Result<Vec<MapOp>, Refused> {
    room_for_frontends(image, limits, Family::of(addr), 1).map_err(|full| Refused::Vip { addr, full })?;
    Ok(vec![MapOp::PutVip { addr }])
}

fn release(image: &Image, frontend: Frontend, key: Option<&ServiceKey>) -> Result<Vec<MapOp>, Refused> {
    let Some(service) = image.leads_to(&frontend) else { return Ok(Vec::new()) };
    if image.key(service) != key {
        return Err(Refused::Moved { frontend });
    }
    Ok(vec![MapOp::DeleteFrontend { frontend }])
}

fn retire(image: &Image, key: &ServiceKey, backends: &BTreeSet<Backend>) -> Result<Vec<MapOp>, Refused> {
    let Some(service) = image.id(key) else { return Ok(Vec::new()) };
    let picked: BTreeSet<_> = image.slots(service).into_iter().collect();
    let members = image.members(service);
    let going = backends.iter().filter_map(|backend| Some((*backend, *members.get(backend)?)));
    let going: Vec<_> = going.collect();
    if going.iter().any(|(_, id)| picked.contains(id)) {
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
    let empty = SetWord::default();
    let unpublish = (image.word(service) != empty).then_some(MapOp::WriteSet { service, word: empty });
    let retire = retire_entries(key.family, service, image.members(service));
    Ok(unpublish.into_iter().chain(retire).chain([MapOp::DeleteName { service }]).collect())
}

fn retire_entries(
    family: Family,
    service: ServiceId,
    going: impl IntoIterator<Item = (Backend, BackendId)>,
) -> Option<MapOp> {
    let entry = |(backend, id)| (id, BackendEntry { backend, service, serving: false });
    let entries: Vec<_> = going.into_iter().map(entry).collect();
    (!entries.is_empty()).then_some(MapOp::WriteBackends { family, entries })
}

fn backends_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "backends_v4",
        Family::V6 => "backends_v6",
    }
}

fn frontends_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "frontends_v4",
        Family::V6 => "frontends_v6",
    }
}
