//! Carries plans out: lowers each step against the image, has it performed, commits what succeeded.
use crate::image::Image;
use crate::limits::Limits;
use crate::lower::lower;
use crate::maps::{MapError, Maps};
use sheave_core::{Change, Frontend, Plan, Realized, ServiceKey, Serving};
use sheave_dataplane::{Applied, ApplyError, Dataplane, Subject, Writes};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The eBPF dataplane over the kernel's maps, or over maps in memory.
#[derive(Debug)]
pub struct BpfDataplane<M> {
    image: Image,
    limits: Limits,
    maps: M,
}

/// How a phase of a plan went.
#[derive(Default)]
struct Phase {
    /// What a step failed or was refused for: its other steps wait for the next plan.
    held_up: BTreeSet<Subject>,
    failed: bool,
}

impl<M: Maps> BpfDataplane<M> {
    /// Over maps that hold what `image` says.
    pub fn new(image: Image, limits: Limits, maps: M) -> Self {
        Self { image, limits, maps }
    }

    /// What the maps hold.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Replaces the image by one that was read back: on an audit.
    pub fn set_image(&mut self, image: Image) {
        self.image = image;
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The maps.
    pub fn maps(&self) -> &M {
        &self.maps
    }

    /// The maps, to be told to fail, or to be read.
    pub fn maps_mut(&mut self) -> &mut M {
        &mut self.maps
    }

    fn run(&mut self, changes: &[Change], phase: &mut Phase, applied: &mut Applied) {
        for change in changes {
            let subject = Subject::of(change);
            if phase.held_up.contains(&subject) || !self.step(change, &subject, phase, applied) {
                applied.pending.merge(change.touched());
                phase.held_up.insert(subject);
            }
        }
    }

    /// Carries one step out; false if it was not, or not wholly.
    fn step(&mut self, change: &Change, subject: &Subject, phase: &mut Phase, applied: &mut Applied) -> bool {
        let ops = match lower(&self.image, &self.limits, change) {
            Ok(ops) => ops,
            Err(refused) => {
                applied.refused.extend(refused.diagnostic());
                return false;
            }
        };
        for op in ops {
            applied.writes.count(op.entries());
            if let Err(cause) = self.maps.exec(&op) {
                self.image.doubt(&op);
                phase.failed = true;
                applied.failed.push(failure(subject.clone(), cause));
                return false;
            }
            self.image.commit(&op);
        }
        true
    }
}

fn failure(subject: Subject, cause: MapError) -> ApplyError {
    ApplyError { subject, cause: cause.into() }
}

impl<M: Maps> Dataplane for BpfDataplane<M> {
    fn apply(&mut self, plan: &Plan) -> Applied {
        let mut applied = Applied { writes: Writes::default(), ..Applied::default() };
        let mut phase = Phase::default();
        self.run(&plan.make, &mut phase, &mut applied);
        if phase.failed {
            plan.break_.iter().for_each(|change| applied.pending.merge(change.touched()));
        } else {
            self.run(&plan.break_, &mut phase, &mut applied);
        }
        applied
    }
}

impl<M> Realized for BpfDataplane<M> {
    fn serving(&self, key: &ServiceKey) -> Option<Serving> {
        self.image.serving(key)
    }

    fn settled(&self, key: &ServiceKey) -> bool {
        self.image.settled(key)
    }

    fn holder(&self, frontend: &Frontend) -> Option<ServiceKey> {
        self.image.holder(frontend)
    }

    fn owns(&self, addr: IpAddr) -> bool {
        self.image.owns(addr)
    }

    fn keys(&self) -> Vec<ServiceKey> {
        self.image.keys()
    }

    fn frontends(&self) -> Vec<Frontend> {
        self.image.frontends()
    }

    fn vips(&self) -> Vec<IpAddr> {
        self.image.vips()
    }
}
