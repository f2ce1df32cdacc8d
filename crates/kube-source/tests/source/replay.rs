//! A server that answers what it is told to, byte by byte: recordings, and what no real server would send.
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(crate) const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// The last part of the path: `services`.
    pub(crate) resource: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) accept: String,
    /// How many requests came before for this resource, with or without `watch` as this one.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn watches(&self) -> bool {
        self.query.contains_key("watch")
    }

    pub(crate) fn streams(&self) -> bool {
        self.query.contains_key("sendInitialEvents")
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    code: u16,
    headers: String,
    body: Vec<u8>,
    /// Whether the answer goes on after its body, with nothing.
    open: bool,
}

impl Reply {
    pub(crate) fn new(code: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { code, headers: format!("Content-Type: {content_type}\r\n"), body: body.into(), open: false }
    }

    pub(crate) fn json(document: &Value) -> Self {
        Self::new(200, "application/json", document.to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// A watch that stays open.
    pub(crate) fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// A watch that ends.
    pub(crate) fn closed(mut self) -> Self {
        self.open = false;
        self
    }

    /// A recorded answer; of a watch it stays open.
    pub(crate) fn recorded(name: &str) -> Self {
        let read = |suffix: &str| {
            let path = recordings().join(format!("{name}.{suffix}"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let headers = String::from_utf8(read("headers")).unwrap();
        let code = headers.split_whitespace().nth(1).unwrap().parse().unwrap();
        let content_type = headers.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap().trim();
        let open = name.starts_with("stream-") || name.starts_with("watch-json") || name == "watch-protobuf";
        Self { open, ..Self::new(code, content_type, read("body")) }
    }

    /// What a server says that has no object of a kind, in a streaming list, and then has nothing to say.
    pub(crate) fn nothing(resource: &str) -> Self {
        let (version, kind) = match resource {
            "services" => ("v1", "Service"),
            "endpointslices" => ("discovery.k8s.io/v1", "EndpointSlice"),
            "nodes" => ("v1", "Node"),
            _ => ("networking.k8s.io/v1", "ServiceCIDR"),
        };
        let metadata = json!({"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}});
        let object = json!({"kind": kind, "apiVersion": version, "metadata": metadata});
        Self::new(200, "application/json", format!("{}\n", json!({"type": "BOOKMARK", "object": object}))).open()
    }
}

/// The recordings of a real server, which the API server of the tests is held against as well.
fn recordings() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../apistub/tests/recordings"))
}

/// A running server. Dropping it ends it.
pub(crate) struct Replay {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replay {
    pub(crate) async fn new(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, reply) = (asked.clone(), Arc::new(reply));
        let task = tokio::spawn(async move {
            let (mut connections, counts) = (JoinSet::new(), Arc::<Mutex<HashMap<_, usize>>>::default());
            while let Ok((stream, _)) = listener.accept().await {
                let (log, counts, reply) = (log.clone(), counts.clone(), reply.clone());
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(mut asked) = request(&mut stream).await {
                        {
                            let mut counts = counts.lock().unwrap();
                            let count = counts.entry((asked.resource.clone(), asked.watches())).or_default();
                            asked.before = std::mem::replace(count, *count + 1);
                        }
                        log.lock().unwrap().push(asked.clone());
                        answer(stream.get_mut(), reply(&asked)).await;
                    }
                });
            }
        });
        Self { url, asked, task }
    }

    /// What was asked, oldest first.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked for a resource.
    pub(crate) fn asked_for(&self, resource: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.resource == resource).collect()
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let (mut target, mut accept) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("GET ") {
            target = rest.split(' ').next()?.to_owned();
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("accept: ") {
            accept = value.to_owned();
        } else if line.is_empty() {
            break;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Some(Asked { resource: path.rsplit('/').next()?.to_owned(), query, accept, before: 0 })
}

/// An answer that stays open has no length, and ends with its connection.
async fn answer(stream: &mut TcpStream, reply: Reply) {
    let length =
        if reply.open { "Connection: close".to_owned() } else { format!("Content-Length: {}", reply.body.len()) };
    let head = format!("HTTP/1.1 {} Recorded\r\n{length}\r\n{}\r\n", reply.code, reply.headers);
    let sent = stream.write_all(&[head.as_bytes(), &reply.body].concat()).await;
    // A client that has read enough goes away.
    if sent.is_ok() && reply.open {
        std::future::pending::<()>().await;
    }
}
