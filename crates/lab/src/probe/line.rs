//! What goes over the wire: one line each way.
//!
//! ```text
//! ask <nonce> <payload>
//! answer <nonce> <backend ip:port> <peer ip:port> <pod> <payload>
//! ```
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest line a probe sends or takes, its end included: fits a UDP datagram of either family.
pub(super) const LINE_MAX: usize = 60_000;

/// A number that no other request of this process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Nonce(u64);

impl Nonce {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The request: a nonce and so many bytes for the server to send back.
pub(super) fn ask(nonce: Nonce, payload_bytes: usize) -> String {
    let frame = "ask \n".len() + 1 + nonce.0.to_string().len();
    let payload_bytes = payload_bytes.min(LINE_MAX - ANSWER_OVERHEAD - frame);
    format!("ask {} {}\n", nonce.0, payload(nonce, payload_bytes))
}

/// What an answer has on top of its payload, with the longest addresses and pod name.
const ANSWER_OVERHEAD: usize = 512;

/// Bytes that differ between requests, so that a piece of one answer in another is noticed.
fn payload(nonce: Nonce, bytes: usize) -> String {
    let start = nonce.0 % 26;
    (start..).take(bytes).map(|step| char::from(b'a' + u8::try_from(step % 26).unwrap_or(0))).collect()
}

/// The server's line for a request, or `None` if it is no request.
pub(super) fn answer(request: &str, backend: SocketAddr, peer: SocketAddr, pod: &str) -> Option<String> {
    let (nonce, payload) = request.strip_prefix("ask ")?.trim_end_matches('\n').split_once(' ')?;
    Some(format!("answer {nonce} {backend} {peer} {pod} {payload}\n"))
}

/// What an answer says, if it is one to this request and complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) backend: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) pod: String,
}

pub(super) fn parse(line: &str, request: &str) -> Option<Said> {
    let (nonce, payload) = request.strip_prefix("ask ")?.split_once(' ')?;
    let fields: Vec<&str> = line.strip_prefix("answer ")?.splitn(5, ' ').collect();
    let &[answered, backend, peer, pod, echoed] = fields.as_slice() else { return None };
    (answered == nonce && echoed == payload).then_some(())?;
    Some(Said { backend: backend.parse().ok()?, peer: peer.parse().ok()?, pod: pod.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_for_its_request_and_with_its_whole_payload() {
        let request = ask(Nonce(30), 5);
        let other = ask(Nonce(31), 5);
        let (backend, peer) = ("[fd00::1]:80".parse().unwrap(), "10.0.0.9:4711".parse().unwrap());
        let good = answer(&request, backend, peer, "web-1").unwrap();
        let said = Said { backend, peer, pod: "web-1".to_owned() };
        for (name, line, want) in [
            ("its own", good.clone(), Some(said)),
            ("another's", answer(&other, backend, peer, "web-1").unwrap(), None),
            ("cut short", good[..good.len() - 2].to_owned(), None),
            ("the request itself", request.clone(), None),
            ("empty", String::new(), None),
        ] {
            assert_eq!(parse(&line, &request), want, "case: {name}");
        }
    }

    #[test]
    fn a_line_with_its_answer_fits_a_datagram_however_long_the_payload() {
        let (backend, peer) = ("[2001:db8:1:2:3:4:5:6]:65535".parse().unwrap(), "[fd00::1]:65535".parse().unwrap());
        let request = ask(Nonce::next(), usize::MAX);
        let answer = answer(&request, backend, peer, &"p".repeat(253)).unwrap();
        assert!(answer.len() <= LINE_MAX, "{} bytes", answer.len());
    }
}
