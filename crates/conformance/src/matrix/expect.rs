//! What must come of a cell, by the reference, and whether it did.
use super::cell::{Cell, Source};
use super::services::protocol;
use sheave_core::decide::{Masquerade, Transport as PacketTransport, Verdict};
use sheave_core::{Decision, Index, Packet, Port, ProxyConfig, decide};
use sheave_lab::probe::{self, Failure, Phase};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// With that many requests a backend of three is missed once in 10^17 cells.
const REQUESTS_MAX: usize = 100;
/// So many show that a client stays with a backend (E10): by chance, once in 6,000 cells.
const REQUESTS_AFFINITY: usize = 9;
/// A refusal is no matter of chance.
const REQUESTS_REFUSED: usize = 2;

/// What must come of a cell's requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Each is answered.
    Answered {
        /// By these, and all of them in turn.
        backends: BTreeSet<SocketAddr>,
        /// What the backends see as the client.
        peers: Peers,
        /// All by the same one (E10).
        sticky: bool,
    },
    /// Each is refused at once.
    Refused,
    /// Nobody answers.
    Silence,
}

/// What backends see as the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peers {
    /// Its own address.
    pub source: IpAddr,
    /// The addresses a masqueraded flow has one of.
    pub node: BTreeSet<IpAddr>,
    /// Which flows are masqueraded.
    pub masquerade: Masquerade,
}

/// What the reference says of a cell, on the node of the index. `None`: it is not ours.
pub(super) fn expected(cell: &Cell, index: &Index, config: &ProxyConfig) -> Option<Expected> {
    let target = cell.target();
    let source = cell.source_addr();
    let packet = Packet {
        source,
        destination: target.addr.ip(),
        transport: PacketTransport::Port(protocol(target.transport), target.addr.port()),
        interface: None,
    };
    let Decision { verdict, endpoints, masquerade, affinity, .. } = decide(&packet, index, config);
    let addr = |(addr, port): (IpAddr, Port)| SocketAddr::new(addr, port.get());
    match verdict {
        Verdict::Forward => {
            let node: BTreeSet<IpAddr> = index.own_addresses().filter(|a| a.is_ipv4() == source.is_ipv4()).collect();
            let masquerade = match masquerade {
                // The node may send by any of its addresses: from itself, that is no masquerade.
                _ if cell.source == Source::Node => Masquerade::Always,
                // A socket that is connected to its own pod sends nothing that could come back another way.
                Masquerade::Hairpin if cell.is_translated_at_the_socket() => Masquerade::Never,
                masquerade => masquerade,
            };
            Some(Expected::Answered {
                backends: endpoints.iter().map(|backend| addr((backend.addr, backend.port))).collect(),
                peers: Peers { source, node, masquerade },
                sticky: affinity.is_some(),
            })
        }
        Verdict::Reject => Some(Expected::Refused),
        Verdict::Drop => Some(Expected::Silence),
        Verdict::Pass => None,
    }
}

impl Expected {
    /// Whether these requests tell all there is to know; a failure is always enough.
    #[must_use]
    pub fn is_enough(&self, outcomes: &[probe::Outcome]) -> bool {
        match self {
            _ if outcomes.iter().any(|outcome| !self.fits(outcome)) => true,
            Self::Answered { sticky: true, .. } => outcomes.len() >= REQUESTS_AFFINITY,
            Self::Answered { backends, .. } => {
                let seen: BTreeSet<_> = outcomes.iter().flatten().map(|answer| answer.backend).collect();
                outcomes.len() >= REQUESTS_MAX || seen == *backends
            }
            Self::Refused => outcomes.len() >= REQUESTS_REFUSED,
            Self::Silence => true,
        }
    }

    /// Whether one request came to what it should.
    fn fits(&self, outcome: &probe::Outcome) -> bool {
        match (self, outcome) {
            (Self::Answered { backends, peers, .. }, Ok(answer)) => {
                backends.contains(&answer.backend) && peers.allow(answer.peer.ip(), answer.backend.ip())
            }
            (Self::Refused, Err(Failure::Refused(_))) | (Self::Silence, Err(Failure::TimedOut(_))) => true,
            _ => false,
        }
    }
}

impl Peers {
    /// Whether a backend may see this address.
    fn allow(&self, seen: IpAddr, backend: IpAddr) -> bool {
        let masqueraded = match self.masquerade {
            Masquerade::Always => true,
            Masquerade::Hairpin => backend == self.source,
            Masquerade::Never => false,
        };
        if masqueraded { self.node.contains(&seen) } else { seen == self.source }
    }
}

