//! From single flows to an outcome: the set they may go to, who is masqueraded, what sticks.
use super::KernelError;
use super::node::Node;
use super::shot::Shot;
use crate::engine::Answer;
use sheave_core::decide::{Masquerade, Rule, Verdict};
use sheave_core::{Backend, Packet};
use sheave_dataplane::Outcome;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Flows to be sure of a verdict that is the same for all.
const SAME_VERDICT: u32 = 3;
/// Flows that have to follow a client's first one.
const STICKING: u32 = 8;
/// How unlikely it is that an endpoint of a set is not seen: less than once in a thousand runs of everything.
const MISSED: f64 = 1e-9;

/// How many draws show every one of `count` endpoints, save with a probability of [`MISSED`]: the union bound of the coupon
/// collector, `n (1 - 1/n)^k <= n e^(-k/n)`.
fn draws(count: usize) -> u32 {
    let n = u32::try_from(count).map_or(f64::MAX, f64::from);
    let bound = (n * (n.ln() - MISSED.ln())).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of draws; as saturates"
    )]
    let draws = bound as u32;
    draws
}

impl Node {
    /// Sends flows until it is known what becomes of all of them.
    pub(super) fn survey(&mut self, packet: &Packet) -> Result<Answer, KernelError> {
        self.notes.clear()?;
        let first = self.shoot(packet)?;
        let rules = self.settle(packet)?.into_iter().flat_map(rules).copied().collect();
        let verdict = match first {
            Shot::Forwarded(backend, masqueraded) => {
                return Ok(Answer::Outcome { outcome: self.survey_set(packet, backend, masqueraded)?, rules });
            }
            Shot::Rejected => Verdict::Reject,
            Shot::Dropped => Verdict::Drop,
            Shot::Passed => Verdict::Pass,
        };
        for _ in 1..SAME_VERDICT {
            let next = self.shoot(packet)?;
            if next != first {
                return Err(contradiction(packet, &format!("a flow is {first:?}, the next one {next:?}")));
            }
        }
        self.settle(packet)?;
        let outcome = Outcome { verdict, endpoints: Vec::new(), masquerade: Masquerade::Never, affinity: None };
        Ok(Answer::Outcome { outcome, rules })
    }

    fn survey_set(&mut self, packet: &Packet, first: Backend, masqueraded: bool) -> Result<Outcome, KernelError> {
        // The node is one client, whichever of its addresses it sends from. What comes in with one of them by a device is a pod's, if
        // the device is.
        let node = match packet.source {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let affinity = match self.rules.is_own(packet.source) {
            true if self.is_sent_here(packet) => self.notes.of(&[node])?,
            true => self.notes.of(&[packet.source, node])?,
            false => self.notes.of(&[packet.source])?,
        };
        for _ in 0..affinity.map_or(0, |_| STICKING) {
            let next = self.shoot(packet)?;
            if next != Shot::Forwarded(first, masqueraded) {
                let what = format!("a client with affinity went to {first}, then {next:?}");
                return Err(contradiction(packet, &what));
            }
        }
        let mut seen = BTreeMap::from([(first, masqueraded)]);
        let mut drawn = 1;
        // As if there were one endpoint more than was seen so far.
        while drawn < draws(seen.len() + 1) {
            drawn += 1;
            if affinity.is_some() {
                self.notes.clear()?;
            }
            let Shot::Forwarded(backend, masqueraded) = self.shoot(packet)? else {
                self.settle(packet)?;
                return Err(contradiction(packet, &format!("flow {drawn} is not forwarded as those before it were")));
            };
            if *seen.entry(backend).or_insert(masqueraded) != masqueraded {
                return Err(contradiction(packet, &format!("flows to {backend} are masqueraded, and are not")));
            }
        }
        self.settle(packet)?;
        let masquerade = masquerade(packet, &seen)?;
        Ok(Outcome { verdict: Verdict::Forward, endpoints: seen.into_keys().collect(), masquerade, affinity })
    }
}

/// The rules that a counter leaves.
fn rules(counter: &str) -> &'static [Rule] {
    match counter {
        "drop_source_range" => &[Rule::R8],
        "drop_unallocated" => &[Rule::A3],
        "drop_no_local_endpoint" => &[Rule::E4, Rule::E5],
        "reject_reset" | "reject_unreachable" => &[Rule::A2, Rule::E11],
        _ => &[],
    }
}

/// Which flows are masqueraded: all, none, or those that go back to the client.
fn masquerade(packet: &Packet, seen: &BTreeMap<Backend, bool>) -> Result<Masquerade, KernelError> {
    if seen.values().all(|masqueraded| *masqueraded) {
        Ok(Masquerade::Always)
    } else if seen.values().all(|masqueraded| !masqueraded) {
        Ok(Masquerade::Never)
    } else if seen.iter().all(|(backend, masqueraded)| *masqueraded == (backend.addr == packet.source)) {
        Ok(Masquerade::Hairpin)
    } else {
        Err(contradiction(packet, &format!("some flows are masqueraded, and nothing tells which: {seen:?}")))
    }
}

pub(super) fn contradiction(packet: &Packet, what: &str) -> KernelError {
    KernelError::Contradiction(format!("{packet:?}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_flows_are_drawn_to_see_each_endpoint_and_no_more_than_that() {
        for (count, want) in [(1, 21), (2, 43), (4, 89), (100, 2533)] {
            assert_eq!(draws(count), want, "{count} endpoints");
        }
    }
}
