//! Why a list or watch ended before its time. Nothing is reported then: what was reported stays in force (I4).
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server answered with an error.
    #[error("the server answered {code}: {message}")]
    Refused { code: u16, message: String, retry_after: Option<Duration> },
    /// 410: our version is too old.
    #[error("the version {0:?} is too old for the server (410); listing anew")]
    Gone(String),
    /// Nothing came for too long.
    #[error("the server sent nothing for {0:?}; its watch or list has stalled")]
    Stalled(Duration),
    /// Neither JSON nor protobuf by its own account.
    #[error(
        "the server answered with {0:?}, neither application/json nor application/vnd.kubernetes.protobuf; is this an API server?"
    )]
    ContentType(String),
    /// Not what an API server sends.
    #[error("the server sent what cannot be read: {0}")]
    Garbage(String),
    /// The stream ended where the list had not.
    #[error("the server ended the list before it was complete")]
    Incomplete,
    /// An object or page beyond all reason (I7).
    #[error("the server sent an object or a page of more than the {0} bytes that are taken")]
    TooLong(usize),
    /// A list beyond all reason (I7).
    #[error("the server's list has more than the {0} objects that are taken")]
    TooMany(usize),
    /// Pages that lead nowhere (I7).
    #[error("the server's list did not end: after {0} pages there was another one, or the same again")]
    Endless(usize),
    /// The server ends watches as soon as they begin.
    #[error("the server ended the watch after {0:?}")]
    TooShort(Duration),
    /// Nobody listens to us any more.
    #[error("nobody listens any more")]
    Unheard,
}

impl Interruption {
    /// Whether a change may have been lost, so that going on from the last version would not find it.
    pub(super) fn loses_events(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Garbage(_) | Self::TooLong(_))
    }

    /// Whether another encoding may help: the server, or what stands before it, does not speak this one.
    pub(super) fn is_of_encoding(&self) -> bool {
        matches!(self, Self::Garbage(_) | Self::Refused { code: 406 | 415, .. })
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}
