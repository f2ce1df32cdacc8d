//! The first start beside the proxy that was here before: flows that its translations carry go on where they went.
//!
//! Connection tracking keeps to what it has begun, also once that proxy is gone, as long as some nat chain is there. All that is to be
//! done here is to let it. First the programs are attached while nothing leads to a Service yet, at every device: a flow that one of them
//! masquerades comes back by another. Then what of the flows in progress would be taken for the beginning of one is entered into their
//! tables. Then the frontends are published. For as long as such flows may live a later `cleanup --kube-proxy` leaves an empty nat chain
//! behind, which is taken away here.
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::foreign::{ForeignFlows, Import};
use sheave_bpf::image::Image;
use sheave_bpf::maps::MapError;
use sheave_bpf::sweep::monotonic_ns;
use sheave_node::keep_nat::{self, Kept};
use sheave_node::translated_flows;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tracing::{debug, info, warn};

/// Turns of the agent's clock, about a second each, between two looks for a nat chain that has served its time.
const TURNS_BETWEEN_LOOKS: u32 = 60;

/// What a takeover has come to.
#[derive(Debug)]
pub(crate) struct Takeover {
    bpffs: PathBuf,
    /// Whether flows of another proxy are still to be looked for.
    due: bool,
    turns: u32,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Imported {
    /// Flows to frontends of ours whose backend serves.
    flows: usize,
    /// Entries made for them.
    entries: usize,
    /// Flows to frontends of ours whose backend is none: they are decided anew.
    lost: usize,
}

impl Takeover {
    /// `served`: whether the maps led anywhere when this process began, so that no other proxy's flows can have passed the programs.
    pub(crate) fn new(bpffs: &Path, served: bool) -> Self {
        Self { bpffs: bpffs.to_owned(), due: !served, turns: 0 }
    }

    /// Whether [`Takeover::run`] is still to be called.
    pub(crate) fn due(&self) -> bool {
        self.due
    }

    /// To be called once, when the maps are filled but for what was withheld, and the programs are attached: imports flows, and
    /// publishes the frontends.
    pub(crate) fn run(&mut self, dataplane: &mut BpfDataplane<KernelMaps>) -> Result<(), MapError> {
        self.due = false;
        self.import(dataplane.image());
        let published = dataplane.maps_mut().publish()?;
        info!(published, "serving");
        Ok(())
    }

    fn import(&self, image: &Image) {
        match self.imported(image) {
            Ok(Imported { flows: 0, lost: 0, .. }) => debug!("connection tracking carries no flow of a Service"),
            Ok(Imported { flows, entries, lost }) => {
                info!(flows, entries, lost, "flows that connection tracking carries go on as they are");
            }
            Err(error) if is_full(&error) => warn!(
                "the table of established flows is full: UDP flows of the previous proxy may move to another endpoint; \
                 raise `maps.flowsMax`"
            ),
            Err(error) => warn!(
                %error,
                "cannot read connection tracking: UDP flows of a previous proxy may move to another endpoint; the \
                 kernel needs CONFIG_NF_CT_NETLINK and the agent CAP_NET_ADMIN for it"
            ),
        }
    }

    fn imported(&self, image: &Image) -> io::Result<Imported> {
        let tables = ForeignFlows::open(&self.bpffs)?;
        let mut importer = tables.importer(image, monotonic_ns());
        let (mut imported, mut failed) = (Imported::default(), Ok(()));
        translated_flows(|flow| match importer.import(&flow) {
            Ok(import) => {
                imported.count(import);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Err(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map(|()| imported)
    }

    /// Takes away the nat chain that `cleanup --kube-proxy` left, once no flow needs it. To be called about once in a second.
    pub(crate) fn look(&mut self) {
        self.turns += 1;
        if self.turns < TURNS_BETWEEN_LOOKS {
            return;
        }
        self.turns = 0;
        match keep_nat::release() {
            Ok(Kept::Released) => info!("no flow of a previous proxy is left; the nat chain kept for them is gone"),
            Ok(Kept::Absent | Kept::Needed) => {}
            Err(error) => debug!(%error, "cannot look for a nat chain that was kept for a previous proxy's flows"),
        }
    }
}

impl Imported {
    fn count(&mut self, import: Import) {
        match import {
            Import::GoesOn(entries) => {
                self.flows += 1;
                self.entries += entries;
            }
            Import::Lost => self.lost += 1,
            Import::NotOurs => {}
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    // E2BIG, as bpf(2) has it.
    error.kind() == io::ErrorKind::ArgumentListTooLong
}
