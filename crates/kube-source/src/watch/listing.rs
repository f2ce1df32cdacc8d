//! From what the server sends to events: lists, pages and events of a watch.
use super::encoding::Encoding;
use super::interruption::Interruption;
use crate::parse::{INITIAL_EVENTS_END, Nameless, Outcome, Parsed, object_ref, read};
use crate::raw::Raw;
use crate::said::Said;
use sheave_core::{Event, Kind, ObjectName};
use std::collections::BTreeMap;
use tracing::warn;

/// The objects of a kind that are taken (I7): a hundred times what the largest clusters have.
pub(super) const OBJECTS_MAX: usize = 1_000_000;

/// An event of a watch.
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
    /// How much came for it: a stream that repeats itself has no more objects for that, and no end.
    came: usize,
}

impl Listing {
    /// Something came that adds nothing.
    pub(super) fn pass(&mut self) -> Result<(), Interruption> {
        self.came += 1;
        if self.came > OBJECTS_MAX { Err(Interruption::TooMany(OBJECTS_MAX)) } else { Ok(()) }
    }

    pub(super) fn put(&mut self, parsed: Parsed) -> Result<(), Interruption> {
        self.objects.insert(parsed.name.clone(), parsed);
        self.pass()
    }

    pub(super) fn remove(&mut self, name: &ObjectName) -> Result<(), Interruption> {
        self.objects.remove(name);
        self.pass()
    }

    /// The list is complete.
    pub(super) fn into_events(self, kind: Kind, said: &mut Said) -> Vec<Event> {
        let (mut objects, mut kept, mut diagnostics) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = Vec::new();
        for (name, parsed) in self.objects {
            match parsed.outcome {
                Outcome::Object(object) => {
                    objects.push(object);
                    seen.push(Event::Seen { object: name, stamp: parsed.stamp });
                }
                Outcome::Unreadable => kept.push(name),
                Outcome::Absent(_) => {}
            }
            diagnostics.extend(parsed.diagnostics);
        }
        let mut events = vec![Event::Listed { kind, objects, kept }];
        events.append(&mut seen);
        events.extend(said.say_all(diagnostics));
        events
    }
}

/// The events of one changed object.
pub(super) fn put(parsed: Parsed, said: &mut Said) -> impl Iterator<Item = Event> {
    let object = object_ref(&parsed.name);
    let events = match parsed.outcome {
        Outcome::Object(object) => {
            [Some(Event::Applied(object)), Some(Event::Seen { object: parsed.name, stamp: parsed.stamp })]
        }
        Outcome::Absent(_) => [Some(Event::Deleted(parsed.name)), None],
        Outcome::Unreadable => [None, None],
    };
    events.into_iter().flatten().chain(said.say(object, parsed.diagnostics))
}

/// The events of one deleted object.
pub(super) fn gone(name: ObjectName, said: &mut Said) -> impl Iterator<Item = Event> {
    let taken_back = said.say(object_ref(&name), Vec::new());
    [Event::Deleted(name)].into_iter().chain(taken_back)
}

/// Reads an event of a watch.
pub(super) fn line(kind: Kind, encoding: Encoding, frame: &[u8]) -> Result<Line, Interruption> {
    let event = encoding.event(kind, frame)?;
    let object = event.at(&["object"]);
    let version = text(object.at(&["metadata", "resourceVersion"]));
    match event.at(&["type"]).as_text().unwrap_or_default() {
        "ADDED" | "MODIFIED" => Ok(match read(kind, object) {
            Ok(parsed) => Line::Put { parsed: Box::new(parsed), version },
            Err(error) => nameless(&error, version),
        }),
        "DELETED" => Ok(match read(kind, object) {
            Ok(parsed) => Line::Gone { name: parsed.name, version },
            Err(error) => nameless(&error, version),
        }),
        "BOOKMARK" => {
            let end = object.at(&["metadata", "annotations", INITIAL_EVENTS_END]);
            Ok(Line::Bookmark { version, initial_events_end: end.as_text() == Some("true") })
        }
        "ERROR" => Err(error(object)),
        other => Err(Interruption::Garbage(format!("a watch event of type {other:?}"))),
    }
}

