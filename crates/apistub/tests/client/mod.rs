//! A plain HTTP/1.1 client, one connection per request: nothing between the test and the bytes.
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far beyond what any answer takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// As kube-proxy asks.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf,application/json";

pub(crate) struct Client {
    address: SocketAddr,
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// A watch: chunks of lines or frames.
pub(crate) struct Stream {
    connection: BufReader<TcpStream>,
    bytes: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &Value::Null).await
    }

    /// What a client gets that asks for protobuf.
    pub(crate) async fn get_protobuf(&self, uri: &str) -> Answer {
        let (mut connection, code, headers) = self.begin("GET", uri, PROTOBUF, &Value::Null).await;
        let mut body = Vec::new();
        timeout(DEADLINE, connection.read_to_end(&mut body)).await.unwrap().unwrap();
        Answer { code, headers, body }
    }

    pub(crate) async fn send(&self, method: &str, uri: &str, body: &Value) -> Answer {
        let (mut connection, code, headers) = self.begin(method, uri, "*/*", body).await;
        let mut body = Vec::new();
        timeout(DEADLINE, connection.read_to_end(&mut body)).await.unwrap().unwrap();
        Answer { code, headers, body }
    }

    pub(crate) async fn watch(&self, uri: &str) -> Stream {
        self.stream(uri, "application/json", "application/json").await
    }

    pub(crate) async fn watch_protobuf(&self, uri: &str) -> Stream {
        self.stream(uri, PROTOBUF, "application/vnd.kubernetes.protobuf;stream=watch").await
    }

    async fn stream(&self, uri: &str, accept: &str, content_type: &str) -> Stream {
        let (connection, code, headers) = self.begin("GET", uri, accept, &Value::Null).await;
        assert_eq!(code, 200);
        assert!(headers.contains(&format!("content-type: {content_type}")), "{headers:?}");
        assert!(headers.iter().any(|header| header == "transfer-encoding: chunked"), "{headers:?}");
        Stream { connection, bytes: Vec::new() }
    }

    async fn begin(
        &self,
        method: &str,
        uri: &str,
        accept: &str,
        body: &Value,
    ) -> (BufReader<TcpStream>, u16, Vec<String>) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {uri} HTTP/1.1\r\nHost: stub\r\nConnection: close\r\nAccept: {accept}\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut connection = BufReader::new(stream);
        let mut headers = Vec::new();
        loop {
            let line = line(&mut connection).await;
            if line.is_empty() {
                break;
            }
            headers.push(line);
        }
        let code = headers[0].split(' ').nth(1).unwrap().parse().unwrap();
        (connection, code, headers)
    }
}

async fn line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    timeout(DEADLINE, connection.read_line(&mut line)).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let line = self.headers.iter().find(|line| line.starts_with(&format!("{name}: ")))?;
        Some(line.split_once(": ")?.1.to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Stream {
    /// The next event.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            self.chunk().await;
        }
    }

    /// The next bytes, this many.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.bytes.len() < count {
            self.chunk().await;
        }
        self.bytes.drain(..count).collect()
    }

    async fn chunk(&mut self) {
        let size = usize::from_str_radix(&line(&mut self.connection).await, 16).unwrap();
        let mut chunk = vec![0; size + 2];
        timeout(DEADLINE, self.connection.read_exact(&mut chunk)).await.unwrap().unwrap();
        self.bytes.extend_from_slice(&chunk[..size]);
    }
}
