//! The port between a [`Plan`] and a kernel dataplane.
//!
//! A dataplane holds something ([`Realized`]) and carries plans out ([`Dataplane`]). What it could not carry out it names
//! in [`Applied::pending`]: planning that again is all there is to a retry.

mod fake;
mod outcome;

pub use fake::{Fake, Fault};
pub use outcome::Outcome;

use sheave_core::{Diagnostic, Plan, Realized, Service, ServiceKey, Touched};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::ops::AddAssign;

/// A kernel dataplane, or a stand-in for one.
pub trait Dataplane: Realized {
    /// Carries out as much of the plan as it can. A step that fails or is refused leaves the others untouched, except that
    /// nothing is broken after a step that makes has *failed*: what was to go may still be needed (I1). A refusal (I7) does
    /// not hold the breaking steps back, which may free what is short, save those of the same Service.
    fn apply(&mut self, plan: &Plan) -> Applied;

    /// What a Service asks for and this kind of dataplane leaves out of [`Realized::carried`], or does in another way.
    fn lacks(&self, service: &Service) -> Vec<Diagnostic> {
        let _ = service;
        Vec::new()
    }

    /// How full what it holds is, map by map, in an order that stays. Costs the same however much is held.
    fn rooms(&self) -> Vec<Room> {
        Vec::new()
    }
}

/// How full a map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// The map.
    pub map: &'static str,
    /// Entries in use.
    pub used: u64,
    /// Entries it may hold.
    pub max: u64,
}

/// What became of a [`Plan`].
#[derive(Debug, Default)]
pub struct Applied {
    /// What was written, successful or not.
    pub writes: Writes,
    /// What a limit forbids (I7). It is named, and the others are served.
    pub refused: Vec<Diagnostic>,
    /// What the kernel said no to.
    pub failed: Vec<ApplyError>,
    /// What has to be planned again: everything that was not carried out. Empty = what the plan wanted is held now.
    pub pending: Touched,
}

/// Kernel writes, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// Operations: each is one system call, or a few where it is cut into batches.
    pub ops: u64,
    /// Map entries in them.
    pub entries: u64,
}

impl AddAssign for Writes {
    fn add_assign(&mut self, other: Self) {
        self.ops += other.ops;
        self.entries += other.entries;
    }
}

impl Writes {
    /// Counts one operation of so many entries.
    pub fn count(&mut self, entries: usize) {
        self.ops += 1;
        self.entries += entries as u64;
    }
}

/// What a step of a plan was about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// One family of one Service port.
    Service(ServiceKey),
    /// A frontend that leads to nothing that has a name.
    Frontend(sheave_core::Frontend),
    /// An address of which every port is claimed (A2).
    Vip(IpAddr),
    /// The rules of the node.
    Rules,
}

impl Subject {
    /// Of a step.
    #[must_use]
    pub fn of(change: &sheave_core::Change) -> Self {
        use sheave_core::Change::{ClaimVip, Forget, Release, ReleaseVip, Retire, Rules, Serve};
        match change {
            Serve { key, .. } | Retire { key, .. } | Forget { key } | Release { key: Some(key), .. } => {
                Self::Service(key.clone())
            }
            Release { frontend, key: None } => Self::Frontend(*frontend),
            ClaimVip { addr } | ReleaseVip { addr } => Self::Vip(*addr),
            Rules { .. } => Self::Rules,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(key) => write!(f, "Service {key}"),
            Self::Frontend(frontend) => write!(f, "frontend {frontend}"),
            Self::Vip(addr) => write!(f, "address {addr}"),
            Self::Rules => f.write_str("rules of the node"),
        }
    }
}

/// A step the kernel said no to. The next plan has it again.
#[derive(Debug, thiserror::Error)]
#[error("{subject}: {cause}; it is planned again at the next sync")]
pub struct ApplyError {
    /// What the step was about.
    pub subject: Subject,
    /// What the dataplane says.
    pub cause: Box<dyn Error + Send + Sync>,
}
