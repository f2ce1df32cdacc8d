//! What is asked of the loop.
use crate::explain::{Answer, BadQuestion, Question};
use crate::status::{AgentStatus, DiagnosticStatus, ServiceQuestion, ServiceStatus};
use serde::{Deserialize, Serialize};
use sheave_bpf::flow_counts::{Meter, ServiceId};
use sheave_core::ServiceName;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// One request, and where its answer goes. Who asked may be gone when the answer is there.
#[derive(Debug)]
pub enum Request {
    /// The agent as a whole.
    Status(oneshot::Sender<AgentStatus>),
    /// One Service, now or when it is programmed.
    Service(ServiceQuestion, oneshot::Sender<ServiceStatus>),
    /// The Service ports that ids are of, as text; `None` for one that is nobody's any more.
    Names(Vec<ServiceId>, oneshot::Sender<Vec<Option<String>>>),
    /// Where the flows of a Service are counted.
    Meters(ServiceName, oneshot::Sender<Vec<Meter>>),
    /// What happens to a packet.
    Explain(PacketQuestion, oneshot::Sender<Result<ExplainReply, BadQuestion>>),
}

/// The loop answers between two syncs; it is stuck when that takes this long.
const LOOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The way to the loop, for who has a question.
#[derive(Clone, Debug)]
pub(super) struct Loop(pub(super) mpsc::Sender<Request>);

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("too many requests wait for the agent; ask again")]
    Crowded,
    #[error("the agent is about to end")]
    Ending,
    #[error("the agent is busy writing to the kernel; ask again")]
    Busy,
}

impl Loop {
    pub(super) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Unanswered> {
        self.ask_within(LOOP_TIMEOUT, request).await
    }

    /// The same, of what may take so long.
    pub(super) async fn ask_within<T>(
        &self,
        limit: Duration,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(request(reply)).map_err(|_| Unanswered::Crowded)?;
        timeout(limit, answer).await.map_err(|_| Unanswered::Busy)?.map_err(|_| Unanswered::Ending)
    }
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
    /// Whether to send the objects on which the answer rests as well.
    #[serde(default)]
    pub objects: bool,
}

/// What the loop is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketQuestion {
    /// The packet.
    pub question: Question,
    /// Whether the objects are wanted.
    pub objects: bool,
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
    /// What the answer rests on, if it was asked for.
    pub evidence: Option<Evidence>,
}

/// All that decides a packet: whoever reads these documents comes to the same answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The node that sees the packet.
    pub node: String,
    /// Its addresses, those of its Node object among them.
    pub addresses: Vec<IpAddr>,
    /// The settings, as documents of the configuration.
    pub config: Vec<serde_json::Value>,
    /// The Node, the ServiceCIDRs, and each Service that the packet's destination could be of, with its slices.
    pub objects: Vec<serde_json::Value>,
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
    pub fn question(body: &[u8]) -> Result<PacketQuestion, BadExplain> {
        let Self { from, to, in_interface, objects } = serde_json::from_slice(body)?;
        Ok(PacketQuestion { question: Question::parse(&from, &to, in_interface.as_deref())?, objects })
    }
}
