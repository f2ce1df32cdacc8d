//! An answer of the API server, piece by piece, with a limit to its silence and to its length.
use super::encoding::Encoding;
use super::interruption::Interruption;
use crate::ApiClient;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use std::time::Duration;
use tokio::time::timeout;

/// The largest event of a watch (I7): etcd takes objects of 1.5 MiB, and JSON with its escapes may be some times as long.
const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest page of a list (I7): 500 objects of a third of etcd's largest size.
const PAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How much of an error's answer is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Page,
    Watch,
}

/// An answer.
pub(super) struct Answer {
    encoding: Encoding,
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of line.
    searched: usize,
    /// Bytes that came since it was last asked.
    received: u64,
    bytes_max: usize,
}

/// Sends a GET request and waits for the beginning of a good answer.
pub(super) async fn get(
    client: &ApiClient,
    (asked, uri): (Asked, &str),
    encoding: Encoding,
    answer_timeout: Duration,
) -> Result<Answer, Interruption> {
    let request = Request::get(uri).header(ACCEPT, encoding.accept()).body(Body::empty());
    let request = request.map_err(|error| Interruption::Connection(Box::new(error)))?;
    let response = timeout(answer_timeout, client.send(request)).await;
    let response = response.map_err(|_| Interruption::Stalled(answer_timeout))?;
    let response = response.map_err(|error| Interruption::Connection(Box::new(error)))?;
    if !response.status().is_success() {
        return Err(refusal(response, answer_timeout).await);
    }
    let content_type = header(response.headers(), &CONTENT_TYPE);
    let Some(encoding) = Encoding::of(content_type) else {
        return Err(Interruption::ContentType(content_type.to_owned()));
    };
    let bytes_max = match asked {
        Asked::Page => PAGE_BYTES_MAX,
        Asked::Watch => EVENT_BYTES_MAX,
    };
    Ok(Answer::new(encoding, response.into_body(), bytes_max))
}

async fn refusal(response: Response<Body>, answer_timeout: Duration) -> Interruption {
    let code = response.status().as_u16();
    let retry_after = header(response.headers(), &RETRY_AFTER).parse().ok().map(Duration::from_secs);
    let encoding = Encoding::of(header(response.headers(), &CONTENT_TYPE)).unwrap_or(Encoding::Json);
    let mut answer = Answer::new(encoding, response.into_body(), ERROR_BYTES_MAX);
    let body = answer.rest(answer_timeout).await.unwrap_or_default();
    let status = encoding.status(&body).ok();
    let message = status.as_ref().and_then(|status| status.at(&["message"]).as_text());
    let message = message.unwrap_or("no reason given").to_owned();
    if code == 410 { Interruption::Gone(message) } else { Interruption::Refused { code, message, retry_after } }
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Answer {
    fn new(encoding: Encoding, body: Body, bytes_max: usize) -> Self {
        Self { encoding, body, buffer: BytesMut::new(), searched: 0, received: 0, bytes_max }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How many bytes have come since this was last asked.
    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    /// The next events: all that have come. `None` at the end; what then is incomplete is dropped, for it was cut off.
    pub(super) async fn next(&mut self, silence_max: Duration) -> Result<Option<Vec<Bytes>>, Interruption> {
        loop {
            let events = match self.encoding {
                Encoding::Json => self.lines(),
                Encoding::Protobuf => self.frames()?,
            };
            if !events.is_empty() {
                return Ok(Some(events));
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
            self.received += data.len() as u64;
            self.buffer.extend_from_slice(&data);
        }
        if self.buffer.len() > self.bytes_max {
            return Err(Interruption::TooLong(self.bytes_max));
        }
        Ok(true)
    }

    /// JSON: an event a line.
    fn lines(&mut self) -> Vec<Bytes> {
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

    /// Protobuf: the length of each event stands before it, in four bytes, the highest first (apimachinery,
    /// pkg/util/framer). A length is not believed before its bytes are there.
    fn frames(&mut self) -> Result<Vec<Bytes>, Interruption> {
        let mut frames = Vec::new();
        while let Some(length) = self.buffer.first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > self.bytes_max {
                return Err(Interruption::TooLong(self.bytes_max));
            }
            if self.buffer.len() - LENGTH_BYTES < length {
                break;
            }
            self.buffer.advance(LENGTH_BYTES);
            frames.push(self.buffer.split_to(length).freeze());
        }
        Ok(frames)
    }
}

const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    async fn events_of(encoding: Encoding, bytes: &[u8], bytes_max: usize) -> Result<Vec<Bytes>, Interruption> {
        let mut answer = Answer::new(encoding, Body::from(bytes.to_vec()), bytes_max);
        let mut all = Vec::new();
        while let Some(events) = answer.next(Duration::from_secs(5)).await? {
            all.extend(events);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn lines_are_split_and_an_unfinished_one_is_dropped() {
        for (text, want) in
            [("a\nb\n", vec!["a", "b"]), ("a\n\nb", vec!["a"]), ("", vec![]), ("\r\n a \n", vec![" a "])]
        {
            assert_eq!(events_of(Encoding::Json, text.as_bytes(), 100).await.unwrap(), want, "{text:?}");
        }
        assert!(matches!(events_of(Encoding::Json, b"aaaaa", 4).await, Err(Interruption::TooLong(4))));
    }

    #[tokio::test]
    async fn frames_are_as_long_as_they_say_and_an_unfinished_one_is_dropped() {
        for (bytes, want) in [
            (&b"\0\0\0\x01a\0\0\0\x02bc"[..], vec!["a", "bc"]),
            (b"\0\0\0\x01a\0\0\0\x02b", vec!["a"]),
            (b"\0\0\0\x01a\0\0", vec!["a"]),
            (b"\0\0\0\0", vec![""]),
            (b"", vec![]),
        ] {
            assert_eq!(events_of(Encoding::Protobuf, bytes, 100).await.unwrap(), want, "{bytes:?}");
        }
        let lies = events_of(Encoding::Protobuf, b"\xff\xff\xff\xffa", 100).await;
        assert!(
            matches!(lies, Err(Interruption::TooLong(100))),
            "a length is not waited for, nor is memory taken for it"
        );
    }
}
