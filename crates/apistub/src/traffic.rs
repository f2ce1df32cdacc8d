//! What clients asked.
use std::collections::VecDeque;

const REQUESTS_MAX: usize = 10_000;

/// What a request asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verb {
    /// A list, or a page of one.
    List,
    /// A watch from a version.
    Watch,
    /// A watch that begins with a list (`sendInitialEvents`).
    WatchList,
    /// One object.
    Get,
    /// POST.
    Create,
    /// PUT or PATCH.
    Update,
    /// DELETE.
    Delete,
    /// Discovery, version, health, and what is not served.
    Other,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What it asked for.
    pub verb: Verb,
    /// The kind, empty for [`Verb::Other`].
    pub kind: &'static str,
    /// Path and query, as sent.
    pub uri: String,
    /// The client's name for itself.
    pub user_agent: String,
}

#[derive(Default, Debug)]
pub(crate) struct Traffic {
    requests: VecDeque<Request>,
}

impl Traffic {
    pub(crate) fn note(&mut self, request: Request) {
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.iter().cloned().collect()
    }
}
