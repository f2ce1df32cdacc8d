//! JSON or protobuf: what is asked for, what an answer is, and how a document is taken out of it.
use super::interruption::Interruption;
use crate::parse::fields;
use crate::raw::Raw;
use crate::shape::{Field, Shape, field};
use crate::wire::{self, Malformed};
use sheave_core::Kind;
use std::borrow::Cow;

/// How an answer is written. Each answer says so itself, whatever was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Json,
    Protobuf,
}

/// Numbers: apimachinery, meta/v1/generated.proto.
const STATUS: [Field<'static>; 2] = [field(3, "message", Shape::Text), field(6, "code", Shape::Number)];
const LIST_METADATA: Shape<'static> =
    Shape::Map(&[field(2, "resourceVersion", Shape::Text), field(3, "continue", Shape::Text)]);

impl Encoding {
    /// Of a `Content-Type`; `None` for anything else.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Self::Json),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }

    /// The `Accept` of a request that would best be answered like this. JSON is taken always, as by client-go.
    pub(super) fn accept(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf, application/json",
        }
    }

    /// What to ask for when this could not be read.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Json => Self::Protobuf,
            Self::Protobuf => Self::Json,
        }
    }

    /// An event of a watch: `type` and `object`.
    pub(super) fn event(self, kind: Kind, frame: &[u8]) -> Result<Raw<'_>, Interruption> {
        match self {
            Self::Json => {
                // Objects and bookmarks have the same fields; an error's object is a Status. Which it is may come last.
                let object = [fields(kind), &STATUS].concat();
                let event = [field(1, "type", Shape::Text), field(2, "object", Shape::Map(&object))];
                Shape::Map(&event).read_json(frame).map_err(|error| Interruption::Garbage(error.to_string()))
            }
            Self::Protobuf => protobuf_event(kind, frame).map_err(|error| Interruption::Garbage(error.to_string())),
        }
    }

    /// A list, or a page of one: `metadata` and `items`.
    pub(super) fn list(self, kind: Kind, body: &[u8]) -> Result<Raw<'_>, Interruption> {
        let item = Shape::Map(fields(kind));
        self.document(&[field(1, "metadata", LIST_METADATA), field(2, "items", Shape::List(&item))], body)
    }

    /// A Status: `message` and `code`.
    pub(super) fn status(self, body: &[u8]) -> Result<Raw<'_>, Interruption> {
        self.document(&STATUS, body)
    }

    fn document<'a>(self, fields: &[Field<'_>], body: &'a [u8]) -> Result<Raw<'a>, Interruption> {
        let read = match self {
            Self::Json => Shape::Map(fields).read_json(body).map_err(|error| error.to_string()),
            Self::Protobuf => wire::unwrapped(body)
                .and_then(|object| wire::read(fields, object))
                .map_err(|error: Malformed| error.to_string()),
        };
        read.map_err(Interruption::Garbage)
    }
}

fn protobuf_event(kind: Kind, frame: &[u8]) -> Result<Raw<'_>, Malformed> {
    let (of_type, object) = wire::watch_event(frame)?;
    let fields = if of_type == "ERROR" { &STATUS } else { fields(kind) };
    let object = wire::read(fields, wire::unwrapped(object)?)?;
    Ok(Raw::Map(vec![(Cow::Borrowed("type"), Raw::Text(of_type)), (Cow::Borrowed("object"), object)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_says_how_it_is_written() {
        for (content_type, want) in [
            ("application/json", Some(Encoding::Json)),
            ("application/json; charset=utf-8", Some(Encoding::Json)),
            ("application/vnd.kubernetes.protobuf", Some(Encoding::Protobuf)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Some(Encoding::Protobuf)),
            ("text/html", None),
            ("", None),
        ] {
            assert_eq!(Encoding::of(content_type), want, "{content_type:?}");
        }
    }
}
