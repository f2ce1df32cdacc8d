//! Carries plans out: lowers each step against the image, has it performed, commits what succeeded.
use crate::demand;
use crate::headroom::rooms;
use crate::image::Image;
use crate::limits::Limits;
use crate::lower::{lower, lower_sources};
use crate::maps::{MapError, Maps};
use crate::ops::MapOp;
use crate::refused::Refused;
use crate::roster::Roster;
use sheave_core::{Change, Frontend, NodeRules, Plan, Realized, ServiceKey, Serving};
use sheave_dataplane::{Applied, ApplyError, Dataplane, Room, Subject, Writes};
use std::net::IpAddr;
use std::sync::Arc;

/// The eBPF dataplane over the kernel's maps, or over maps in memory.
#[derive(Debug)]
pub struct BpfDataplane<M> {
    image: Image,
    limits: Limits,
    maps: M,
    roster: Option<Arc<Roster>>,
}

impl<M: Maps> BpfDataplane<M> {
    /// Over maps that hold what `image` says.
    pub fn new(image: Image, limits: Limits, maps: M) -> Self {
        Self { image, limits, maps, roster: None }
    }

    /// From now on gives the places of a roster to what is held.
    #[must_use]
    pub fn with_roster(self, roster: Arc<Roster>) -> Self {
        roster.adopt(&self.image);
        Self { roster: Some(roster), ..self }
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

    /// Carries out steps, each on its own: what one could not write, `lower` sees in the image when the next one builds on it. False when
    /// one of them stopped on its way.
    fn run(&mut self, changes: &[Change], applied: &mut Applied) -> bool {
        let mut whole = true;
        for change in changes {
            let lowered = lower(&self.image, &self.limits, change);
            let ops = lowered.and_then(|ops| self.make_room(change, ops, applied)).unwrap_or_else(|refused| {
                applied.refused.extend(refused.diagnostic());
                applied.pending.merge(change.touched());
                lower_sources(&self.image, change)
            });
            if let Err(cause) = self.perform(&ops, &mut applied.writes) {
                applied.failed.push(ApplyError { subject: Subject::of(change), cause: cause.into() });
                applied.pending.merge(change.touched());
                whole = false;
            }
        }
        whole
    }

    /// Performs the growths that a step begins with, and returns the rest of it. One that fails refuses the step as a whole, as a limit
    /// does, and is tried again: it stops nothing else.
    fn make_room(
        &mut self,
        change: &Change,
        mut ops: Vec<MapOp>,
        applied: &mut Applied,
    ) -> Result<Vec<MapOp>, Refused> {
        while let Some(MapOp::Grow { hash, .. }) = ops.first() {
            let hash = *hash;
            let rest = ops.split_off(1);
            if let Err(cause) = self.perform(&ops, &mut applied.writes) {
                let refused = Refused::growth(change, hash, cause.errno, &self.image);
                applied.failed.push(ApplyError { subject: Subject::of(change), cause: cause.into() });
                return Err(refused);
            }
            ops = rest;
        }
        Ok(ops)
    }

    /// Performs operations up to the first that fails; the image follows each.
    fn perform(&mut self, ops: &[MapOp], writes: &mut Writes) -> Result<(), MapError> {
        for op in ops {
            writes.count(op.entries());
            if let Err(error) = self.maps.exec(op) {
                self.image.doubt(op);
                return Err(error);
            }
            self.image.commit(op);
            self.roster.iter().for_each(|roster| roster.note(op));
        }
        Ok(())
    }
}

impl<M: Maps> Dataplane for BpfDataplane<M> {
    fn apply(&mut self, plan: &Plan) -> Applied {
        let mut applied = Applied::default();
        for op in demand::room(&self.image, &self.limits, &plan.make) {
            // A step that misses this room asks for it again, and says what is wrong.
            drop(self.perform(&[op], &mut applied.writes));
        }
        if self.run(&plan.make, &mut applied) {
            self.run(&plan.break_, &mut applied);
        } else {
            plan.break_.iter().for_each(|change| applied.pending.merge(change.touched()));
        }
        applied
    }

    fn rooms(&self) -> Vec<Room> {
        rooms(&self.image, &self.limits)
    }
}

impl<M> Realized for BpfDataplane<M> {
    fn rules(&self) -> Option<Arc<NodeRules>> {
        self.image.rules()
    }

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
