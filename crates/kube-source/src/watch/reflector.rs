//! Keeps one kind up to date: lists it, watches it from there, and begins again where it was interrupted.
use super::encoding::Encoding;
use super::interruption::Interruption;
use super::kind::Resource;
use super::listing::{self, Line, Listing};
use super::own_address::served_by;
use super::pause::{Pause, random_up_to, spread};
use super::stream::{Answer, Asked, get};
use crate::said::Said;
use crate::tally::Counts;
use crate::{ApiClient, Pace};
use bytes::Bytes;
use sheave_core::{Event, Kind};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

/// Objects per page, as client-go asks.
const PAGE_OBJECTS: &str = "500";
/// Pages of a list (I7): twice what the largest list that is taken has, for a page may be short.
const PAGES_MAX: usize = 4_000;
/// A watch that the server ends sooner counts as failed, or a server that ends all at once would be asked without a pause.
const WATCH_SHORT: Duration = Duration::from_secs(1);

pub(super) struct Reflector {
    client: ApiClient,
    pace: Pace,
    kind: Kind,
    resource: Resource,
    events: Sender<Vec<Event>>,
    said: Said,
    /// What is asked for; each answer says for itself what it is.
    encoding: Encoding,
    /// The version to go on from; `None` until listed, and when events may have been lost.
    version: Option<String>,
    /// Whether this kind was listed ever.
    listed: bool,
}

impl Reflector {
    pub(super) fn new(client: ApiClient, pace: Pace, kind: Kind, node: &str, events: Sender<Vec<Event>>) -> Self {
        let resource = Resource::of(kind, node);
        let (said, encoding) = (Said::default(), Encoding::Protobuf);
        Self { client, pace, kind, resource, events, said, encoding, version: None, listed: false }
    }

    /// Runs until nobody listens any more.
    pub(super) async fn run(mut self) {
        let events = self.events.clone();
        tokio::select! {
            () = self.follow() => {}
            () = events.closed() => {}
        }
    }

    async fn follow(&mut self) {
        let mut pause = Pause::new(&self.pace);
        sleep(random_up_to(self.pace.start_jitter_max)).await;
        loop {
            let started = Instant::now();
            let interruption = match self.session().await {
                Ok(()) if started.elapsed() >= WATCH_SHORT => {
                    pause.reset();
                    continue;
                }
                Ok(()) => Interruption::TooShort(started.elapsed()),
                Err(Interruption::Unheard) => return,
                Err(interruption) => interruption,
            };
            if started.elapsed() >= self.pace.retry_max {
                pause.reset();
            }
            self.recover(&interruption, &mut pause).await;
        }
    }

    /// One connection: a list where one is due, then a watch, until the server ends it.
    async fn session(&mut self) -> Result<(), Interruption> {
        let seconds = spread(self.pace.watch_min).as_secs().max(1);
        let mut lines = match self.version {
            Some(_) => self.open(seconds).await?,
            None => self.list(seconds).await?,
        };
        self.watch(&mut lines, Duration::from_secs(seconds) + self.pace.answer_timeout).await
    }

