//! Refusals, as the API server words them.
use crate::resource::Resource;
use serde_json::{Value, json};
use std::time::Duration;

/// Why a request is refused: the `Status` object of the answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code} {reason}: {message}")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, `NotFound`.
    pub reason: &'static str,
    /// What the API server would say.
    pub message: String,
    pub(crate) details: Option<Value>,
    pub(crate) continue_with: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, reason, message, details: None, continue_with: None, retry_after: None }
    }

    fn about(mut self, resource: &Resource, name: &str, what: &str) -> Self {
        let mut details = json!({"name": name, "kind": what});
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        self.details = Some(details);
        self
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.full_name());
        Self::new(404, "NotFound", message).about(resource, name, resource.plural)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.full_name());
        Self::new(409, "AlreadyExists", message).about(resource, name, resource.plural)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your changes to the latest version and try again",
            resource.full_name()
        );
        Self::new(409, "Conflict", message).about(resource, name, resource.plural)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[(String, String)]) -> Self {
        let list = causes.iter().map(|(field, message)| format!("{field}: {message}")).collect::<Vec<_>>().join(", ");
        let list = if causes.len() > 1 { format!("[{list}]") } else { list };
        let message = format!("{} {name:?} is invalid: {list}", resource.kind);
        let mut refusal = Self::new(422, "Invalid", message).about(resource, name, resource.kind);
        let cause = |(field, message): &(String, String)| json!({"reason": "FieldValueInvalid", "message": message, "field": field});
        if let Some(details) = &mut refusal.details {
            details["causes"] = causes.iter().map(cause).collect();
        }
        refusal
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.continue_with {
            metadata["continue"] = token.as_str().into();
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}
