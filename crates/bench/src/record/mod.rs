//! The raw data of a run: what `run.json` holds, and the only thing a report is made from.
//!
//! # How a runner builds points
//!
//! A [`Point`] is one [`Work`] on one [`Dataplane`] at one [`Shape`]. Its constructors take the rounds of exactly that bench,
//! so a lookup cannot carry the samples of a sync, and every unit follows from the type:
//!
//! ```
//! use sheave_bench::record::{Backends, Dataplane, Phase, Point, Shape, SyncOperation, SyncRound};
//! use std::time::Duration;
//!
//! let shape = Shape::new(10_000, Backends::Each(10));
//! let round = |us| SyncRound { wall: Duration::from_micros(us), syscalls: Some(3), ..SyncRound::default() };
//! let point = Point::sync(SyncOperation::EndpointChanged, Dataplane::SheaveEbpf, shape, &[round(21), round(19)]);
//! assert_eq!(point.rounds(), 2);
//!
//! // What could not be measured is a point too, and says why.
//! let work = point.work();
//! let limit = Duration::from_secs(60);
//! let late = Point::cut_off(work, Dataplane::IptablesLegacy, shape, Phase::Operation, limit, "the limit for one point");
//! let absent = Point::unavailable(work, Dataplane::Nftables, shape, "there is no nft", "apt-get install nftables");
//! # let _ = (late, absent);
//! ```
//!
//! Rounds of dataplanes that were measured in turns (A/B/B/A) stay paired by their position: round 3 of one is compared with
//! round 3 of the other. So keep them in the order in which they were measured.
//!
//! Call [`Run::save`] after every point: the file is replaced as a whole, so what was measured survives an interruption.
mod dataplane;
mod environment;
mod point;
mod quantity;
mod read;
mod samples;
mod scenario;
mod series;
mod work;

pub use dataplane::Dataplane;
pub use environment::{Environment, Load};
pub use point::{Outcome, Phase, Point};
pub use quantity::{Quantity, QuantityError, Unit};
pub use read::{BYTES_MAX, RUN_FILE, RunError, parse, read_all};
pub use samples::{ConnectRound, LookupRound, Samples, SyncRound};
pub use scenario::{Backends, Grid, Percent, PercentError, Scenario, Shape};
pub use series::Series;
pub use work::{ConnectOperation, LookupOperation, SyncOperation, Work};

use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The version of the file's layout that this program writes, and the only one it reads. Fields may be added without
/// a new number; a reader passes over those it does not know.
pub const FORMAT: u32 = 1;

/// One run of the bench on one machine: the contents of `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    format: u32,
    /// Where and when it was measured.
    pub environment: Environment,
    /// What was to be measured.
    pub scenario: Scenario,
    /// What was measured, in that order.
    pub points: Vec<Point>,
}

impl Run {
    /// A run without points.
    pub fn new(environment: Environment, scenario: Scenario) -> Self {
        Self { format: FORMAT, environment, scenario, points: Vec::new() }
    }

    /// Writes `run.json` into the directory, which is made if it does not exist. The old file is replaced only when the new
    /// one is complete.
    ///
    /// # Errors
    /// [`RunError::Save`] when a file system operation fails; the old file is then still there.
    pub fn save(&self, dir: &Path) -> Result<(), RunError> {
        let path = dir.join(RUN_FILE);
        self.write(dir, &path).map_err(|source| RunError::Save { path, source })
    }

    fn write(&self, dir: &Path, path: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new().prefix(".run-").suffix(".json").tempfile_in(dir)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.flush()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}
