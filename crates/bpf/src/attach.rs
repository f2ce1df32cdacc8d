//! Where the programs run: cgroup hooks for sockets, tcx (or clsact before Linux 6.6) on devices.
//!
//! Links are pinned beside the maps and swapped in place at the next start, so traffic never goes without a program. They
//! are never detached on exit; `cleanup` does that.
use crate::file_system;
use crate::interfaces::device_names;
use crate::link::{Link, Target};
use crate::load::Programs;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The socket entrance: program and `enum bpf_attach_type` value. What gives VIPs back comes before what translates them.
const SOCKET_HOOKS: [(&str, u32); 9] = [
    ("sock_release", 34),
    ("getpeername4", 29),
    ("getpeername6", 30),
    ("recvmsg4", 19),
    ("recvmsg6", 20),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("connect4", 10),
    ("connect6", 11),
];
/// The device entrance. Egress first: ingress alone would send requests out whose replies nobody translates.
static DEVICE_HOOKS: [DeviceSite; 2] = [
    DeviceSite { name: "egress", programs: ["egress", "egress_l3"], tcx: 47, clsact: TcAttachType::Egress },
    DeviceSite { name: "ingress", programs: ["ingress", "ingress_l3"], tcx: 46, clsact: TcAttachType::Ingress },
];

/// Priority and handle of our clsact filters: fixed, so that the next start replaces them in place and finds no others.
const CLSACT_PRIORITY: u16 = 0x5ea;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);
const CLSACT_HANDLE_NUMBER: u32 = 1;

/// One of the two ways through a device.
struct DeviceSite {
    /// Names the pin, whichever program stands behind it.
    name: &'static str,
    /// With and without Ethernet.
    programs: [&'static str; 2],
    /// tcx attach type.
    tcx: u32,
    clsact: TcAttachType,
}

impl DeviceSite {
    fn program(&self, device: &Device) -> &'static str {
        let [ethernet, ip] = self.programs;
        match device.header {
            Header::Ethernet => ethernet,
            Header::Ip => ip,
        }
    }
}

/// A device by index and name; both are needed, and both change under our feet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Index in this network namespace.
    pub index: u32,
    /// Name at the moment.
    pub name: String,
    /// What its packets begin with.
    pub header: Header,
}

/// A way through a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Out of the node, or to a pod.
    Egress,
    /// Into the node, or from a pod.
    Ingress,
}

/// What a device's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// An Ethernet header.
    Ethernet,
    /// The IP header.
    Ip,
}

/// The way onto a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceHook {
    /// A pinned tcx link: Linux 6.6 and later.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

/// A program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The cgroup cannot be opened.
    #[error("cannot open the cgroup {path}: {source}; set `cgroup` to the root of the cgroup2 mount")]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is no cgroup.
    #[error("{path} is no directory of a cgroup2 file system; set `cgroup` to the root of the cgroup2 mount")]
    NotCgroup {
        /// The path.
        path: PathBuf,
    },
    /// A link could not be made, updated or pinned.
    #[error("cannot {action} {program} at {target}: {source}")]
    Link {
        /// What was tried.
        action: &'static str,
        /// The program.
        program: &'static str,
        /// Device or cgroup.
        target: String,
        /// Why. `ENODEV`: the device has gone meanwhile.
        source: io::Error,
    },
    /// A program is missing from the object or not loaded.
    #[error("program {program}: {source}")]
    Program {
        /// The program.
        program: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// clsact refused.
    #[error("cannot attach {program} to {device} by clsact: {source}")]
    Clsact {
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// Why.
        source: ProgramError,
    },
}

impl AttachError {
    /// Whether the device has gone: nothing is wrong then.
    #[must_use]
    pub fn device_gone(&self) -> bool {
        match self {
            Self::Link { source, .. } => source.raw_os_error() == Some(libc::ENODEV),
            Self::Clsact { device, .. } => !device_names().contains(device),
            _ => false,
        }
    }
}

