//! One watch: the changes after a version, as lines of JSON or frames of protobuf.
use crate::api::{Api, Pulse};
use crate::encoding::Encoding;
use crate::object::Stored;
use crate::protobuf;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::resource::Target;
use crate::store::Change;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until};

/// A chunk of the first events, so that a large list does not wait for its end.
const CHUNK_BYTES: usize = 256 * 1024;
/// Further off than any test or session lasts.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) struct Watch {
    api: Api,
    target: Target,
    query: Query,
    encoding: Encoding,
    /// The last version that was sent, or passed over.
    cursor: u64,
    out: mpsc::Sender<Bytes>,
}

/// The watch is over: the client left, or was told that it has to list again.
struct Over;

impl Watch {
    /// Starts a watch; the receiver gets what to send.
    pub(crate) fn start(api: Api, (target, encoding): (Target, Encoding), query: Query) -> mpsc::Receiver<Bytes> {
        let (out, receiver) = mpsc::channel(64);
        // From here on, not from the task's first turn: whoever saw this watch open may pulse at once.
        let pulses = api.subscribe();
        api.shared.watches.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let shared = api.shared.clone();
            let _over = Self { api, target, query, encoding, cursor: 0, out }.run(pulses).await;
            shared.watches.fetch_sub(1, Ordering::SeqCst);
        });
        receiver
    }

    async fn run(mut self, mut pulses: Receiver<Pulse>) -> Result<(), Over> {
        let start = *pulses.borrow_and_update();
        let deadline = Instant::now() + self.query.timeout.unwrap_or(NEVER);
        self.first_events().await?;
        let mut seen = start;
        let mut next_bookmark = Instant::now() + self.api.switches().bookmark_interval;
        loop {
            let pulse = *pulses.borrow_and_update();
            if pulse.ends != start.ends {
                return Err(Over);
            }
            if !pulse.muted {
                let due = Instant::now() >= next_bookmark;
                self.catch_up(pulse, seen, due).await?;
                seen = pulse;
                if due {
                    next_bookmark = Instant::now() + self.api.switches().bookmark_interval;
                }
            }
            let wake = if pulse.muted { deadline } else { next_bookmark.min(deadline) };
            tokio::select! {
                changed = pulses.changed() => changed.map_err(|_| Over)?,
                () = sleep_until(wake) => if Instant::now() >= deadline { return Err(Over) },
                () = self.out.closed() => return Err(Over),
            }
        }
    }

    /// The objects there are, for a watch that begins with a list or at no particular version.
    async fn first_events(&mut self) -> Result<(), Over> {
        let initial = self.query.send_initial_events.unwrap_or(self.query.version.is_none_or(|version| version == 0));
        let (objects, version) = {
            let store = self.api.store();
            let whole = (None, None, usize::MAX);
            let page = store.page(self.target.resource, self.target.namespace.as_deref(), &self.query.selector, whole);
            (page.map(|page| page.objects).unwrap_or_default(), store.version())
        };
        self.cursor = if initial { version } else { self.query.version.unwrap_or(version) };
        if !initial {
            return Ok(());
        }
        let mut chunk = BytesMut::new();
        for object in objects {
            self.event("ADDED", &object, &mut chunk);
            if chunk.len() >= CHUNK_BYTES {
                self.send(chunk.split().freeze()).await?;
            }
        }
        if self.query.send_initial_events == Some(true) {
            self.bookmark(version, true, &mut chunk);
        }
        self.send(chunk.freeze()).await
    }

    /// Sends what happened since.
    async fn catch_up(&mut self, pulse: Pulse, seen: Pulse, bookmark_due: bool) -> Result<(), Over> {
        if pulse.garbage != seen.garbage {
            self.send(Bytes::from_static(b"\x16\x03\x01{\"type\":]]\n")).await?;
        }
        let (changes, version) = {
            let store = self.api.store();
            let changes = store.changes(self.target.resource, self.cursor).map(|changes| changes.cloned().collect());
            (changes, store.version())
        };
        let Ok::<Vec<Change>, _>(changes) = changes else {
            let message = format!("too old resource version: {} ({version})", self.cursor);
            let mut chunk = BytesMut::new();
            self.document("ERROR", ("v1", "Status"), &Refusal::expired(message).status(), &mut chunk);
            self.send(chunk.freeze()).await?;
            return Err(Over);
        };
        let mut chunk = BytesMut::new();
        for change in &changes {
            self.write_change(change, &mut chunk);
        }
        self.cursor = version.max(self.cursor);
        if self.query.bookmarks && (bookmark_due || pulse.bookmarks != seen.bookmarks) {
            self.bookmark(self.cursor, false, &mut chunk);
        }
        self.send(chunk.freeze()).await
    }

    /// What a change means to this client: an object that no longer matches its selector is deleted, in its eyes.
    fn write_change(&self, change: &Change, out: &mut BytesMut) {
        let resource = self.target.resource;
        let (before, after) = (self.visible(change.before.as_ref()), self.visible(change.after.as_ref()));
        match (before, after) {
            (None, None) => {}
            (None, Some(after)) => self.event("ADDED", after, out),
            (Some(_), Some(after)) => self.event("MODIFIED", after, out),
            (Some(before), None) => {
                let gone = Stored::new(resource, before.document(resource), change.version);
                self.event("DELETED", &gone, out);
            }
        }
    }

    fn visible<'a>(&self, object: Option<&'a Arc<Stored>>) -> Option<&'a Arc<Stored>> {
        let namespace = self.target.namespace.as_deref();
        object.filter(|object| {
            namespace.is_none_or(|wanted| object.key.0 == wanted) && self.query.selector.matches(object)
        })
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Over> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.out.send(bytes).await.map_err(|_| Over)
    }

    fn event(&self, of_type: &str, object: &Stored, out: &mut BytesMut) {
        let resource = self.target.resource;
        match self.encoding {
            Encoding::Json => json_event(of_type, out, |out| object.write(resource, out)),
            Encoding::Protobuf => {
                let object = protobuf::wrapped((&resource.api_version(), resource.kind), object.message(resource));
                protobuf::event(of_type, &object, out);
            }
        }
    }

    fn document(&self, of_type: &str, kind: (&str, &str), document: &Value, out: &mut BytesMut) {
        let object = self.encoding.document(kind, document);
        match self.encoding {
            Encoding::Json => json_event(of_type, out, |out| out.put_slice(&object)),
            Encoding::Protobuf => protobuf::event(of_type, &object, out),
        }
    }

    fn bookmark(&self, version: u64, initial_events_end: bool, out: &mut BytesMut) {
        let resource = self.target.resource;
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        match resource.kind {
            "EndpointSlice" => {
                object["addressType"] = "".into();
                object["endpoints"] = json!(null);
                object["ports"] = json!(null);
            }
            _ => object["spec"] = json!({}),
        }
        self.document("BOOKMARK", (&resource.api_version(), resource.kind), &object, out);
    }
}

fn json_event(of_type: &str, out: &mut BytesMut, write_object: impl FnOnce(&mut BytesMut)) {
    out.put_slice(format!(r#"{{"type":"{of_type}","object":"#).as_bytes());
    write_object(out);
    out.put_slice(b"}\n");
}
