//! From what the server sends to events: lists, pages and lines of a watch.
use super::interruption::Interruption;
use crate::parse::{Nameless, Outcome, Parsed, keep, object_ref, parse};
use crate::prune::Keep;
use crate::said::Said;
use serde_json::Value;
use sheave_core::{Event, Kind, ObjectName};
use std::collections::BTreeMap;
use tracing::warn;

/// A line of a watch.
#[derive(Debug)]
pub(super) enum Line {
    Put {
        parsed: Box<Parsed>,
        version: String,
    },
    Gone {
        name: ObjectName,
        version: String,
    },
    Bookmark {
        version: String,
        initial_events_end: bool,
    },
    /// An object that has no name: nothing can be said of it, and nothing be done.
    Nameless {
        version: String,
    },
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) objects: Vec<Parsed>,
    pub(super) version: String,
    pub(super) token: Option<String>,
}

/// A list as it comes in.
#[derive(Default, Debug)]
pub(super) struct Listing {
    objects: BTreeMap<ObjectName, Parsed>,
}

impl Listing {
    pub(super) fn put(&mut self, parsed: Parsed) {
        self.objects.insert(parsed.name.clone(), parsed);
    }

    pub(super) fn remove(&mut self, name: &ObjectName) {
        self.objects.remove(name);
    }

    /// The list is complete.
    pub(super) fn into_events(self, kind: Kind, said: &mut Said) -> Vec<Event> {
        let (mut objects, mut kept, mut diagnostics) = (Vec::new(), Vec::new(), Vec::new());
        for (name, parsed) in self.objects {
            match parsed.outcome {
                Outcome::Object(object) => objects.push(object),
                Outcome::Unreadable => kept.push(name),
                Outcome::Absent(_) => {}
            }
            diagnostics.extend(parsed.diagnostics);
        }
        let mut events = vec![Event::Listed { kind, objects, kept }];
        events.extend(said.say_all(diagnostics));
        events
    }
}

/// The events of one changed object.
pub(super) fn put(parsed: Parsed, said: &mut Said) -> impl Iterator<Item = Event> {
    let object = object_ref(&parsed.name);
    let event = match parsed.outcome {
        Outcome::Object(object) => Some(Event::Applied(object)),
        Outcome::Absent(_) => Some(Event::Deleted(parsed.name)),
        Outcome::Unreadable => None,
    };
    event.into_iter().chain(said.say(object, parsed.diagnostics))
}

/// The events of one deleted object.
pub(super) fn gone(name: ObjectName, said: &mut Said) -> impl Iterator<Item = Event> {
    let taken_back = said.say(object_ref(&name), Vec::new());
    [Event::Deleted(name)].into_iter().chain(taken_back)
}

/// Reads a line of a watch.
pub(super) fn line(kind: Kind, line: &[u8]) -> Result<Line, Interruption> {
    let document = watch_line(kind, line)?;
    let object = &document["object"];
    let version = text(&object["metadata"]["resourceVersion"]);
    match document["type"].as_str().unwrap_or_default() {
        "ADDED" | "MODIFIED" => Ok(match parse(kind, object) {
            Ok(parsed) => Line::Put { parsed: Box::new(parsed), version },
            Err(error) => nameless(&error, version),
        }),
        "DELETED" => Ok(match parse(kind, object) {
            Ok(parsed) => Line::Gone { name: parsed.name, version },
            Err(error) => nameless(&error, version),
        }),
        "BOOKMARK" => {
            let end = &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
            Ok(Line::Bookmark { version, initial_events_end: end == "true" })
        }
        "ERROR" => Err(error(object)),
        other => Err(Interruption::Garbage(format!("a watch event of type {other:?}"))),
    }
}

