//! The ways in which a server lets its clients down.
use std::time::Duration;

/// How every request is answered instead of properly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misbehaviour {
    /// The connection is closed without an answer.
    Close,
    /// The request is taken and never answered.
    Stall,
    /// 200, and bytes that are no JSON.
    Garbage,
    /// 200, and a page of HTML: a captive portal, or a load balancer.
    WrongContentType,
    /// This status code, with `Retry-After` where given.
    Status(u16, Option<Duration>),
    /// The proper answer, but the connection breaks after so many bytes of its body.
    CutAfter(usize),
}
