//! An answer of the API server as lines, with a limit to its silence and to its length.
use super::interruption::Interruption;
use crate::ApiClient;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// A page of 500 objects of etcd's largest size, with room (I7).
const BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How much of an error's answer is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The body of an answer.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
    bytes_max: usize,
}

/// Sends a GET request and waits for the beginning of a good answer.
pub(super) async fn get(client: &ApiClient, uri: &str, answer_timeout: Duration) -> Result<Lines, Interruption> {
    let request = Request::get(uri).header(ACCEPT, "application/json").body(Body::empty());
    let request = request.map_err(|error| Interruption::Connection(Box::new(error)))?;
    let response = timeout(answer_timeout, client.send(request)).await;
    let response = response.map_err(|_| Interruption::Stalled(answer_timeout))?;
    let response = response.map_err(|error| Interruption::Connection(Box::new(error)))?;
    if !response.status().is_success() {
        return Err(refusal(response, answer_timeout).await);
    }
    let content_type = header(response.headers(), &CONTENT_TYPE);
    if content_type.split(';').next().is_none_or(|media| media.trim() != "application/json") {
        return Err(Interruption::ContentType(content_type.to_owned()));
    }
    Ok(Lines::new(response.into_body(), BYTES_MAX))
}

async fn refusal(response: Response<Body>, answer_timeout: Duration) -> Interruption {
    let code = response.status().as_u16();
    let retry_after = header(response.headers(), &RETRY_AFTER).parse().ok().map(Duration::from_secs);
    let mut lines = Lines::new(response.into_body(), ERROR_BYTES_MAX);
    let body = lines.rest(answer_timeout).await.unwrap_or_default();
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = status["message"].as_str().unwrap_or("no reason given").to_owned();
    if code == 410 { Interruption::Gone(message) } else { Interruption::Refused { code, message, retry_after } }
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Lines {
    fn new(body: Body, bytes_max: usize) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, bytes_max }
    }

    /// The next lines: all that have come. `None` at the end; what then has no end of line is dropped, for it was cut off.
    pub(super) async fn next(&mut self, silence_max: Duration) -> Result<Option<Vec<Bytes>>, Interruption> {
        loop {
            let lines = self.complete();
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if !self.fill(silence_max).await? {
                return Ok(None);
            }
        }
    }

    /// All of the answer.
    pub(super) async fn rest(&mut self, silence_max: Duration) -> Result<Bytes, Interruption> {
        while self.fill(silence_max).await? {}
        Ok(self.buffer.split().freeze())
    }

    async fn fill(&mut self, silence_max: Duration) -> Result<bool, Interruption> {
        let frame = timeout(silence_max, self.body.frame()).await.map_err(|_| Interruption::Stalled(silence_max))?;
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|error| Interruption::Connection(Box::new(error)))?;
        if let Ok(data) = frame.into_data() {
            self.buffer.extend_from_slice(&data);
        }
        if self.buffer.len() > self.bytes_max {
            return Err(Interruption::TooLong(self.bytes_max));
        }
        Ok(true)
    }

    fn complete(&mut self) -> Vec<Bytes> {
        let mut lines = Vec::new();
        while let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.buffer.split_to(self.searched + end).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                lines.push(line);
            }
        }
        self.searched = self.buffer.len();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(text: &'static str, bytes_max: usize) -> Result<Vec<Bytes>, Interruption> {
        let mut lines = Lines::new(Body::from(text.as_bytes().to_vec()), bytes_max);
        let mut all = Vec::new();
        while let Some(lines) = lines.next(Duration::from_secs(5)).await? {
            all.extend(lines);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn lines_are_split_and_an_unfinished_one_is_dropped() {
        for (text, want) in
            [("a\nb\n", vec!["a", "b"]), ("a\n\nb", vec!["a"]), ("", vec![]), ("\r\n a \n", vec![" a "])]
        {
            assert_eq!(lines_of(text, 100).await.unwrap(), want, "{text:?}");
        }
        assert!(matches!(lines_of("aaaaa", 4).await, Err(Interruption::TooLong(4))));
    }
}
