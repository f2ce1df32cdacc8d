//! A process for each dataplane: it holds the cluster in memory and the dataplane in namespaces of its own, and measures one
//! round when it is told to.
//!
//! So CPU time and memory of a process are those of one dataplane, rounds of all dataplanes can be interleaved, and what takes
//! too long can be ended at any moment by ending the process: its namespaces go with it.
mod alone;
mod networked;
mod process;
mod protocol;
mod serve;

pub(crate) use process::{Ended, Worker};
pub(crate) use protocol::{Job, Reply, Request, Setting};
pub use serve::{ServeError, serve};

use crate::cluster::{Cluster, Edit};
use crate::contender::{Contender, ContenderError};

/// What a worker has set up to measure in.
trait Stage {
    fn perform(&mut self, request: Request) -> Result<Reply, ContenderError>;
}

/// A dataplane and the cluster that it serves.
struct Actor<'a> {
    cluster: &'a mut Cluster,
    contender: &'a mut dyn Contender,
}

impl Actor<'_> {
    /// Makes a change that is not measured.
    fn follow(&mut self, edit: &Edit) -> Result<(), ContenderError> {
        let step = self.cluster.apply(edit);
        self.contender.generate(self.cluster, &step.touched);
        self.contender.write().map(drop)
    }
}

/// The answer to what this stage is not for.
fn unexpected(request: Request) -> Reply {
    Reply::Failed(format!("{request:?} is not for this worker"))
}
