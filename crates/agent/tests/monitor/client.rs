//! Asks as a probe does: one request, one connection.
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Far beyond what anything here takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The answer to a GET request; `None` if nobody listens or the connection breaks.
pub(crate) async fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("answered in time").ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let code = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Answer { code, headers: lines.filter_map(header).collect(), body: body.to_owned() })
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    try_get(address, path).await.unwrap_or_else(|| panic!("no answer of {address}{path}"))
}

/// Asks until something holds of the answer.
pub(crate) async fn get_until(address: SocketAddr, path: &str, holds: impl Fn(Option<&Answer>) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = try_get(address, path).await;
        if holds(answer.as_ref()) {
            return;
        }
        assert!(Instant::now() < deadline, "not in time: {answer:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
