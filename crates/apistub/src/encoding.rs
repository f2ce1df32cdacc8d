//! How answers are written, and how a client asks for it.
use crate::api::Switches;
use crate::protobuf;
use crate::refusal::Refusal;
use crate::schema;
use bytes::BytesMut;
use hyper::header::{ACCEPT, HeaderMap};
use serde_json::Value;

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    /// The first media type of `Accept` that a kind is served in; JSON where nothing is asked for.
    pub(crate) fn asked(headers: &HeaderMap, switches: &Switches, kind: &str) -> Result<Self, Refusal> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        let served = |media: &str| match media.split(';').next().unwrap_or_default().trim() {
            "application/vnd.kubernetes.protobuf" if switches.protobuf => schema::of_kind(kind).map(|_| Self::Protobuf),
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        };
        accept.split(',').find_map(served).ok_or_else(|| {
            let message =
                "only the following media types are accepted: application/json, application/vnd.kubernetes.protobuf";
            Refusal::new(406, "NotAcceptable", message)
        })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Of a watch.
    pub(crate) fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// A document of a kind, whole.
    pub(crate) fn document(self, (api_version, kind): (&str, &str), document: &Value) -> Vec<u8> {
        match (self, schema::of_kind(kind)) {
            (Self::Protobuf, Some(fields)) => {
                protobuf::wrapped((api_version, kind), &protobuf::message(fields, document))
            }
            _ => document.to_string().into_bytes(),
        }
    }

    /// The `Status` of a refusal.
    pub(crate) fn refusal(self, refusal: &Refusal) -> Vec<u8> {
        self.document(("v1", "Status"), &refusal.status())
    }
}

/// A document, or a list of some, as the API server sends it in protobuf, in its envelope. `None` for kinds that have no protobuf here.
#[must_use]
pub fn to_protobuf(document: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let (kind, items) = (text("kind"), document["items"].as_array());
    let fields = schema::of_kind(items.map_or(Some(kind), |_| kind.strip_suffix("List"))?)?;
    let message = match items {
        None => protobuf::message(fields, document),
        Some(items) => {
            let items: Vec<_> = items.iter().map(|item| protobuf::message(fields, item)).collect();
            protobuf::list(&document["metadata"], items.iter().map(|item| &item[..]))
        }
    };
    Some(protobuf::wrapped((text("apiVersion"), kind), &message))
}

/// An event of a watch as the API server sends it in protobuf, its length before it.
#[must_use]
pub fn to_protobuf_event(of_type: &str, document: &Value) -> Option<Vec<u8>> {
    let mut frame = BytesMut::new();
    protobuf::event(of_type, &to_protobuf(document)?, &mut frame);
    Some(frame.into())
}