/// Reads a page of a list.
pub(super) fn page(kind: Kind, body: &[u8]) -> Result<Page, Interruption> {
    let item = keep(kind);
    let metadata = Keep::Fields(&[("resourceVersion", Keep::All), ("continue", Keep::All)]);
    let fields = [("metadata", metadata), ("items", Keep::Each(&item))];
    let document = Keep::Fields(&fields).read(body).map_err(|error| Interruption::Garbage(error.to_string()))?;
    let version = text(&document["metadata"]["resourceVersion"]);
    let (Some(items), false) = (document["items"].as_array(), version.is_empty()) else {
        return Err(Interruption::Garbage("a list without items or resourceVersion".to_owned()));
    };
    let parsed =
        items.iter().filter_map(|item| parse(kind, item).map_err(|error| nameless(&error, String::new())).ok());
    let token = Some(text(&document["metadata"]["continue"])).filter(|token| !token.is_empty());
    Ok(Page { objects: parsed.collect(), version, token })
}

fn watch_line(kind: Kind, line: &[u8]) -> Result<Value, Interruption> {
    // Objects and bookmarks have the same fields; an error's object is a Status.
    let Keep::Fields(fields) = keep(kind) else { unreachable!("invariant: every kind is kept by its fields") };
    let mut object = vec![("code", Keep::All), ("message", Keep::All)];
    object.extend(fields);
    let fields = [("type", Keep::All), ("object", Keep::Fields(&object))];
    Keep::Fields(&fields).read(line).map_err(|error| Interruption::Garbage(error.to_string()))
}

fn error(status: &Value) -> Interruption {
    let message = text(&status["message"]);
    match status["code"].as_u64().and_then(|code| u16::try_from(code).ok()) {
        Some(410) => Interruption::Gone(message),
        code => Interruption::Refused { code: code.unwrap_or(500), message, retry_after: None },
    }
}

fn nameless(error: &Nameless, version: String) -> Line {
    warn!(%error, "object left out");
    Line::Nameless { version }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(document: &Value) -> Result<Line, Interruption> {
        line(Kind::Service, document.to_string().as_bytes())
    }

    #[test]
    fn a_line_is_read_whatever_the_order_of_its_fields() {
        let text = br#"{"object": {"metadata": {"resourceVersion": "7", "name": "a"}, "spec": {}}, "type": "ADDED"}"#;
        assert!(matches!(line(Kind::Service, text), Ok(Line::Put { version, .. }) if version == "7"));
    }

    #[test]
    fn errors_and_what_is_no_event_interrupt_the_watch() {
        let status =
            |code: u16| json!({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "too old"}});
        assert!(matches!(read(&status(410)), Err(Interruption::Gone(message)) if message == "too old"));
        assert!(matches!(read(&status(500)), Err(Interruption::Refused { code: 500, .. })));
        for document in [json!({}), json!({"type": "HELLO"}), json!([]), json!(null)] {
            assert!(matches!(read(&document), Err(Interruption::Garbage(_))), "{document}");
        }
        let nameless = json!({"type": "ADDED", "object": {"metadata": {"resourceVersion": "8"}}});
        assert!(matches!(read(&nameless), Ok(Line::Nameless { version }) if version == "8"));
    }

    #[test]
    fn a_page_without_a_version_is_no_page() {
        for document in [json!({}), json!({"items": []}), json!({"metadata": {"resourceVersion": "1"}}), json!([])] {
            assert!(page(Kind::Service, document.to_string().as_bytes()).is_err(), "{document}");
        }
        let good = json!({"metadata": {"resourceVersion": "1", "continue": ""}, "items": [{"metadata": {}}]});
        let page = page(Kind::Service, good.to_string().as_bytes()).unwrap();
        assert_eq!((page.objects.len(), page.token), (0, None), "an object without a name is left out");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "[{}\\[\\]\",:a-z0-9]{0,60}") {
            for kind in Kind::ALL {
                let _ = (line(kind, &bytes), page(kind, &bytes), line(kind, text.as_bytes()));
            }
        }
    }
}