/// Attaches the socket entrance to a cgroup; what is attached there already is updated.
pub fn attach_sockets(programs: &Programs, cgroup: &Path) -> Result<(), AttachError> {
    let failed = |source| AttachError::Cgroup { path: cgroup.to_owned(), source };
    let directory = File::open(cgroup).map_err(failed)?;
    if !file_system::is_cgroup2(cgroup).map_err(failed)? {
        return Err(AttachError::NotCgroup { path: cgroup.to_owned() });
    }
    let id = directory.metadata().map_err(failed)?.ino();
    let fd = u32::try_from(directory.as_raw_fd()).expect("invariant: an open descriptor is not negative");
    for (program, attach_type) in SOCKET_HOOKS {
        let site = Site {
            program,
            attach_type,
            raw_target: fd,
            target: Target::Cgroup(id),
            shown: cgroup.display().to_string(),
            pin: programs.links_dir().join(program),
        };
        site.attach(programs.socket_fd(program).map_err(|source| AttachError::Program { program, source })?)?;
    }
    Ok(())
}

/// Attaches the device entrance to a device of the calling thread's network namespace; links that are there are updated.
pub fn attach_device(programs: &mut Programs, device: &Device, hook: DeviceHook) -> Result<(), AttachError> {
    [Way::Egress, Way::Ingress].into_iter().try_for_each(|way| attach_way(programs, device, hook, way))
}

/// The same for one of the two ways. Where there are several devices, [`Way::Egress`] comes first at all of them: a flow that
/// ingress of one device translates is masqueraded at egress of another, and unmasqueraded without it.
pub fn attach_way(programs: &mut Programs, device: &Device, hook: DeviceHook, way: Way) -> Result<(), AttachError> {
    let [egress, ingress] = &DEVICE_HOOKS;
    let way = match way {
        Way::Egress => egress,
        Way::Ingress => ingress,
    };
    let program = way.program(device);
    programs.load_device_program(program).map_err(|source| AttachError::Program { program, source })?;
    if hook == DeviceHook::Clsact {
        return attach_clsact(programs, device, program, way.clsact);
    }
    let site = Site {
        program,
        attach_type: way.tcx,
        raw_target: device.index,
        target: Target::Device(device.index),
        shown: device.name.clone(),
        pin: device_pin(programs.links_dir(), device.index, way.name),
    };
    site.attach(programs.device_fd(program).map_err(|source| AttachError::Program { program, source })?)
}

