//! The API as a handle: tests and the demo change objects through it, and the server answers from it.
use crate::misbehaviour::Misbehaviour;
use crate::object::{Key, Stored, complete_metadata};
use crate::refusal::Refusal;
use crate::resource::Resource;
use crate::store::Store;
use crate::traffic::{Request, Traffic};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// An API server's state. Clones share it.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    store: Mutex<Store>,
    switches: Mutex<Switches>,
    pub(crate) traffic: Mutex<Traffic>,
    pub(crate) bytes_sent: Arc<AtomicU64>,
    pub(crate) watches: AtomicUsize,
    pulse: watch::Sender<Pulse>,
}

/// What is set from outside.
#[derive(Clone, Debug)]
pub(crate) struct Switches {
    pub(crate) misbehaviour: Option<Misbehaviour>,
    pub(crate) token: Option<String>,
    /// Kinds that answer with a status code only.
    pub(crate) refused: HashMap<&'static str, u16>,
    pub(crate) bookmark_interval: Duration,
    pub(crate) streaming_lists: bool,
    pub(crate) protobuf: bool,
}

/// What wakes watches and connections. Each field counts how often something was asked of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Pulse {
    pub(crate) changes: u64,
    pub(crate) bookmarks: u64,
    pub(crate) ends: u64,
    pub(crate) garbage: u64,
    pub(crate) cuts: u64,
    pub(crate) muted: bool,
}

/// Which objects a write may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Write {
    Create,
    Replace,
    Either,
}

impl Default for Api {
    fn default() -> Self {
        Self::new()
    }
}

impl Api {
    /// An empty API.
    #[must_use]
    pub fn new() -> Self {
        let switches = Switches {
            misbehaviour: None,
            token: None,
            refused: HashMap::new(),
            bookmark_interval: Duration::from_secs(60),
            streaming_lists: true,
            protobuf: true,
        };
        Self {
            shared: Arc::new(Shared {
                store: Mutex::new(Store::new()),
                switches: Mutex::new(switches),
                traffic: Mutex::default(),
                bytes_sent: Arc::default(),
                watches: AtomicUsize::new(0),
                pulse: watch::Sender::new(Pulse::default()),
            }),
        }
    }

    /// Creates or replaces an object, without validation: tests need objects that a real server would refuse. Returns its
    /// resourceVersion, which stays when nothing changed.
    ///
    /// # Errors
    /// When the kind is not served or the object has no name.
    pub fn apply(&self, object: Value) -> Result<u64, Refusal> {
        let resource = resource_of(object["kind"].as_str().unwrap_or_default())?;
        self.write(resource, object, Write::Either).map(|stored| stored.version)
    }

