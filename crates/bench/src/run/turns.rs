//! One size: all dataplanes in turns, round by round, in an order that turns round each time (A B, B A), so that a drift of
//! the machine is shared by all.
use super::Bench;
use super::clock::{Clock, Limit};
use super::progress::Progress;
use super::series::{Cut, Series};
use crate::record::{ConnectRound, Dataplane, LookupRound, Phase, Point, Shape, SyncOperation, SyncRound, Work};
use crate::worker::{Ended, Job, Reply, Request, Setting, Worker};
use std::time::{Duration, Instant};

/// What is to be measured at one size.
pub(super) struct Turns<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) shape: Shape,
    pub(super) works: &'a [Work],
    pub(super) dataplanes: &'a [Dataplane],
    pub(super) clock: &'a Clock,
}

/// A dataplane that takes part.
struct Contestant {
    dataplane: Dataplane,
    worker: Option<Worker>,
    /// Why it can do nothing more at this size.
    out: Option<Why>,
}

/// Why there is no round.
#[derive(Clone)]
enum Why {
    Cut(Cut),
    Lacks(String),
    Failed(String),
}

/// One work of one dataplane.
#[derive(Default)]
struct Entry {
    replies: Vec<Reply>,
    spent: Duration,
    why: Option<Why>,
}

impl Turns<'_> {
    /// A point for each work of each dataplane; fewer after an interruption.
    pub(super) fn measure(&self, series: &mut Series, progress: &mut Progress<'_>) -> Vec<Point> {
        let takes_part =
            |dataplane: &&Dataplane| self.works.iter().any(|work| self.bench.scenario.asks(*work, **dataplane));
        let mut contestants: Vec<_> =
            self.dataplanes.iter().filter(takes_part).map(|dataplane| Contestant::new(*dataplane)).collect();
        let mut points = Vec::new();
        for work in in_order(self.works) {
            let entries = self.rounds(work, &mut contestants, series, progress);
            for (contestant, entry) in contestants.iter().zip(entries) {
                points.extend(entry.and_then(|entry| entry.point(work, contestant.dataplane, self.shape)));
            }
        }
        points
    }

    /// All rounds of one work. `None` for a dataplane that it is not for.
    fn rounds(
        &self,
        work: Work,
        contestants: &mut [Contestant],
        series: &mut Series,
        progress: &mut Progress<'_>,
    ) -> Vec<Option<Entry>> {
        let asks = |c: &Contestant| self.bench.scenario.asks(work, c.dataplane);
        let mut entries: Vec<_> = contestants.iter().map(|c| asks(c).then(Entry::default)).collect();
        for round in 0..self.bench.scenario.repeats {
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for nth in order {
                let (contestant, Some(entry)) = (&mut contestants[nth], &mut entries[nth]) else { continue };
                if self.bench.watch.interrupted() {
                    return entries;
                }
                if entry.why.is_some() || !entry.has_time_for_another(self.clock.point()) {
                    continue;
                }
                let Shape { services, backends, .. } = self.shape;
                progress.now(&format!("{work}: {services} Services, {backends}: {}", contestant.dataplane));
                self.round(work, round, contestant, entry, series);
            }
        }
        entries.iter().flatten().for_each(|_| progress.point(self.shape));
        entries
    }

    fn round(&self, work: Work, round: u32, contestant: &mut Contestant, entry: &mut Entry, series: &mut Series) {
        if self.clock.is_over() {
            let (dataplane, after) = (contestant.dataplane, self.clock.elapsed());
            let cut =
                Cut { dataplane, work: Some(work), shape: self.shape, during: Phase::Setup, after, limit: Limit::Run };
            entry.why = Some(Why::Cut(cut));
            return;
        }
        if let Some(cut) = series.forbids(contestant.dataplane, Some(work), self.shape) {
            entry.why = Some(Why::Cut(cut));
            return;
        }
        if work.needs_set_up()
            && let Err(why) = self.set_up(contestant, series)
        {
            entry.why = why;
            return;
        }
        if let Some(cut) = self.known_from_set_up(work, contestant.dataplane, series) {
            entry.why = Some(Why::Cut(cut));
            return;
        }
        let start = Instant::now();
        let asked = self.ask(contestant, work.request(round), Some(work));
        entry.spent += start.elapsed();
        match asked {
            Ok(reply) => entry.replies.push(reply),
            Err(why) => {
                if let Some(Why::Cut(cut)) = &why
                    && entry.replies.is_empty()
                {
                    series.note(*cut);
                }
                entry.why = why;
            }
        }
    }

    /// Brings a worker to the size, unless it is there already. `None` after an interruption.
    fn set_up(&self, contestant: &mut Contestant, series: &mut Series) -> Result<(), Option<Why>> {
        if let Some(why) = &contestant.out {
            return Err(Some(why.clone()));
        }
        if contestant.worker.is_some() {
            return Ok(());
        }
        let forbidden = series.forbids(contestant.dataplane, None, self.shape).map(|cut| Some(Why::Cut(cut)));
        let asked = forbidden.map_or_else(|| self.ask(contestant, Request::SetUp, None).map(drop), Err);
        if let Err(Some(why)) = &asked {
            contestant.out = Some(why.clone());
            if let Why::Cut(cut) = why {
                series.note(*cut);
            }
        }
        asked
    }

    /// Where the set-up is a cold start and took too long, a cold start does.
    fn known_from_set_up(&self, work: Work, dataplane: Dataplane, series: &Series) -> Option<Cut> {
        let is_known = work == Work::Sync(SyncOperation::ColdStart) && dataplane.sets_up_by_a_cold_start();
        let cut = series.forbids(dataplane, None, self.shape).filter(|_| is_known)?;
        Some(Cut { work: Some(work), during: Phase::Operation, ..cut })
    }

    /// Has a worker do something. Without a result the worker has ended, and `None` says that the run was interrupted.
    fn ask(&self, contestant: &mut Contestant, request: Request, work: Option<Work>) -> Result<Reply, Option<Why>> {
        let (dataplane, shape) = (contestant.dataplane, self.shape);
        let (time, limit) = self.clock.step();
        let asked =
            self.worker(contestant).and_then(|worker| worker.ask(request, time, &|| self.bench.watch.interrupted()));
        let why = match asked {
            Ok(Reply::Lacks(what)) => Some(Why::Lacks(what)),
            Ok(Reply::Failed(error)) => Some(Why::Failed(error)),
            Ok(reply) => return Ok(reply),
            Err(Ended::TooLong(after)) => {
                let during = work.map_or(Phase::Setup, Work::phase);
                Some(Why::Cut(Cut { dataplane, work, shape, during, after, limit }))
            }
            Err(Ended::Interrupted) => None,
            Err(ended) => Some(Why::Failed(ended.to_string())),
        };
        contestant.worker = None;
        Err(why)
    }

    fn worker<'a>(&self, contestant: &'a mut Contestant) -> Result<&'a mut Worker, Ended> {
        let is_connect = matches!(self.works.first(), Some(Work::Connect(_)));
        let setting = if is_connect { Setting::Networked } else { Setting::Alone };
        let job = Job { dataplane: contestant.dataplane, shape: self.shape, seed: self.bench.scenario.seed, setting };
        match &mut contestant.worker {
            Some(worker) => Ok(worker),
            none => Ok(none.insert(Worker::start((self.bench.worker)(), job)?)),
        }
    }
}

