//! sheave itself: the real programs and maps, on a BPF file system and a cgroup of their own.
use super::{Contender, ContenderError, Effort};
use crate::cluster::{Cluster, Sizes, endpoints};
use crate::record::Shape;
use nix::net::if_::if_nametoindex;
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::attach::{Device, Header, attach_device, attach_sockets};
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_core::plan::{plan, plan_all};
use sheave_core::{Plan, Touched};
use sheave_dataplane::{Applied, Dataplane as _};
use std::path::{Path, PathBuf};

/// Where a sandbox has its BPF file system.
const BPFFS: &str = "/sys/fs/bpf";
/// What the agent makes room for unless it is told otherwise.
const FLOWS_MAX: u32 = 1 << 20;

/// The eBPF dataplane.
pub(crate) struct Sheave {
    limits: Limits,
    cgroup: PathBuf,
    socket_lb: SocketLb,
    devices: &'static [&'static str],
    loaded: Option<Loaded>,
    plan: Plan,
}

struct Loaded {
    dataplane: BpfDataplane<KernelMaps>,
    programs: Programs,
}

impl Sheave {
    /// With nothing loaded yet. Sockets of this cgroup are translated.
    pub(crate) fn new(shape: Shape, cgroup: &Path) -> Self {
        let (limits, cgroup) = (limits(shape), cgroup.to_owned());
        Self { limits, cgroup, socket_lb: SocketLb::All, devices: &[], loaded: None, plan: Plan::default() }
    }

    /// At these devices of the calling thread's namespace too.
    pub(crate) fn at_devices(self, devices: &'static [&'static str]) -> Self {
        Self { devices, ..self }
    }

    /// Sockets are left alone.
    pub(crate) fn without_sockets(self) -> Self {
        Self { socket_lb: SocketLb::Off, ..self }
    }

    fn load(&self) -> Result<Loaded, ContenderError> {
        let bpffs = Path::new(BPFFS);
        let mut programs = Loader::new(bpffs, self.limits, FLOWS_MAX, self.socket_lb).load()?;
        let maps = KernelMaps::open(bpffs)?;
        attach_sockets(&programs, &self.cgroup)?;
        let hook = programs.device_hook();
        for name in self.devices {
            let missing =
                |errno: nix::Error| ContenderError::Map { what: format!("device {name}"), wrong: errno.to_string() };
            let (index, name) = (if_nametoindex(*name).map_err(missing)?, (*name).to_owned());
            let device = Device { index, name, header: Header::Ethernet };
            attach_device(&mut programs, &device, hook)?;
        }
        Ok(Loaded { dataplane: BpfDataplane::new(Image::default(), self.limits, maps), programs })
    }
}

impl Contender for Sheave {
    /// An agent that starts finds an empty kernel, and plans when it has read that back.
    fn generate_all(&mut self, cluster: &Cluster) {
        self.loaded = None;
        self.plan = plan_all(cluster.desired(), &Image::default());
    }

    fn generate(&mut self, cluster: &Cluster, touched: &Touched) {
        let loaded = self.loaded.as_ref().expect("invariant: a change comes after a start");
        self.plan = plan(cluster.desired(), &loaded.dataplane, touched);
    }

    /// At a start, programs and maps are loaded first: that belongs to it.
    fn write(&mut self) -> Result<Effort, ContenderError> {
        if self.loaded.is_none() {
            self.loaded = Some(self.load()?);
        }
        let loaded = self.loaded.as_mut().expect("invariant: loaded above");
        checked(&loaded.dataplane.apply(&self.plan))?;
        Ok(Effort::default())
    }

    fn programs(&self) -> Option<(&Programs, &Path)> {
        self.loaded.as_ref().map(|loaded| (&loaded.programs, Path::new(BPFFS)))
    }

    fn lacks(&self, cluster: &Cluster) -> Option<String> {
        let loaded = self.loaded.as_ref()?;
        let mut lacks = cluster.sample().into_iter().flat_map(|service| loaded.dataplane.lacks(&service));
        lacks.next().map(|diagnostic| diagnostic.message)
    }
}

/// A step that was refused or failed was not measured.
fn checked(applied: &Applied) -> Result<(), ContenderError> {
    if let Some(failed) = applied.failed.first() {
        let what = format!("{:?}", failed.subject);
        return Err(ContenderError::Map { what, wrong: failed.cause.to_string() });
    }
    if let Some(refused) = applied.refused.first() {
        return Err(ContenderError::Map { what: refused.object.to_string(), wrong: refused.message.clone() });
    }
    Ok(())
}

/// The agent's defaults, or more where the shape needs more.
fn limits(shape: Shape) -> Limits {
    let defaults = Limits::default();
    let services = shape.services + 1;
    let most = |default: u32, needed: u32| default.max(needed.next_power_of_two());
    // Blocks are powers of two, and a set that changes has two for a moment.
    let slots: u64 =
        (0..shape.services).map(|service| u64::from(Sizes::new(shape).of(service).next_power_of_two())).sum();
    let cap = |needed: u64| u32::try_from(needed).unwrap_or(u32::MAX >> 1);
    Limits {
        frontends_max: most(defaults.frontends_max, services * 4),
        services_max: most(defaults.services_max, services),
        slots_max: most(defaults.slots_max, cap(slots * 2)),
        backends_max: most(defaults.backends_max, cap(endpoints(shape) * 2)),
    }
}
