//! Who holds a frontend when several Services claim it (X1, I8).
use crate::diagnostic::{Diagnostic, ObjectRef, Problem};
use crate::name::{ServiceKey, ServiceName};
use crate::net::Frontend;
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// By what right a frontend is claimed; the first one listed beats the others (X1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ClaimKind {
    /// An address the API allocates (A1).
    ClusterIp,
}

/// One Service port's claim on a frontend. The smallest of a frontend's claims holds it: the stronger kind, then the older
/// Service, then namespace/name (X1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    pub(crate) kind: ClaimKind,
    pub(crate) created_unix_s: i64,
    pub(crate) key: ServiceKey,
}

/// Every claim on every frontend.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Claims {
    /// Sorted, never empty.
    by_frontend: Table<Frontend, Vec<Claim>>,
    /// The frontends with more than one claim.
    contested: BTreeSet<Frontend>,
}

impl Claims {
    /// The key that holds a frontend.
    pub(crate) fn holder(&self, frontend: &Frontend) -> Option<&ServiceKey> {
        Some(&self.by_frontend.get(frontend)?.first()?.key)
    }

    /// Every frontend that is claimed, in order.
    pub(crate) fn frontends(&self) -> Vec<Frontend> {
        self.by_frontend.sorted().into_iter().map(|(frontend, _)| *frontend).collect()
    }

    /// Adds a claim; one that stands already changes nothing.
    pub(crate) fn place(&mut self, frontend: Frontend, claim: Claim) {
        let claims = self.by_frontend.get_or_default(frontend);
        if let Err(at) = claims.binary_search(&claim) {
            // Nearly every frontend has one claim; a Vec grows to four at its first push.
            claims.reserve_exact(1);
            claims.insert(at, claim);
        }
        if claims.len() > 1 {
            self.contested.insert(frontend);
        }
    }

    /// Takes a claim back.
    pub(crate) fn withdraw(&mut self, frontend: &Frontend, claim: &Claim) {
        let Some(claims) = self.by_frontend.get_mut(frontend) else { return };
        if let Ok(at) = claims.binary_search(claim) {
            claims.remove(at);
        }
        if claims.len() < 2 {
            self.contested.remove(frontend);
        }
        if claims.is_empty() {
            self.by_frontend.remove(frontend);
        }
    }

    /// The Services that lost frontends, by name, each with the first one.
    pub(crate) fn losers(&self) -> BTreeMap<&ServiceName, Lost<'_>> {
        let mut losers: BTreeMap<&ServiceName, Lost<'_>> = BTreeMap::new();
        for (frontend, winner, loser) in self.lost() {
            let lost = losers.entry(&loser.key.port.service);
            let lost = lost.and_modify(|lost| lost.more += 1);
            lost.or_insert(Lost { frontend, winner, loser, more: 0 });
        }
        losers
    }

    /// Every claim that lost: the frontend, the claim that holds it, the one that does not.
    fn lost(&self) -> impl Iterator<Item = (&Frontend, &Claim, &Claim)> {
        self.contested.iter().flat_map(|frontend| {
            let claims = self.by_frontend.get(frontend).map_or(&[][..], Vec::as_slice);
            let (winner, losers) = claims.split_first().expect("invariant: a contested frontend has claims");
            losers.iter().map(move |loser| (frontend, winner, loser))
        })
    }
}

/// What a Service lost to others.
pub(crate) struct Lost<'a> {
    frontend: &'a Frontend,
    winner: &'a Claim,
    loser: &'a Claim,
    /// How many frontends more.
    more: u32,
}

impl Lost<'_> {
    /// The diagnostic of a Service that was read from `origin`.
    pub(crate) fn diagnostic(&self, origin: Option<Arc<str>>) -> Diagnostic {
        let (held, lost) = (&self.winner.key.port, &self.loser.key.port);
        let more = match self.more {
            0 => String::new(),
            more => format!(" ({more} more of its frontends are lost, too)"),
        };
        Diagnostic {
            object: ObjectRef::new("Service", &lost.service.to_string()),
            field: "spec.clusterIPs".to_owned(),
            problem: Problem::Conflict,
            message: format!(
                "{} of port {:?} leads to Service {held}, whose claim comes first{more}; give one of the two another \
                 address or port",
                self.frontend, &*lost.port
            ),
            origin,
        }
    }
}
