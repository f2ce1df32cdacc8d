//! What is answered at the admin socket. Who finds every connection taken waits; one request a connection.
use super::flows::Flows;
use super::request::{ExplainRequest, Loop, Request};
use super::route::{FlowsQuestion, Route, route};
use crate::http::{self, JSON, Reply};
use crate::metrics::ReadCounters;
use crate::status::{AgentStatus, FlowsStatus, ServiceQuestion, ServiceStatus, When};
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use sheave_bpf::flow_counts::FlowCounts;
use sheave_core::ServiceName;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// Connections at a time; others wait in the kernel's queue until one ends.
const CONNECTIONS_MAX: usize = 32;
/// A request has to be here this soon.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's body: addresses and names.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What answers.
#[derive(Clone)]
pub(super) struct Handler {
    requests: Loop,
    counters: ReadCounters,
    flows: Option<Flows>,
}

/// Serves until it is dropped, which closes the listener and its connections.
pub(super) async fn serve(listener: UnixListener, handler: Handler) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("invariant: the semaphore is never closed");
        let (stream, _) = http::taken(|| listener.accept()).await;
        let handler = handler.clone();
        connections.spawn(async move {
            converse(stream, handler).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: UnixStream, handler: Handler) {
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.answer(request).await.into_response()) }
    });
    let mut builder = http::builder(REQUEST_TIMEOUT);
    // Who keeps a connection open without asking holds no place.
    builder.keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "a connection to the admin socket ended early");
    }
}

impl Handler {
    pub(super) fn new(requests: Loop, counters: ReadCounters, flows: Option<Arc<Mutex<FlowCounts>>>) -> Self {
        let flows = flows.map(|counts| Flows { requests: requests.clone(), counts });
        Self { requests, counters, flows }
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Reply {
        match route(request.method(), request.uri()) {
            Err(bad) => refusal(bad.code(), &bad.to_string()),
            Ok(Route::Status) => self.status().await,
            Ok(Route::Service(question, wait)) => self.service(question, wait).await,
            Ok(Route::Flows(question)) => json(&self.flows(question).await),
            Ok(Route::Explain) => self.explain(request.into_body()).await,
        }
    }

    async fn status(&self) -> Reply {
        let status = match self.ask(Request::Status).await {
            Ok(status) => status,
            Err(busy) => return busy,
        };
        let counters = (self.counters)().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let flows = self.flows(FlowsQuestion::default()).await;
        json(&AgentStatus { counters, flows, ..status })
    }

    async fn flows(&self, FlowsQuestion { top, time }: FlowsQuestion) -> FlowsStatus {
        match &self.flows {
            Some(flows) => flows.busiest(top, time).await,
            None => FlowsStatus::default(),
        }
    }

    async fn service(&self, question: ServiceQuestion, wait: Duration) -> Reply {
        if question.when == When::Programmed
            && let Some(status) = self.programmed(&question, wait).await
        {
            return json(&self.with_flows(question.service, status).await);
        }
        let now = ServiceQuestion { when: When::Now, ..question.clone() };
        match self.ask(|reply| Request::Service(now, reply)).await {
            Ok(status) => json(&self.with_flows(question.service, status).await),
            Err(busy) => busy,
        }
    }

    async fn with_flows(&self, service: ServiceName, mut status: ServiceStatus) -> ServiceStatus {
        if let Some(flows) = &self.flows {
            flows.add_to(service, &mut status).await;
        }
        status
    }

    /// `None` when it is not programmed in time.
    async fn programmed(&self, question: &ServiceQuestion, wait: Duration) -> Option<ServiceStatus> {
        self.requests.ask_within(wait, |reply| Request::Service(question.clone(), reply)).await.ok()
    }

    async fn explain(&self, body: Incoming) -> Reply {
        let body = match timeout(REQUEST_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body cannot be read: {error}"));
            }
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
        };
        let question = match ExplainRequest::question(&body) {
            Ok(question) => question,
            Err(bad) => return refusal(StatusCode::BAD_REQUEST, &bad.to_string()),
        };
        match self.ask(|reply| Request::Explain(question, reply)).await {
            Ok(Ok(explained)) => json(&explained),
            Ok(Err(bad)) => refusal(StatusCode::BAD_REQUEST, &bad.to_string()),
            Err(busy) => busy,
        }
    }

    /// Asks the loop.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Reply> {
        let asked = self.requests.ask(request).await;
        asked.map_err(|why| refusal(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()))
    }
}

fn json(document: &impl Serialize) -> Reply {
    match serde_json::to_vec(document) {
        Ok(body) => Reply::new(StatusCode::OK, JSON, body),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refusal(code: StatusCode, error: &str) -> Reply {
    Reply::new(code, JSON, serde_json::json!({ "error": error }).to_string())
}
