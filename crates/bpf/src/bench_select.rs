//! Measures the decision itself: programs that ask what the entrances ask (whose is the address, which backend of the Cluster set; no affinity) and write no map but their own, beside the maps
//! that are pinned. Nothing but this module loads them.
//!
//! A packet program cannot tell: it rewrites its packet, so that every repeat after the first one misses. Here one run makes
//! [`BENCH_DECISIONS`] decisions about keys it draws itself, and may be repeated.
use crate::exec;
use crate::load::{LoadError, PINNED, lift_memory_lock, load_programs};
use crate::map::{Map, Shape};
use crate::pins::Pins;
use crate::test_run::test_run;
use aya::maps::{Map as AyaMap, MapError};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use sheave_abi::{
    BENCH_DECISIONS, BENCH_DRAWN, BENCH_FORWARD, BENCH_NO_FRONTEND, BENCH_RACED, BENCH_REJECT, BenchDecision, BenchKey,
    BenchRun, NetPort,
};
use sheave_core::{Family, Frontend};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes};

/// The programs, made from `ebpf/` by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../object/bench_select.o");

/// What such a program returns when it has made all its decisions.
const DONE: i32 = 0;
/// The shortest Ethernet frame; nobody looks at it.
const FRAME: [u8; 60] = [0; 60];

/// The programs, loaded beside pinned maps, and the frontends to decide about.
#[derive(Debug)]
pub struct SelectBench {
    ebpf: Ebpf,
    keys: Map<u32, BenchKey>,
    run: Map<u32, BenchRun>,
    keys_max: NonZeroU32,
    filled: Option<(Family, NonZeroU32)>,
}

/// What a run does with each key it draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Decides about it.
    Decide,
    /// Nothing: what the drawing and noting around a decision takes.
    Draw,
}

/// How many decisions came out how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcomes {
    /// A backend was chosen.
    pub forward: u64,
    /// Refused: no usable endpoint (E11), or a port the address does not have (A2).
    pub reject: u64,
    /// Not addressed to a frontend.
    pub no_frontend: u64,
    /// The set changed on every try.
    pub raced: u64,
    /// Not decided, by [`Work::Draw`].
    pub drawn: u64,
}

/// What a number of runs has done.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// All decisions of all runs.
    pub outcomes: Outcomes,
    /// The decisions of the last run, one by one.
    pub last: Vec<BenchDecision>,
    /// Mean time of one decision, with all that is around it.
    pub ns_per_decision: f64,
}

/// What a decision takes, and what was taken off.
#[derive(Clone, PartialEq, Debug)]
pub struct Cost {
    /// By [`Work::Decide`].
    pub decide: Ran,
    /// By [`Work::Draw`].
    pub draw: Ran,
}

/// The decision could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The programs could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Nothing to decide about.
    #[error("no frontend to decide about: fill in at least one")]
    NoKeys,
    /// More than was asked for when loading.
    #[error("{keys} frontends for a list that was loaded with room for {max}; load it with more room")]
    TooMany {
        /// How many there are.
        keys: usize,
        /// The room.
        max: NonZeroU32,
    },
    /// One program decides about one family.
    #[error("frontends of both families in one list, first {first}, then {other}; fill in one family after the other")]
    BothFamilies {
        /// The first of the list.
        first: IpAddr,
        /// The first of the other family.
        other: IpAddr,
    },
    /// The kernel refused to write or read the programs' own maps.
    #[error("the map {map} of the measuring programs cannot be used: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a run; `EINTR` when a signal came.
    #[error("program {program} cannot be run: {source}")]
    Run {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A run ended before it had made all its decisions.
    #[error("program {program} ended with {verdict} before its {BENCH_DECISIONS} decisions were made")]
    Unfinished {
        /// The program.
        program: &'static str,
        /// What it returned.
        verdict: i32,
    },
}

impl SelectBench {
    /// Loads the programs beside the maps that a [`crate::load::Loader`] has pinned below `bpffs`, with room for `keys_max`
    /// frontends to decide about. The maps may be in use, and change meanwhile.
    ///
    /// # Errors
    /// Names what failed; a map that is not pinned is not made.
    pub fn load(bpffs: &Path, keys_max: NonZeroU32) -> Result<Self, BenchError> {
        let maps = Pins::new(bpffs).maps();
        lift_memory_lock();
        let mut loader = EbpfLoader::new();
        // Every object names all of them, and a program uses some.
        for (map, ..) in PINNED {
            let path = maps.join(map);
            Shape::of_pin(&path).map_err(|source| LoadError::Map { map, path: path.clone(), source })?;
            loader.map_pin_path(map, path);
        }
        loader.map_max_entries("bench_keys", keys_max.get());
        let mut ebpf = load_programs(&mut loader, OBJECT, &[])?;
        let keys = own_map(&mut ebpf, "bench_keys")?;
        let run = own_map(&mut ebpf, "bench_run")?;
        Ok(Self { ebpf, keys, run, keys_max, filled: None })
    }

