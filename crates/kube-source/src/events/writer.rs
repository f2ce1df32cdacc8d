//! Writes Events, one request at a time.
use super::budget::{Budget, EventPace};
use super::document::{count_of, counted, created};
use super::series::{Book, Due, Outcome, Standing};
use super::{Tally, Told, Witness};
use crate::ApiClient;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// How much of an answer is read: an Event is at most a few KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What a server asks for beyond this is not waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// Carries out what a [`Recorder`](super::Recorder) notes.
#[derive(Debug)]
pub struct Writer {
    node: String,
    pace: EventPace,
    told: Receiver<Told>,
    tally: Arc<Tally>,
    book: Book,
    /// Whether the refusal in force was told.
    refusal_told: bool,
}

/// An answer: its code, the wait it asks for, and its document.
struct Answer {
    code: u16,
    retry_after: Duration,
    document: Value,
}

impl Writer {
    pub(super) fn new(node: &str, pace: EventPace, told: Receiver<Told>, tally: Arc<Tally>) -> Self {
        Self { node: node.to_owned(), pace, told, tally, book: Book::default(), refusal_told: false }
    }

    /// Runs until every recorder is gone.
    pub async fn run(mut self, client: ApiClient) {
        let mut budget = Budget::new(&self.pace, Instant::now());
        loop {
            let wake = self.book.next_due().map(|due| budget.ready_at(Instant::now()).max(due));
            tokio::select! {
                told = self.told.recv() => {
                    let Some(told) = told else { return };
                    if !self.book.take(told, &self.node, &self.pace, Instant::now()) {
                        self.tally.drop_one();
                    }
                }
                () = until(wake) => {
                    let Some(due) = self.book.due(Instant::now()) else { continue };
                    budget.take(Instant::now());
                    let outcome = self.write(&client, &due).await;
                    self.settle(&due, outcome);
                }
            }
        }
    }

    fn settle(&mut self, due: &Due, outcome: Outcome) {
        match outcome {
            Outcome::Written(_) => self.refusal_told = false,
            Outcome::Gone | Outcome::Later(_) | Outcome::Refused => {}
        }
        if !self.book.settle(due, outcome, &self.pace, Instant::now()) {
            self.tally.drop_one();
        }
    }

    /// Creates the Event, or counts on.
    async fn write(&mut self, client: &ApiClient, due: &Due) -> Outcome {
        match due.standing {
            Standing::Ours | Standing::Others => self.count_on(client, due).await,
            Standing::New => {
                let event = created(&due.note, &due.place, &self.node, Timestamp::now());
                match self.ask(client, Method::POST, &due.place.collection(), &event).await {
                    Ok(Answer { code: 409, .. }) => self.found(client, due).await,
                    answer => self.outcome(answer, Standing::Ours),
                }
            }
        }
    }

    /// The Event is there already: a node counts on its own of before, and leaves those of all to whoever wrote them.
    async fn found(&mut self, client: &ApiClient, due: &Due) -> Outcome {
        match due.note.witness {
            Witness::Cluster => Outcome::Written(Standing::Others),
            Witness::Node => self.count_on(client, due).await,
        }
    }

    /// An empty patch tells the count, with no more rights than the patch that follows needs.
    async fn count_on(&mut self, client: &ApiClient, due: &Due) -> Outcome {
        let path = due.place.path();
        let count = match self.ask(client, Method::PATCH, &path, &json!({})).await {
            Ok(Answer { code: 200, document, .. }) => count_of(&document),
            Ok(Answer { code: 404, .. }) => return Outcome::Gone,
            answer => return self.outcome(answer, Standing::Ours),
        };
        let patch = counted(count.saturating_add(due.observed), Timestamp::now());
        let answer = self.ask(client, Method::PATCH, &path, &patch).await;
        self.outcome(answer, Standing::Ours)
    }

    fn outcome(&mut self, answer: Result<Answer, String>, standing: Standing) -> Outcome {
        match answer {
            Ok(Answer { code: 200..=299, .. }) => {
                self.tally.write_one();
                Outcome::Written(standing)
            }
            Ok(Answer { code: 404, .. }) => Outcome::Gone,
            Ok(Answer { code: 429 | 500..=599, retry_after, .. }) => Outcome::Later(retry_after),
            Ok(Answer { code, document, .. }) => {
                self.tell_refusal(code, document["message"].as_str().unwrap_or("no reason given"));
                Outcome::Refused
            }
            Err(error) => {
                debug!(error, "an Event could not be sent");
                Outcome::Later(Duration::ZERO)
            }
        }
    }

    /// Once, until something is written again.
    fn tell_refusal(&mut self, code: u16, message: &str) {
        if !std::mem::replace(&mut self.refusal_told, true) {
            warn!(
                code,
                message,
                "the API server refuses Events; service goes on without them. The agent's role needs create and patch on \
                 events.events.k8s.io"
            );
        }
    }

    async fn ask(&self, client: &ApiClient, method: Method, uri: &str, body: &Value) -> Result<Answer, String> {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(uri).header(CONTENT_TYPE, media);
        let request = request.body(Body::from(body.to_string().into_bytes())).map_err(|error| error.to_string())?;
        let answer = timeout(self.pace.answer_timeout, async {
            let response = client.send(request).await.map_err(|error| error.to_string())?;
            read(response).await
        });
        answer.await.map_err(|_| "no answer in time".to_owned())?
    }
}

async fn read(response: Response<Body>) -> Result<Answer, String> {
    let code = response.status().as_u16();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body =
        Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    let document = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    Ok(Answer { code, retry_after: Duration::from_secs(wait.unwrap_or(0)).min(RETRY_AFTER_MAX), document })
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