    /// Deletes an object; returns the resourceVersion of the deletion. The namespace is ignored for cluster-wide kinds.
    ///
    /// # Errors
    /// When there is no such object.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<u64, Refusal> {
        let resource = resource_of(kind)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        self.remove(resource, &(namespace.to_owned(), name.to_owned()))
    }

    /// The object as it is now, with kind and apiVersion.
    #[must_use]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = Resource::of_kind(kind)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let key = (namespace.to_owned(), name.to_owned());
        let stored = self.store().get(resource, &key).cloned();
        stored.map(|stored| stored.document(resource))
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &str) -> usize {
        Resource::of_kind(kind).map_or(0, |resource| self.store().len(resource))
    }

    /// The newest resourceVersion.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.store().version()
    }

    /// Forgets the history: watches from older versions and older continue tokens get 410.
    pub fn compact(&self) {
        self.store().compact();
    }

    /// How many watches are open.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }

    /// What clients asked, oldest first; the newest 10,000.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.traffic().requests()
    }

    /// Bytes of bodies sent.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.shared.bytes_sent.load(Ordering::Relaxed)
    }

    /// Sends a bookmark on every watch that asked for them.
    pub fn bookmark(&self) {
        self.pulse(|pulse| pulse.bookmarks += 1);
    }

    /// Ends every watch properly, as a server does at the end of `timeoutSeconds`.
    pub fn end_watches(&self) {
        self.pulse(|pulse| pulse.ends += 1);
    }

    /// Sends a line of garbage on every watch.
    pub fn garble_watches(&self) {
        self.pulse(|pulse| pulse.garbage += 1);
    }

    /// Keeps every watch open and sends nothing on it, until unset.
    pub fn mute_watches(&self, muted: bool) {
        self.pulse(|pulse| pulse.muted = muted);
    }

    /// Closes every connection as it is.
    pub fn cut_connections(&self) {
        self.pulse(|pulse| pulse.cuts += 1);
    }

    /// Answers every request from now on like this; `None` is the proper way.
    pub fn misbehave(&self, misbehaviour: Option<Misbehaviour>) {
        self.switches_mut().misbehaviour = misbehaviour;
    }

    /// Answers requests for a kind with this status code, 403 or 404; `None` serves it.
    ///
    /// # Errors
    /// When the kind is not served at all.
    pub fn refuse(&self, kind: &str, code: Option<u16>) -> Result<(), Refusal> {
        let resource = resource_of(kind)?;
        let mut switches = self.switches_mut();
        match code {
            Some(code) => drop(switches.refused.insert(resource.kind, code)),
            None => drop(switches.refused.remove(resource.kind)),
        }
        Ok(())
    }

    /// Asks for this bearer token on every request; `None` lets everyone in.
    pub fn require_token(&self, token: Option<String>) {
        self.switches_mut().token = token;
    }

    /// How often a watch gets a bookmark; a minute unless set.
    pub fn set_bookmark_interval(&self, interval: Duration) {
        self.switches_mut().bookmark_interval = interval;
    }

    /// Whether `sendInitialEvents` is served; servers before 1.32 mostly do not.
    pub fn set_streaming_lists(&self, served: bool) {
        self.switches_mut().streaming_lists = served;
    }

    /// Whether protobuf is served to who asks for it. Without, everything is JSON, which alone can hold values of types that a
    /// real server would refuse.
    pub fn set_protobuf(&self, served: bool) {
        self.switches_mut().protobuf = served;
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        unpoisoned(&self.shared.store)
    }

    pub(crate) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        unpoisoned(&self.shared.traffic)
    }

    pub(crate) fn switches(&self) -> Switches {
        self.switches_mut().clone()
    }

    fn switches_mut(&self) -> MutexGuard<'_, Switches> {
        unpoisoned(&self.shared.switches)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Pulse> {
        self.shared.pulse.subscribe()
    }

    fn pulse(&self, change: impl FnOnce(&mut Pulse)) {
        self.shared.pulse.send_modify(change);
    }

    pub(crate) fn write(
        &self,
        resource: &'static Resource,
        object: Value,
        mode: Write,
    ) -> Result<Arc<Stored>, Refusal> {
        let stored = write(&mut self.store(), resource, object, mode)?;
        self.pulse(|pulse| pulse.changes += 1);
        Ok(stored)
    }

    pub(crate) fn remove(&self, resource: &Resource, key: &Key) -> Result<u64, Refusal> {
        let version = self.store().delete(resource, key).ok_or_else(|| Refusal::not_found(resource, &key.1))?;
        self.pulse(|pulse| pulse.changes += 1);
        Ok(version)
    }
}

fn write(
    store: &mut Store,
    resource: &'static Resource,
    mut object: Value,
    mode: Write,
) -> Result<Arc<Stored>, Refusal> {
    let key = key_of(resource, &object);
    let held = store.get(resource, &key).cloned();
    match (&held, mode) {
        (Some(_), Write::Create) => return Err(Refusal::already_exists(resource, &key.1)),
        (None, Write::Replace) => return Err(Refusal::not_found(resource, &key.1)),
        _ => {}
    }
    let before = held.as_ref().map(|held| held.document(resource));
    let expected =
        object["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty() && *version != "0");
    if let (Some(held), Some(expected)) = (&held, expected)
        && held.version.to_string() != expected
    {
        return Err(Refusal::conflict(resource, &key.1));
    }
    complete_metadata(resource, &mut object, before.as_ref(), store.version() + 1);
    if key_of(resource, &object).1.is_empty() {
        return Err(Refusal::invalid(
            resource,
            "",
            &[("metadata.name".to_owned(), "Required value: name or generateName is required".to_owned())],
        ));
    }
    object["kind"] = resource.kind.into();
    object["apiVersion"] = resource.api_version().into();
    if let (Some(held), Some(before)) = (held, before) {
        object["metadata"]["resourceVersion"] = json!(held.version.to_string());
        if object == before {
            return Ok(held);
        }
    }
    Ok(store.put(resource, |version| Stored::new(resource, object, version)))
}

fn key_of(resource: &Resource, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let namespace = match (resource.namespaced, text("namespace")) {
        (false, _) => "",
        (true, "") => "default",
        (true, namespace) => namespace,
    };
    (namespace.to_owned(), text("name").to_owned())
}

fn resource_of(kind: &str) -> Result<&'static Resource, Refusal> {
    Resource::of_kind(kind).ok_or_else(|| Refusal::bad_request(format!("no kind {kind:?} is served")))
}

/// A panic elsewhere leaves the data whole: every change of it is one assignment.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