    /// A watch from our version; without one, a watch that begins with a list.
    async fn open(&self, seconds: u64) -> Result<Answer, Interruption> {
        let seconds = seconds.to_string();
        let mut parameters =
            vec![("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", seconds.as_str())];
        match &self.version {
            Some(version) => parameters.push(("resourceVersion", version)),
            // No version: as new as etcd (KEP-3157), so that what is listed never goes back in time.
            None => parameters.extend([("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]),
        }
        self.get(Asked::Watch, &self.resource.uri(&parameters)).await
    }

    /// Lists, and returns the watch that goes on from there. Servers without streaming lists refuse them with 400 or 422.
    async fn list(&mut self, seconds: u64) -> Result<Answer, Interruption> {
        match self.open(seconds).await {
            Err(error) if matches!(error.code(), Some(400 | 422)) => {
                debug!(kind = self.kind.as_str(), %error, "no streaming lists; listing in pages");
                self.list_pages().await?;
                self.open(seconds).await
            }
            answer => {
                let mut lines = answer?;
                self.list_stream(&mut lines).await?;
                Ok(lines)
            }
        }
    }

    /// The beginning of a streaming list.
    async fn list_stream(&mut self, lines: &mut Answer) -> Result<(), Interruption> {
        let (started, mut listing) = (Instant::now(), Listing::default());
        let mut live = Vec::new();
        let mut complete = None;
        while complete.is_none() {
            let batch = self.next(lines, self.pace.answer_timeout).await?.ok_or(Interruption::Incomplete)?;
            for line in batch {
                match listing::line(self.kind, lines.encoding(), &line)? {
                    line if complete.is_some() => live.push(line),
                    Line::Put { parsed, .. } => listing.put(*parsed)?,
                    Line::Gone { name, .. } => listing.remove(&name)?,
                    Line::Bookmark { version, initial_events_end: true } => complete = Some(version),
                    Line::Bookmark { .. } | Line::Nameless { .. } => listing.pass()?,
                }
            }
        }
        self.report_list(listing, complete.unwrap_or_default(), started).await?;
        self.report(live).await
    }

    /// A list in pages, for servers without streaming lists. No version is asked for: the newest.
    async fn list_pages(&mut self) -> Result<(), Interruption> {
        let (started, mut listing) = (Instant::now(), Listing::default());
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut parameters = vec![("limit", PAGE_OBJECTS)];
            parameters.extend(token.as_deref().map(|token| ("continue", token)));
            let uri = self.resource.uri(&parameters);
            let mut answer = self.get(Asked::Page, &uri).await?;
            let body = answer.rest(self.pace.answer_timeout).await;
            self.counts().received(answer.take_received());
            let body = body?;
            let page = listing::page(self.kind, answer.encoding(), &body)?;
            page.objects.into_iter().try_for_each(|parsed| listing.put(parsed))?;
            if page.token.is_none() {
                return self.report_list(listing, page.version, started).await;
            }
            if page.token == token {
                break;
            }
            token = page.token;
        }
        Err(Interruption::Endless(PAGES_MAX))
    }

    async fn get(&self, asked: Asked, uri: &str) -> Result<Answer, Interruption> {
        get(&self.client, (asked, uri), self.encoding, self.pace.answer_timeout).await
    }

    /// The next events of an answer, whose bytes are counted.
    async fn next(&self, lines: &mut Answer, silence_max: Duration) -> Result<Option<Vec<Bytes>>, Interruption> {
        let batch = lines.next(silence_max).await;
        self.counts().received(lines.take_received());
        batch
    }

    fn counts(&self) -> &Counts {
        self.client.tally().counts(self.kind)
    }

    /// Changes, until the server ends the watch. What came before an unreadable line is reported.
    async fn watch(&mut self, lines: &mut Answer, silence_max: Duration) -> Result<(), Interruption> {
        let encoding = lines.encoding();
        while let Some(batch) = self.next(lines, silence_max).await? {
            let mut failed = Ok(());
            let read = batch.iter().map_while(|line| {
                listing::line(self.kind, encoding, line).map_err(|interruption| failed = Err(interruption)).ok()
            });
            let read = read.collect();
            self.report(read).await?;
            failed?;
        }
        Ok(())
    }

    async fn report_list(&mut self, listing: Listing, version: String, started: Instant) -> Result<(), Interruption> {
        let events = listing.into_events(self.kind, &mut self.said);
        if let Some(Event::Listed { objects, kept, .. }) = events.first() {
            let elapsed_ms = started.elapsed().as_millis();
            info!(kind = self.kind.as_str(), objects = objects.len(), kept = kept.len(), elapsed_ms, "listed");
            if let Some(service) = served_by(self.client.server(), objects) {
                let (server, service) = (self.client.server().to_string(), service.to_string());
                warn!(
                    server,
                    service, "the API server is reached through a Service, which needs this agent first; set `server`"
                );
            }
        }
        self.counts().listed();
        self.listed = true;
        self.version = Some(version).filter(|version| !version.is_empty());
        self.send(events).await
    }

    async fn report(&mut self, lines: Vec<Line>) -> Result<(), Interruption> {
        let mut events = Vec::new();
        for line in lines {
            let version = match line {
                Line::Put { parsed, version } => {
                    events.extend(listing::put(*parsed, &mut self.said));
                    version
                }
                Line::Gone { name, version } => {
                    events.extend(listing::gone(name, &mut self.said));
                    version
                }
                Line::Bookmark { version, .. } | Line::Nameless { version } => version,
            };
            if !version.is_empty() {
                self.version = Some(version);
            }
        }
        if events.is_empty() { Ok(()) } else { self.send(events).await }
    }

    async fn send(&self, events: Vec<Event>) -> Result<(), Interruption> {
        self.events.send(events).await.map_err(|_| Interruption::Unheard)
    }

    /// Waits before the next try, and decides whether that has to list anew.
    async fn recover(&mut self, interruption: &Interruption, pause: &mut Pause) {
        self.counts().interrupted();
        if interruption.loses_events() {
            self.version = None;
        }
        if interruption.is_of_encoding() {
            self.encoding = self.encoding.other();
        }
        if self.kind == Kind::ServiceCidr && matches!(interruption.code(), Some(403 | 404)) {
            return self.do_without(interruption).await;
        }
        let retry = pause.next(interruption.retry_after());
        let (kind, retry_ms) = (self.kind.as_str(), u64::try_from(retry.as_millis()).unwrap_or(u64::MAX));
        let error = chain(interruption);
        warn!(kind, error, retry_ms, "watch interrupted; what is programmed stays");
        sleep(retry).await;
    }

    /// W12: ServiceCIDRs that are not served, or not shown to us, are an empty list and one warning. What was listed before
    /// stays: a permission taken away must not shrink a set (I4).
    async fn do_without(&mut self, interruption: &Interruption) {
        if !self.listed {
            let (kind, error) = (self.kind.as_str(), chain(interruption));
            warn!(kind, error, "not available; going without it");
            let empty = vec![Event::Listed { kind: self.kind, objects: Vec::new(), kept: Vec::new() }];
            self.listed = self.send(empty).await.is_ok();
        }
        sleep(spread(self.pace.absent_retry)).await;
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