impl Contestant {
    fn new(dataplane: Dataplane) -> Self {
        Self { dataplane, worker: None, out: None }
    }
}

impl Entry {
    /// Whether a round that takes as long as those before it did would end in time.
    fn has_time_for_another(&self, limit: Duration) -> bool {
        let rounds = u32::try_from(self.replies.len()).unwrap_or(u32::MAX);
        rounds == 0 || self.spent + self.spent / rounds <= limit
    }

    /// What came of the rounds; `None` when an interruption came first.
    fn point(self, work: Work, dataplane: Dataplane, shape: Shape) -> Option<Point> {
        if !self.replies.is_empty() {
            return Some(measured(work, dataplane, shape, self.replies));
        }
        Some(match self.why? {
            Why::Cut(cut) => cut.point(work, shape),
            Why::Failed(error) => Point::failed(work, dataplane, shape, error),
            Why::Lacks(what) => {
                let remedy = "measure without NodePorts (`nodePortPercent: [0]`)";
                Point::unavailable(work, dataplane, shape, format!("this version does not have it: {what}"), remedy)
            }
        })
    }
}

fn measured(work: Work, dataplane: Dataplane, shape: Shape, replies: Vec<Reply>) -> Point {
    let (mut sync, mut lookup, mut connect) =
        (Vec::<SyncRound>::new(), Vec::<LookupRound>::new(), Vec::<ConnectRound>::new());
    for reply in replies {
        match reply {
            Reply::Sync(round) => sync.push(round),
            Reply::Lookup(round) => lookup.push(round),
            Reply::Connect(round) => connect.push(round),
            Reply::Ready | Reply::Lacks(_) | Reply::Failed(_) => {}
        }
    }
    match work {
        Work::Sync(operation) => Point::sync(operation, dataplane, shape, &sync),
        Work::Lookup(operation) => Point::lookup(operation, dataplane, shape, &lookup),
        Work::Connect(operation) => Point::connect(operation, dataplane, shape, &connect),
    }
}

/// Cold starts last: what ends a worker costs no other work its set-up then.
fn in_order(works: &[Work]) -> Vec<Work> {
    let mut works = works.to_vec();
    works.sort_by_key(|work| !work.needs_set_up());
    works
}

impl Work {
    fn needs_set_up(self) -> bool {
        self != Self::Sync(SyncOperation::ColdStart)
    }

    fn request(self, round: u32) -> Request {
        match self {
            Self::Sync(operation) => Request::Sync(operation, round),
            Self::Lookup(operation) => Request::Lookup(operation, round),
            Self::Connect(operation) => Request::Connect(operation, round),
        }
    }

    /// What a round of it is, when it takes too long.
    fn phase(self) -> Phase {
        if matches!(self, Self::Sync(_)) { Phase::Operation } else { Phase::Round }
    }
}
