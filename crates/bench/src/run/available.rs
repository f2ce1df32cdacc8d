//! What this machine can run, found out by running it once.
use crate::contender::{Contender, ContenderError, Peer, Sheave, least};
use crate::place::Place;
use crate::record::{Dataplane, Point, Shape, Work};
use sheave_baseline::Tool;
use sheave_core::Family;
use sheave_lab::ProcessCgroup;
use std::fmt;

/// A dataplane that cannot be measured here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Absent {
    /// What is missing.
    pub reason: String,
    /// What the reader can do about it.
    pub remedy: String,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

impl Absent {
    pub(super) fn point(&self, work: Work, dataplane: Dataplane, shape: Shape) -> Point {
        Point::unavailable(work, dataplane, shape, self.reason.as_str(), self.remedy.as_str())
    }
}

/// Lets the dataplane serve one Service, and one connection find it.
pub(super) fn check(dataplane: Dataplane) -> Result<(), Absent> {
    match dataplane {
        Dataplane::Direct => Ok(()),
        Dataplane::SheaveIpvs => Err(Absent {
            reason: "this version of sheave has no IPVS dataplane".to_owned(),
            remedy: "measure sheave-ebpf".to_owned(),
        }),
        _ => try_out(dataplane).map_err(|error| absent(dataplane, &error)),
    }
}

fn try_out(dataplane: Dataplane) -> Result<(), ContenderError> {
    let process = ProcessCgroup::join("bench")?;
    let place = Place::new(&process)?;
    let cluster = least();
    let mut contender: Box<dyn Contender> = match dataplane.layout() {
        Some(layout) => Box::new(Peer::new(layout)?),
        None => Box::new(Sheave::new(Shape::new(1, crate::record::Backends::Each(1)), place.cgroup().path())),
    };
    place.run(move |lookup| {
        contender.generate_all(&cluster);
        contender.write()?;
        lookup.expect(&cluster.view(0))
    })?
}

fn absent(dataplane: Dataplane, error: &ContenderError) -> Absent {
    let remedy = match error {
        ContenderError::Missing(missing) => format!("apt-get install {}", missing.package),
        ContenderError::Load(_) | ContenderError::Attach(_) => "sheave check says what this kernel lacks".to_owned(),
        ContenderError::Tool(_) | ContenderError::Lookup { .. } => {
            let tool = dataplane
                .layout()
                .map_or("sheave", |layout: sheave_baseline::Layout| layout.tool(Family::V4).program());
            format!("{tool} works on a kernel with the modules that its messages name: modprobe them")
        }
        _ => "run it as root, on a kernel with network namespaces and cgroup v2".to_owned(),
    };
    let reason = match error {
        ContenderError::Missing(missing) => format!("{} is not installed", missing.program),
        error => error.to_string(),
    };
    Absent { reason, remedy }
}

/// The tools of all dataplanes that are here, with their versions.
pub(crate) fn tools() -> impl Iterator<Item = (String, String)> {
    let used = Dataplane::ALL.into_iter().filter_map(Dataplane::layout).map(|layout| layout.tool(Family::V4));
    used.filter_map(|tool: Tool| tool.find().ok()).map(|found| (found.tool.program().to_owned(), found.version))
}
