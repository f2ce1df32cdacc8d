//! The other end of the admin socket: what `sheave status` and `sheave explain` ask.
use super::request::{ExplainReply, ExplainRequest};
use crate::status::{AgentStatus, FlowsStatus, ServiceStatus};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The agent answers between two syncs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// No answer is longer: diagnostics and names are told by the thousand at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The agent was not asked, or gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no agent answers at {path} ({source}); is it running on this node? Its socket is `adminSocket` of its configuration"
    )]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is not for this user.
    #[error("the admin socket {0} is for root only")]
    Permission(PathBuf),
    /// The agent went away, or does not speak as it should.
    #[error("the agent at {path} gave no answer: {reason}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The agent says no.
    #[error("{reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
}

/// The agent as a whole.
///
/// # Errors
/// [`ClientError`]
pub async fn status(socket: &Path) -> Result<AgentStatus, ClientError> {
    ask(socket, Method::GET, "/v1/status", Bytes::new(), ANSWER_TIMEOUT).await
}

/// The `top` Service ports with most new flows and refusals within a time from now on, in whole seconds and at most 60 of them.
///
/// # Errors
/// [`ClientError`]
pub async fn flows(socket: &Path, top: usize, time: Duration) -> Result<FlowsStatus, ClientError> {
    let path = format!("/v1/flows?seconds={}&top={top}", time.as_secs());
    ask(socket, Method::GET, &path, Bytes::new(), ANSWER_TIMEOUT + time).await
}

/// One Service (`NAMESPACE/NAME`). With `wait` the answer comes when it is programmed, or after that time as it is then;
/// `version` is the one that has to be programmed, 0 for the one the agent saw last.
///
/// # Errors
/// [`ClientError`]
pub async fn service(
    socket: &Path,
    service: &str,
    wait: Option<Duration>,
    version: u64,
) -> Result<ServiceStatus, ClientError> {
    let wait_s = wait.map(|wait| format!("wait={}&", wait.as_secs())).unwrap_or_default();
    let path = format!("/v1/services/{service}?{wait_s}resourceVersion={version}");
    ask(socket, Method::GET, &path, Bytes::new(), ANSWER_TIMEOUT + wait.unwrap_or_default()).await
}

/// What happens to a packet.
///
/// # Errors
/// [`ClientError`]
pub async fn explain(socket: &Path, request: &ExplainRequest) -> Result<ExplainReply, ClientError> {
    let body = serde_json::to_vec(request).map_err(|error| broken(socket, &error))?;
    ask(socket, Method::POST, "/v1/explain", body.into(), ANSWER_TIMEOUT).await
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
    patience: Duration,
) -> Result<T, ClientError> {
    let answered = timeout(patience, exchange(socket, method, path, body)).await;
    let (code, body) = answered.map_err(|_| broken(socket, &format!("not within {} s", patience.as_secs())))??;
    if code == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|error| broken(socket, &error));
    }
    let refusal: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = refusal["error"].as_str().map_or_else(|| format!("the agent answered {code}"), str::to_owned);
    Err(ClientError::Refused { reason })
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Permission(socket.to_owned()),
        _ => ClientError::NoAgent { path: socket.to_owned(), source },
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(socket, &error))?;
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "sheave");
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body));
    let request = request.map_err(|error| broken(socket, &error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(socket, &error))?;
    let code = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    connection.abort();
    Ok((code, body.map_err(|error| broken(socket, &error))?.to_bytes()))
}

fn broken(socket: &Path, reason: &impl ToString) -> ClientError {
    ClientError::Broken { path: socket.to_owned(), reason: reason.to_string() }
}