/// Whether a cell's requests came to what they should.
///
/// # Errors
/// What was wrong with which of them.
pub fn judge(cell: &Cell, expected: &Expected, outcomes: &[probe::Outcome]) -> Result<(), String> {
    if let Some((n, outcome)) = outcomes.iter().enumerate().find(|(_, outcome)| !expected.fits(outcome)) {
        return Err(format!("{} (request {})", wrong(expected, outcome), n + 1));
    }
    let answers: Vec<_> = outcomes.iter().flatten().collect();
    if let Some(answer) = answers.iter().find(|answer| answer.dialled != cell.target().addr) {
        return Err(format!("the client's getpeername() is {}, dialled was {}", answer.dialled, cell.target()));
    }
    let Expected::Answered { backends, sticky, .. } = expected else { return Ok(()) };
    let seen: BTreeSet<_> = answers.iter().map(|answer| answer.backend).collect();
    match (sticky, seen.len()) {
        (true, 1) => Ok(()),
        (true, _) => Err(format!("a client with affinity got several backends: {}", listed(&seen))),
        (false, _) if seen == *backends => Ok(()),
        (false, _) => {
            let missed: BTreeSet<_> = backends.difference(&seen).copied().collect();
            Err(format!("{} requests never reached {}", answers.len(), listed(&missed)))
        }
    }
}

fn wrong(expected: &Expected, outcome: &probe::Outcome) -> String {
    let got = match outcome {
        Ok(answer) => format!("answered by {} who saw {}", answer.backend, answer.peer.ip()),
        Err(Failure::Refused(Phase::Connect | Phase::Exchange)) => "refused".to_owned(),
        Err(failure) => failure.to_string(),
    };
    let want = match expected {
        Expected::Answered { backends, peers, .. } => {
            let seen = match peers.masquerade {
                Masquerade::Never => format!("seeing {}", peers.source),
                Masquerade::Always => "seeing an address of the node".to_owned(),
                Masquerade::Hairpin => format!("seeing {}, or an address of the node if it is that", peers.source),
            };
            format!("an answer by one of {}, {seen}", listed(backends))
        }
        Expected::Refused => "a refusal".to_owned(),
        Expected::Silence => "silence".to_owned(),
    };
    format!("wanted {want}; {got}")
}

fn listed<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Destination, cells, settings};
    use sheave_lab::probe::Answer;
    use std::time::Duration;

    fn cell() -> Cell {
        let mut cells = cells(settings()[0]).into_iter();
        cells.find(|cell| cell.destination == Destination::ClusterIp && cell.v4).expect("ClusterIPs are dialled")
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn answer(backend: &str, peer: &str) -> probe::Outcome {
        let (backend, peer) = (addr(backend), SocketAddr::new(addr(peer).ip(), 9));
        let none = Duration::ZERO;
        let pod = "near".to_owned();
        Ok(Answer { backend, pod, peer, dialled: cell().target().addr, connect: none, round_trip: none })
    }

    #[test]
    fn a_cell_passes_only_if_each_request_came_to_what_it_should_and_every_backend_was_seen() {
        let (a, b, client, node) = ("10.180.0.11:8080", "10.180.1.11:8080", "10.180.0.10:1", "172.30.0.1:1");
        let want = |masquerade, sticky| Expected::Answered {
            backends: [addr(a), addr(b)].into(),
            peers: Peers { source: addr(client).ip(), node: [addr(node).ip()].into(), masquerade },
            sticky,
        };
        let refused = || Err(Failure::Refused(Phase::Connect));
        let silent = || Err(Failure::TimedOut(Phase::Connect));
        let never = Masquerade::Never;
        for (name, want, outcomes, passes) in [
            ("both", want(never, false), vec![answer(a, client), answer(b, client)], true),
            ("one is missed", want(never, false), vec![answer(a, client), answer(a, client)], false),
            ("another", want(never, false), vec![answer("10.180.1.12:8080", client)], false),
            ("masqueraded", want(never, false), vec![answer(a, client), answer(b, node)], false),
            ("not masqueraded", want(Masquerade::Always, false), vec![answer(a, client), answer(b, node)], false),
            ("one failure", want(never, false), vec![answer(a, client), answer(b, client), silent()], false),
            ("sticky", want(never, true), vec![answer(a, client), answer(a, client)], true),
            ("not sticky", want(never, true), vec![answer(a, client), answer(b, client)], false),
            ("refused", Expected::Refused, vec![refused(), refused()], true),
            ("not refused", Expected::Refused, vec![silent()], false),
            ("silent", Expected::Silence, vec![silent()], true),
            ("not silent", Expected::Silence, vec![refused()], false),
            ("answered", Expected::Silence, vec![answer(a, client)], false),
        ] {
            assert_eq!(judge(&cell(), &want, &outcomes).is_ok(), passes, "case: {name}");
        }
    }

    #[test]
    fn only_a_flow_that_gets_its_own_source_is_masqueraded_as_a_hairpin() {
        let (source, node) = (addr("10.180.0.11:1").ip(), addr("172.30.0.1:1").ip());
        let other = addr("10.180.1.11:1").ip();
        let peers = Peers { source, node: [node].into(), masquerade: Masquerade::Hairpin };
        for (seen, backend, allowed) in
            [(node, source, true), (source, source, false), (source, other, true), (node, other, false)]
        {
            assert_eq!(peers.allow(seen, backend), allowed, "{backend} sees {seen}");
        }
    }
}
