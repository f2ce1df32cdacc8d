//! What is asked of the loop.
use crate::explain::{Answer, BadQuestion, Question};
use crate::status::{AgentStatus, DiagnosticStatus, ServiceQuestion, ServiceStatus};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// One request, and where its answer goes. Who asked may be gone when the answer is there.
#[derive(Debug)]
pub enum Request {
    /// The agent as a whole.
    Status(oneshot::Sender<AgentStatus>),
    /// One Service, now or when it is programmed.
    Service(ServiceQuestion, oneshot::Sender<ServiceStatus>),
    /// What happens to a packet.
    Explain(Question, oneshot::Sender<Result<ExplainReply, BadQuestion>>),
}

/// `POST /v1/explain`: a packet, in the words of `sheave explain`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// `--from`
    pub from: String,
    /// `--to`
    pub to: String,
    /// `--in-interface`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_interface: Option<String>,
}

/// What happens to the packet, as the agent sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainReply {
    /// The contract of `sheave explain -o json`.
    pub answer: Answer,
    /// The answer for a reader.
    pub text: String,
    /// What is wrong with the Service it is about.
    pub diagnostics: Vec<DiagnosticStatus>,
    /// What else the reader has to know.
    pub notes: Vec<String>,
}

/// An explain request that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadExplain {
    /// No such document.
    #[error("the body is no explain request, {{\"from\":\"IP\",\"to\":\"DESTINATION\"}}: {0}")]
    Json(#[from] serde_json::Error),
    /// No such packet.
    #[error(transparent)]
    Question(#[from] BadQuestion),
}

impl ExplainRequest {
    /// Reads a request's body.
    ///
    /// # Errors
    /// [`BadExplain`] names what cannot be read.
    pub fn question(body: &[u8]) -> Result<Question, BadExplain> {
        let Self { from, to, in_interface } = serde_json::from_slice(body)?;
        Ok(Question::parse(&from, &to, in_interface.as_deref())?)
    }
}
