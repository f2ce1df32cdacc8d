//! The parameters of list and watch requests, and continue tokens.
use crate::object::Key;
use crate::refusal::Refusal;
use crate::selector::Selector;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// What a list or watch asks.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) selector: Selector,
    pub(crate) watch: bool,
    /// `None` when unset, which asks for the newest.
    pub(crate) version: Option<u64>,
    pub(crate) version_match: String,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limit: usize,
    pub(crate) token: Option<Token>,
}

/// Where a paged list goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    /// `None`: at whatever version is current, which may not be what the first pages showed.
    pub(crate) version: Option<u64>,
    pub(crate) after: Key,
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let given: HashMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let text = |name: &str| given.get(name).map(String::as_str).unwrap_or_default();
        let flag = |name: &str| given.get(name).map(|value| matches!(value.as_str(), "1" | "true" | "True" | ""));
        let limit = number(text("limit"))?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        Ok(Self {
            selector: Selector::parse(text("labelSelector"), text("fieldSelector")).map_err(Refusal::bad_request)?,
            watch: flag("watch").unwrap_or(false),
            version: number(text("resourceVersion"))?,
            version_match: text("resourceVersionMatch").to_owned(),
            send_initial_events: flag("sendInitialEvents"),
            bookmarks: flag("allowWatchBookmarks").unwrap_or(false),
            timeout: number(text("timeoutSeconds"))?.map(Duration::from_secs),
            limit: limit.unwrap_or(usize::MAX),
            token: Some(text("continue")).filter(|token| !token.is_empty()).map(Token::decode).transpose()?,
        })
    }
}

fn number(text: &str) -> Result<Option<u64>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Refusal::bad_request(format!("Invalid value: {text:?}: must be a number")))
}

impl Token {
    /// As etcd's store writes it: the version, and the key after which to go on.
    pub(crate) fn encode(&self) -> String {
        let version = self.version.map_or(json!(-1), Value::from);
        let start = format!("{}/{}\0", self.after.0, self.after.1);
        URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": start}).to_string())
    }

    fn decode(text: &str) -> Result<Self, Refusal> {
        let invalid = || Refusal::bad_request("invalid continue token: continue key is not valid");
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let token: Value = serde_json::from_slice(&json).map_err(|_| invalid())?;
        let start = token["start"].as_str().and_then(|start| start.strip_suffix('\0')).ok_or_else(invalid)?;
        let (namespace, name) = start.split_once('/').ok_or_else(invalid)?;
        Ok(Self { version: token["rv"].as_u64(), after: (namespace.to_owned(), name.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continue_token_reads_back_and_garbage_is_a_bad_request() {
        for version in [None, Some(89)] {
            let token = Token { version, after: ("shop".to_owned(), "web".to_owned()) };
            assert_eq!(Token::decode(&token.encode()), Ok(token));
        }
        for text in ["garbage", "", "e30", "eyJzdGFydCI6IngifQ"] {
            assert_eq!(Token::decode(text).map_err(|refusal| refusal.code), Err(400), "{text:?}");
        }
    }
}
