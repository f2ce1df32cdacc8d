//! `bench sync` and `bench lookup`: a dataplane in a place of its own.
use super::protocol::{Job, Reply, Request};
use super::{Actor, Stage, unexpected};
use crate::cluster::{Cluster, after, before, edits};
use crate::contender::{Contender, ContenderError, Effort, Peer, Sheave};
use crate::lookup::Lookups;
use crate::place::{Lookup, Place};
use crate::record::{LookupOperation, LookupRound, SyncOperation, SyncRound};
use crate::usage::{
    Meter, Usage, forget_peak_rss, kernel_memory_bytes, kernel_memory_bytes_once_freed, peak_rss_bytes,
};
use sheave_lab::ProcessCgroup;
use std::time::{Duration, Instant};

/// Everything the worker has. In the order of its end.
pub(super) struct Alone {
    job: Job,
    running: Option<Running>,
    process: Option<ProcessCgroup>,
}

/// A contender in its place. It moves with the cluster to the thread that measures, and back.
struct Running {
    contender: Box<dyn Contender>,
    cluster: Cluster,
    place: Place,
}

impl Alone {
    pub(super) fn new(job: Job) -> Self {
        Self { job, running: None, process: None }
    }

    fn set_up(&mut self) -> Result<Reply, ContenderError> {
        self.move_on()?;
        let lacks = self.act(|actor, _| {
            actor.contender.set_up(actor.cluster)?;
            Ok(actor.contender.lacks(actor.cluster))
        })?;
        Ok(lacks.map_or(Reply::Ready, Reply::Lacks))
    }

    fn cold_start(&mut self) -> Result<Reply, ContenderError> {
        self.move_on()?;
        let held_before = kernel_memory_bytes_once_freed();
        let (round, lacks) = self.act(|actor, lookup| {
            let mut round = Round::new();
            round.generate(|| actor.contender.generate_all(actor.cluster));
            round.write(actor.contender)?;
            round.look(|| lookup.expect(&actor.cluster.view(0)))?;
            Ok((round.finish(), actor.contender.lacks(actor.cluster)))
        })?;
        if let Some(lacks) = lacks {
            return Ok(Reply::Lacks(lacks));
        }
        let held = kernel_memory_bytes();
        // What others free meanwhile may be more than little rules take.
        let kernel_memory_bytes = held_before.zip(held).map(|(before, now)| now.saturating_sub(before));
        Ok(Reply::Sync(SyncRound { kernel_memory_bytes, ..round }))
    }

    fn change(&mut self, operation: SyncOperation, round: u32) -> Result<SyncRound, ContenderError> {
        let Job { shape, seed, .. } = self.job;
        self.act(move |actor, lookup| {
            before(shape, operation).iter().try_for_each(|edit| actor.follow(edit))?;
            let mut measured = Round::new();
            for edit in edits(shape, seed, operation, round) {
                let step = actor.cluster.apply(&edit);
                measured.generate(|| actor.contender.generate(actor.cluster, &step.touched));
                measured.write(actor.contender)?;
                measured.look(|| lookup.expect(&step))?;
            }
            let measured = measured.finish();
            after(operation).iter().try_for_each(|edit| actor.follow(edit))?;
            actor.contender.tidy()?;
            Ok(measured)
        })
    }

    /// To a new place, with nothing in the kernel yet.
    fn move_on(&mut self) -> Result<(), ContenderError> {
        let cluster = match self.running.take() {
            // Programs and rules go before the place, the place before the next one.
            Some(Running { contender, cluster, place }) => {
                drop(contender);
                drop(place);
                cluster
            }
            None => Cluster::new(self.job.shape),
        };
        if self.process.is_none() {
            self.process = Some(ProcessCgroup::join("bench")?);
        }
        let process = self.process.as_ref().expect("invariant: joined above");
        let place = Place::new(process)?;
        let contender = contender(self.job, &place)?;
        self.running = Some(Running { contender, cluster, place });
        Ok(())
    }

    fn look_up(&mut self, operation: LookupOperation, round: u32) -> Result<LookupRound, ContenderError> {
        let Job { shape, seed, .. } = self.job;
        self.act(move |actor, _| {
            let (programs, bpffs) = actor.contender.programs().ok_or(ContenderError::NoPrograms)?;
            let lookups = Lookups { programs, bpffs, cluster: actor.cluster, shape };
            lookups.round(operation, seed ^ u64::from(round))
        })
    }

    /// Does something on a thread in the place. After an error there is no place any more.
    fn act<T: Send + 'static>(
        &mut self,
        body: impl FnOnce(&mut Actor<'_>, &Lookup) -> Result<T, ContenderError> + Send + 'static,
    ) -> Result<T, ContenderError> {
        let Running { mut contender, mut cluster, place } = self.running.take().expect("invariant: set up first");
        let (contender, cluster, result) = place.run(move |lookup| {
            let result = body(&mut Actor { cluster: &mut cluster, contender: contender.as_mut() }, lookup);
            (contender, cluster, result)
        })?;
        self.running = Some(Running { contender, cluster, place });
        result
    }
}

impl Stage for Alone {
    fn perform(&mut self, request: Request) -> Result<Reply, ContenderError> {
        match request {
            Request::SetUp => self.set_up(),
            Request::Sync(SyncOperation::ColdStart, _) => self.cold_start(),
            Request::Sync(operation, round) => self.change(operation, round).map(Reply::Sync),
            Request::Lookup(operation, round) => self.look_up(operation, round).map(Reply::Lookup),
            Request::Connect(..) => Ok(unexpected(request)),
        }
    }
}

fn contender(job: Job, place: &Place) -> Result<Box<dyn Contender>, ContenderError> {
    match job.dataplane.layout() {
        Some(layout) => Ok(Box::new(Peer::new(layout)?)),
        None => Ok(Box::new(Sheave::new(job.shape, place.cgroup().path()))),
    }
}

/// A round that is being measured.
struct Round {
    meter: Meter,
    generation: Duration,
    looking: Duration,
    usage: Usage,
    effort: Effort,
}

impl Round {
    /// Of the calling thread.
    fn new() -> Self {
        let meter = Meter::of_this_thread();
        forget_peak_rss();
        let (usage, effort) = (Usage::nothing(), Effort::nothing());
        Self { meter, generation: Duration::ZERO, looking: Duration::ZERO, usage, effort }
    }

    fn generate(&mut self, generate: impl FnOnce()) {
        let start = Instant::now();
        generate();
        self.generation += start.elapsed();
    }

    fn write(&mut self, contender: &mut dyn Contender) -> Result<(), ContenderError> {
        let (effort, usage) = self.meter.measure(|| contender.write());
        self.effort += effort?;
        self.usage += usage;
        Ok(())
    }

    fn look(&mut self, look: impl FnOnce() -> Result<(), ContenderError>) -> Result<(), ContenderError> {
        let start = Instant::now();
        look()?;
        self.looking += start.elapsed();
        Ok(())
    }

    fn finish(self) -> SyncRound {
        let Usage { wall, cpu, syscalls, instructions } = self.usage;
        let Effort { cpu_children, rss_children_bytes, bytes_written } = self.effort;
        SyncRound {
            wall: wall + self.looking,
            generation: Some(self.generation),
            cpu_self: Some(cpu),
            cpu_children: Some(cpu_children),
            syscalls,
            bytes_written,
            kernel_memory_bytes: None,
            peak_rss_bytes: peak_rss_bytes().map(|own| own.max(rss_children_bytes)),
            instructions,
        }
    }
}