    /// Sets the frontends to decide about, of one family; there need not be a Service behind them. A run draws from them
    /// uniformly: one frontend is a hot one.
    ///
    /// # Errors
    /// When there is none, too many, or one of another family than the first; those of before stay then.
    pub fn fill(&mut self, frontends: &[Frontend]) -> Result<(), BenchError> {
        let first = frontends.first().ok_or(BenchError::NoKeys)?.addr;
        if let Some(other) =
            frontends.iter().map(|frontend| frontend.addr).find(|addr| Family::of(*addr) != Family::of(first))
        {
            return Err(BenchError::BothFamilies { first, other });
        }
        let too_many = || BenchError::TooMany { keys: frontends.len(), max: self.keys_max };
        let count = u32::try_from(frontends.len()).map_err(|_| too_many())?;
        let count = NonZeroU32::new(count).filter(|count| *count <= self.keys_max).ok_or_else(too_many)?;
        let keys: Vec<_> = frontends.iter().map(key).collect();
        let indices: Vec<u32> = (0..count.get()).collect();
        self.filled = None;
        self.keys.put_all(&indices, &keys).map_err(|source| BenchError::Map { map: "bench_keys", source })?;
        self.filled = Some((Family::of(first), count));
        Ok(())
    }

    /// Runs a program `repeat` times, each time for [`BENCH_DECISIONS`] keys, on the processor this thread is on. Neither
    /// packets nor flows nor counters change by it.
    ///
    /// # Errors
    /// When nothing was filled in, or the kernel refuses.
    pub fn run(&mut self, work: Work, repeat: NonZeroU32) -> Result<Ran, BenchError> {
        let (family, keys) = self.filled.ok_or(BenchError::NoKeys)?;
        let program = program(work, family);
        let map_failed = |source| BenchError::Map { map: "bench_run", source };
        let asked = BenchRun { keys: keys.get(), ..BenchRun::new_zeroed() };
        self.run.put(&0, &asked).map_err(map_failed)?;
        let ran = test_run(self.program_fd(program)?, &FRAME, repeat.get())
            .map_err(|source| BenchError::Run { program, source })?;
        if ran.verdict != DONE {
            return Err(BenchError::Unfinished { program, verdict: ran.verdict });
        }
        let done = self.run.get(&0).and_then(|done| done.ok_or_else(|| io::ErrorKind::NotFound.into()));
        let BenchRun { outcomes, decisions, .. } = done.map_err(map_failed)?;
        let ns_per_decision = ran.time.as_secs_f64() * 1e9 / f64::from(BENCH_DECISIONS);
        Ok(Ran { outcomes: Outcomes::new(&outcomes), last: decisions.to_vec(), ns_per_decision })
    }

    /// What a decision takes: runs both programs, `repeat` times each.
    ///
    /// # Errors
    /// As [`SelectBench::run`].
    pub fn cost(&mut self, repeat: NonZeroU32) -> Result<Cost, BenchError> {
        Ok(Cost { decide: self.run(Work::Decide, repeat)?, draw: self.run(Work::Draw, repeat)? })
    }

    fn program_fd(&self, program: &'static str) -> Result<BorrowedFd<'_>, BenchError> {
        let failed = |source| LoadError::Program { program: program.to_owned(), source };
        let loaded = self.ebpf.program(program).ok_or(ProgramError::UnexpectedProgramType).map_err(failed)?;
        let classifier: &SchedClassifier = loaded.try_into().map_err(failed)?;
        Ok(classifier.fd().map_err(failed)?.as_fd())
    }
}

impl Cost {
    /// What `select` itself takes, in nanoseconds. Where it is below the noise it may come out below zero.
    #[must_use]
    pub fn net_ns(&self) -> f64 {
        self.decide.ns_per_decision - self.draw.ns_per_decision
    }
}

impl Outcomes {
    fn new(counts: &[u64]) -> Self {
        let count = |outcome: u8| counts.get(usize::from(outcome)).copied().unwrap_or_default();
        Self {
            forward: count(BENCH_FORWARD),
            reject: count(BENCH_REJECT),
            no_frontend: count(BENCH_NO_FRONTEND),
            raced: count(BENCH_RACED),
            drawn: count(BENCH_DRAWN),
        }
    }
}

fn own_map<V>(ebpf: &mut Ebpf, map: &'static str) -> Result<Map<u32, V>, BenchError>
where
    V: IntoBytes + FromBytes + Immutable,
{
    let failed = |source| BenchError::Map { map, source };
    let Some(AyaMap::Array(data)) = ebpf.take_map(map) else {
        return Err(LoadError::from(aya::EbpfError::from(MapError::InvalidName { name: map.to_owned() })).into());
    };
    data.fd().as_fd().try_clone_to_owned().and_then(Map::from_fd).map_err(failed)
}

fn program(work: Work, family: Family) -> &'static str {
    match (work, family) {
        (Work::Decide, Family::V4) => "decide_v4",
        (Work::Decide, Family::V6) => "decide_v6",
        (Work::Draw, Family::V4) => "draw_v4",
        (Work::Draw, Family::V6) => "draw_v6",
    }
}

fn key(frontend: &Frontend) -> BenchKey {
    let mut addr = [0; 16];
    match frontend.addr {
        IpAddr::V4(v4) => addr.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from),
        IpAddr::V6(v6) => addr = v6.octets(),
    }
    let port = NetPort::from_host(frontend.port.get());
    BenchKey { addr, port, protocol: exec::number(frontend.protocol), zero: 0 }
}