/// Detaches the socket entrance; connect() is what it was from then on. Nothing attached is fine.
pub fn detach_sockets(links_dir: &Path) -> Result<(), AttachError> {
    for (program, _) in SOCKET_HOOKS {
        let pin = links_dir.join(program);
        match Link::open(&pin) {
            Ok(link) => remove(&link, &pin).map_err(|source| {
                let target = pin.display().to_string();
                AttachError::Link { action: "detach", program, target, source }
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let target = pin.display().to_string();
                return Err(AttachError::Link { action: "open the link of", program, target, source });
            }
        }
    }
    Ok(())
}

/// At once where the kernel can (5.9), else some time after the pin is gone.
fn remove(link: &Link, pin: &Path) -> io::Result<()> {
    let _unused: io::Result<()> = link.detach();
    std::fs::remove_file(pin)
}

/// Takes the device entrance from a device that is there but is served by another one from now on.
pub fn detach_device(programs: &Programs, device: &Device, hook: DeviceHook) {
    match hook {
        DeviceHook::Tcx => forget_device(programs.links_dir(), device.index),
        DeviceHook::Clsact => drop(detach_clsact(&device.name)),
    }
}

/// Removes the pins of a device that has gone; its links are dead already. Nothing to do is fine.
pub fn forget_device(links_dir: &Path, index: u32) {
    for way in &DEVICE_HOOKS {
        // A pin that is not there, or cannot be removed, does no harm: its link is dead, and `Site::attach` replaces it.
        let _unused: io::Result<()> = std::fs::remove_file(device_pin(links_dir, index, way.name));
    }
}

/// Indices of the devices that have pins, alive or not.
#[must_use]
pub fn pinned_devices(links_dir: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(links_dir) else { return Vec::new() };
    let index = |name: &str| name.strip_prefix("device-")?.split('-').next()?.parse().ok();
    let mut indices: Vec<u32> = entries.flatten().filter_map(|e| index(&e.file_name().to_string_lossy())).collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

/// The programs of others at a device's tcx hooks, each with its way; none before Linux 6.6. They run before ours or after
/// them, in the order in which they were attached.
#[must_use]
pub fn foreign_programs(device: &str) -> Vec<String> {
    let at = |way: &'static DeviceSite| {
        // A kernel without tcx, or a device that has gone, has none.
        let programs = SchedClassifier::query_tcx(device, way.clsact).map(|(_, programs)| programs).unwrap_or_default();
        let foreign = programs.into_iter().map(|program| String::from_utf8_lossy(program.name()).into_owned());
        foreign.filter(|name| !way.programs.contains(&&**name)).map(|name| format!("tcx {} {name}", way.name))
    };
    DEVICE_HOOKS.iter().flat_map(at).collect()
}

/// Whether a clsact filter of this priority and handle is one of ours.
#[must_use]
pub fn is_own_filter(priority: u16, handle: u32) -> bool {
    (priority, handle) == (CLSACT_PRIORITY, CLSACT_HANDLE_NUMBER)
}

fn device_pin(links_dir: &Path, index: u32, way: &str) -> PathBuf {
    links_dir.join(format!("device-{index}-{way}"))
}

/// One place a program is to run at.
struct Site {
    program: &'static str,
    attach_type: u32,
    raw_target: u32,
    target: Target,
    shown: String,
    pin: PathBuf,
}

impl Site {
    /// Updates the pinned link if it still leads to the target, else makes a new one and pins it.
    fn attach(&self, program: BorrowedFd<'_>) -> Result<(), AttachError> {
        match Link::open(&self.pin) {
            Ok(link) if link.target().is_ok_and(|target| target == self.target) => {
                return link.update(program).map_err(self.failed("update"));
            }
            Ok(_) => std::fs::remove_file(&self.pin).map_err(self.failed("unpin the old link of"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.failed("open the link of")(error)),
        }
        let link = Link::create(program, self.raw_target, self.attach_type).map_err(self.failed("attach"))?;
        link.pin(&self.pin).map_err(self.failed("pin the link of"))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> AttachError + '_ {
        move |source| AttachError::Link { action, program: self.program, target: self.shown.clone(), source }
    }
}

fn attach_clsact(
    programs: &mut Programs,
    device: &Device,
    program: &'static str,
    direction: TcAttachType,
) -> Result<(), AttachError> {
    let failed = |source| AttachError::Clsact { program, device: device.name.clone(), source };
    // The qdisc may be there already, ours or another's; if it is not, attaching says so. Adding it takes the device down
    // for a moment (net/sched/sch_api.c, qdisc_graft), once: what is sent right then is lost, as with anyone's clsact.
    let _unused: Result<(), _> = qdisc_add_clsact(&device.name);
    let classifier = programs.classifier(program).map_err(|source| AttachError::Program { program, source })?;
    let link = replace_clsact(classifier, device, direction).or_else(|_| create_clsact(classifier, device, direction));
    // The filter stays when this process ends: forgetting the link is what keeps aya from detaching it.
    std::mem::forget(link.map_err(failed)?);
    Ok(())
}

fn replace_clsact(
    classifier: &mut SchedClassifier,
    device: &Device,
    direction: TcAttachType,
) -> Result<SchedClassifierLink, ProgramError> {
    let link = SchedClassifierLink::attached(&device.name, direction, CLSACT_PRIORITY, CLSACT_HANDLE, None)?;
    let id = classifier.attach_to_link(link)?;
    classifier.take_link(id)
}

fn create_clsact(
    classifier: &mut SchedClassifier,
    device: &Device,
    direction: TcAttachType,
) -> Result<SchedClassifierLink, ProgramError> {
    let options = NlOptions { priority: CLSACT_PRIORITY, handle: CLSACT_HANDLE, classid: None };
    let id = classifier.attach_with_options(&device.name, direction, TcAttachOptions::Netlink(options))?;
    classifier.take_link(id)
}

/// Removes our clsact filters from a device and returns how many there were. The qdisc stays: others may use it.
pub(crate) fn detach_clsact(device: &str) -> usize {
    let detach = |direction| -> Result<(), ProgramError> {
        use aya::programs::links::Link as _;
        SchedClassifierLink::attached(device, direction, CLSACT_PRIORITY, CLSACT_HANDLE, None)?.detach()
    };
    DEVICE_HOOKS.iter().filter(|way| detach(way.clsact).is_ok()).count()
}