/// Reads a page of a list.
pub(super) fn page(kind: Kind, encoding: Encoding, body: &[u8]) -> Result<Page, Interruption> {
    let list = encoding.list(kind, body)?;
    let version = text(list.at(&["metadata", "resourceVersion"]));
    let items = match (list.at(&["items"]), encoding) {
        (Raw::List(items), _) => &items[..],
        // In protobuf an empty list has no items; in JSON something that has none is no list.
        (Raw::Null, Encoding::Protobuf) => &[],
        _ => return Err(Interruption::Garbage("a list without items".to_owned())),
    };
    if version.is_empty() {
        return Err(Interruption::Garbage("a list without resourceVersion".to_owned()));
    }
    let parsed = items.iter().filter_map(|item| read(kind, item).map_err(|error| nameless(&error, String::new())).ok());
    let token = Some(text(list.at(&["metadata", "continue"]))).filter(|token| !token.is_empty());
    Ok(Page { objects: parsed.collect(), version, token })
}

fn error(status: &Raw<'_>) -> Interruption {
    let message = text(status.at(&["message"]));
    match status.at(&["code"]).as_number().and_then(|code| u16::try_from(code).ok()) {
        Some(410) => Interruption::Gone(message),
        code => Interruption::Refused { code: code.unwrap_or(500), message, retry_after: None },
    }
}

fn nameless(error: &Nameless, version: String) -> Line {
    warn!(%error, "object left out");
    Line::Nameless { version }
}

fn text(value: &Raw<'_>) -> String {
    value.as_text().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(document: &Value) -> Result<Line, Interruption> {
        line(Kind::Service, Encoding::Json, document.to_string().as_bytes())
    }

    #[test]
    fn a_line_is_read_whatever_the_order_of_its_fields() {
        let text = br#"{"object": {"metadata": {"resourceVersion": "7", "name": "a"}, "spec": {}}, "type": "ADDED"}"#;
        assert!(matches!(line(Kind::Service, Encoding::Json, text), Ok(Line::Put { version, .. }) if version == "7"));
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
    fn i7_a_list_that_repeats_itself_is_too_long_in_the_end() {
        let object = json!({"metadata": {"resourceVersion": "7", "name": "a"}, "spec": {}});
        let named = || match read(&json!({"type": "ADDED", "object": object})) {
            Ok(Line::Put { parsed, .. }) => *parsed,
            other => panic!("{other:?}"),
        };
        let nearly_full = || Listing { came: OBJECTS_MAX - 1, ..Listing::default() };
        let too_many = |result| matches!(result, Err(Interruption::TooMany(OBJECTS_MAX)));
        let mut repeated = nearly_full();
        assert!(repeated.put(named()).is_ok());
        assert!(too_many(repeated.put(named())), "the same object again");
        let mut gone = nearly_full();
        assert!(gone.put(named()).is_ok());
        assert!(too_many(gone.remove(&named().name)), "it comes and goes");
        let mut empty = nearly_full();
        assert!(empty.pass().is_ok());
        assert!(too_many(empty.pass()), "nothing that has a name");
    }

    #[test]
    fn a_page_without_a_version_is_no_page() {
        for document in [json!({}), json!({"items": []}), json!({"metadata": {"resourceVersion": "1"}}), json!([])] {
            assert!(page(Kind::Service, Encoding::Json, document.to_string().as_bytes()).is_err(), "{document}");
        }
        let good = json!({"metadata": {"resourceVersion": "1", "continue": ""}, "items": [{"metadata": {}}]});
        let page = page(Kind::Service, Encoding::Json, good.to_string().as_bytes()).unwrap();
        assert_eq!((page.objects.len(), page.token), (0, None), "an object without a name is left out");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "[{}\\[\\]\",:a-z0-9]{0,60}") {
            for kind in Kind::ALL {
                for encoding in [Encoding::Json, Encoding::Protobuf] {
                    let _ = (line(kind, encoding, &bytes), page(kind, encoding, &bytes));
                }
                let _ = line(kind, Encoding::Json, text.as_bytes());
            }
        }
    }
}
