//! Bodies of answers: whole, or a watch's stream; counted, and broken on request.
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    source: Source,
    sent: Arc<AtomicU64>,
    cut_after: Option<usize>,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
    Broken,
}

impl Answer {
    pub(crate) fn whole(bytes: impl Into<Bytes>, sent: Arc<AtomicU64>) -> Self {
        Self { source: Source::Whole(Some(bytes.into())), sent, cut_after: None }
    }

    pub(crate) fn stream(receiver: mpsc::Receiver<Bytes>, sent: Arc<AtomicU64>) -> Self {
        Self { source: Source::Stream(receiver), sent, cut_after: None }
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Shortens the data where the body is to break.
    fn passed(&mut self, mut data: Bytes) -> Bytes {
        if let Some(left) = &mut self.cut_after {
            data.truncate(*left);
            *left -= data.len();
            if *left == 0 {
                self.source = Source::Broken;
            }
        }
        self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        data
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let data = match &mut self.source {
            Source::Broken => return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            Source::Whole(bytes) => bytes.take(),
            Source::Stream(receiver) => ready!(receiver.poll_recv(cx)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(self.passed(data)))))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Stream(_) | Source::Broken => SizeHint::default(),
        }
    }
}
