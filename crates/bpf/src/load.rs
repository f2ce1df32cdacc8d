//! Brings programs and maps into the kernel: maps that are pinned are taken over, with all they hold; others are created.
use crate::attach::DeviceHook;
use crate::chunks::Chunks;
use crate::file_system;
use crate::flow_counts::FlowCounts;
use crate::growing::Growing;
use crate::limits::{BadLimit, Knob, Limits};
use crate::map::Shape;
use crate::pins::Pins;
use crate::upgrade;
use aya::programs::{CgroupSockAddr, Program, ProgramError, ProgramType, SchedClassifier};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use sheave_abi::{
    AffinityKeyV4, AffinityKeyV6, AffinityValue, BACKENDS_CHUNK, BackendV4, BackendV6, DeviceValue, FlowKeyV4,
    FlowKeyV6, FlowValue, FragmentValue, FrontendKeyV4, FrontendKeyV6, FrontendValue, Origin, RangeKeyV4, RangeKeyV6,
    RulesValue, SERVICES_CHUNK, SLOTS_CHUNK, ServiceNameValue, ServiceValue, SocketFlowKey, SocketFlowValue,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

/// The kernel programs, made from `ebpf/` by `cargo xtask build-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../object/sheave.o");

/// The maps that are pinned: name, `enum bpf_map_type`, bytes of key and value, what sizes them.
pub(crate) const PINNED: [(&str, u32, usize, usize, Size); 28] = [
    ("frontends_v4", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("frontends_v6", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("names", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("services", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("slots", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("backends_v4", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("backends_v6", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("service_flows", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("backend_flows_v4", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("backend_flows_v6", ARRAY_OF_MAPS, 4, 4, Size::Fixed),
    ("flows_v4", HASH, size_of::<FlowKeyV4>(), size_of::<FlowValue>(), Size::Flows),
    ("flows_v6", HASH, size_of::<FlowKeyV6>(), size_of::<FlowValue>(), Size::Flows),
    ("flows_v4_half", LRU_HASH, size_of::<FlowKeyV4>(), size_of::<FlowValue>(), Size::HalfFlows),
    ("flows_v6_half", LRU_HASH, size_of::<FlowKeyV6>(), size_of::<FlowValue>(), Size::HalfFlows),
    ("node_addrs_v4", HASH, 4, 4, Size::Fixed),
    ("node_addrs_v6", HASH, 16, 4, Size::Fixed),
    ("ranges_v4", LPM_TRIE, size_of::<RangeKeyV4>(), 4, Size::Fixed),
    ("ranges_v6", LPM_TRIE, size_of::<RangeKeyV6>(), 4, Size::Fixed),
    ("rules", ARRAY, 4, size_of::<RulesValue>(), Size::Fixed),
    ("devices", HASH, 4, size_of::<DeviceValue>(), Size::Fixed),
    ("affinity_v4", LRU_HASH, size_of::<AffinityKeyV4>(), size_of::<AffinityValue>(), Size::Fixed),
    ("affinity_v6", LRU_HASH, size_of::<AffinityKeyV6>(), size_of::<AffinityValue>(), Size::Fixed),
    ("fragments_v4", LRU_HASH, size_of::<FlowKeyV4>(), size_of::<FragmentValue>(), Size::Fixed),
    ("fragments_v6", LRU_HASH, size_of::<FlowKeyV6>(), size_of::<FragmentValue>(), Size::Fixed),
    ("origins", SK_STORAGE, 4, size_of::<Origin>(), Size::Fixed),
    ("udp_sockets", HASH, 8, size_of::<Origin>(), Size::Fixed),
    ("socket_flows", LRU_HASH, size_of::<SocketFlowKey>(), size_of::<SocketFlowValue>(), Size::Fixed),
    ("counters", PERCPU_ARRAY, 4, 8, Size::Fixed),
];
/// `enum bpf_map_type`.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;
const ARRAY_OF_MAPS: u32 = 12;
const SK_STORAGE: u32 = 24;

/// The programs that wait until a device needs them ([`Programs::load_device_program`]).
const WITHOUT_ETHERNET: [&str; 2] = ["ingress_l3", "egress_l3"];

/// Fewest entries of an LRU map: below, the kernel's batches per processor evict what is in use (`bpf_lru_list.c`).
const HALF_FLOWS_MIN: u32 = 1 << 12;
/// The share of the flow tables that the LRU maps have: unlike the others they take their memory at once.
const HALF_FLOWS_SHARE: u32 = 8;

/// What sizes a map.
#[derive(Clone, Copy)]
pub(crate) enum Size {
    /// The object; maps of maps grow instead.
    Fixed,
    Flows,
    HalfFlows,
}

/// Which sockets are translated at connect().
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SocketLb {
    /// All sockets below the cgroup.
    #[default]
    All,
    /// Those in the network namespace that loads the programs.
    Host,
    /// None.
    Off,
}

/// What to load, and how.
#[derive(Clone, Debug)]
pub struct Loader {
    pins: Pins,
    limits: Limits,
    flows_max: u32,
    socket_lb: SocketLb,
}

/// The programs, loaded; nothing is attached yet. Dropping it unloads what is not attached by then.
#[derive(Debug)]
pub struct Programs {
    ebpf: Ebpf,
    links_dir: PathBuf,
    device_hook: DeviceHook,
    /// One writer at a time.
    _lock: File,
}

/// Programs or maps could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A limit that cannot be kept.
    #[error(transparent)]
    Limit(#[from] BadLimit),
    /// No place to pin.
    #[error("cannot use {path} for pinned maps: {source}; mount a BPF file system: mount -t bpf bpf {bpffs}")]
    Pins {
        /// The directory.
        path: PathBuf,
        /// Where a BPF file system is to be.
        bpffs: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes the maps.
    #[error("cannot claim {path}: {source}; another agent of this node is running: stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A pinned map is not what this version works with.
    #[error(
        "the pinned map {path} is not of this version's layout ({found:?}); run `sheave cleanup`, then start again"
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What was found.
        found: Shape,
    },
    /// A pinned map is smaller than what is configured now.
    #[error(
        "the pinned map {path} has room for {found} entries and `{knob}` asks for {wanted}; lower it, or \
         run `sheave cleanup`, which cuts Service traffic, and start the agent again"
    )]
    TooSmall {
        /// The pin.
        path: PathBuf,
        /// Its room.
        found: u32,
        /// What the configuration wants.
        wanted: u32,
        /// The setting.
        knob: Knob,
    },
    /// What an earlier version has pinned cannot be taken over.
    #[error(
        "cannot take over what an earlier version has pinned below {path}: {source}; its programs go on serving; to begin \
         anew run `sheave cleanup`, which cuts Service traffic, and start the agent again"
    )]
    Upgrade {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A map cannot be opened or created.
    #[error("cannot open or create map {map} at {path}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the object or a map.
    #[error("the kernel refused the maps: {0}")]
    Object(#[from] aya::EbpfError),
    /// The kernel refused a program.
    #[error("the kernel refused program {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// Why, with the verifier's log.
        source: ProgramError,
    },
    /// The network namespace does not say which one it is.
    #[error("cannot tell this network namespace from others: {0}; set `socketLb` to all or off")]
    Netns(io::Error),
}

impl Loader {
    /// `bpffs` is a mounted BPF file system, `flows_max` the most entries of each table of established flows (two per flow).
    #[must_use]
    pub fn new(bpffs: &Path, limits: Limits, flows_max: u32, socket_lb: SocketLb) -> Self {
        Self { pins: Pins::new(bpffs), limits, flows_max, socket_lb }
    }

    /// Loads programs and maps, and pins the maps. What is pinned already keeps what it holds.
    ///
    /// # Errors
    /// Names what failed and what to do; what was created until then stays pinned and is taken over next time.
    pub fn load(&self) -> Result<Programs, LoadError> {
        self.limits.check()?;
        Knob::Flows.check(self.flows_max)?;
        let maps = self.pins.maps();
        self.make_directories()?;
        lift_memory_lock();
        let lock =
            self.pins.lock().map_err(|source| LoadError::Locked { path: self.pins.root().to_owned(), source })?;
        upgrade::take_over(&self.pins)
            .map_err(|source| LoadError::Upgrade { path: self.pins.root().to_owned(), source })?;
        for (map, map_type, key_size, value_size, sized) in PINNED {
            self.check(map, &maps.join(map), (map_type, key_size, value_size), sized)?;
        }
        self.make_maps_of_maps()?;
        let globals = Globals::new(self.socket_lb)?;
        let mut loader = EbpfLoader::new();
        globals.set(&mut loader);
        for (map, .., sized) in PINNED {
            if let Some((entries, _)) = self.entries(sized) {
                loader.map_max_entries(map, entries);
            }
            loader.map_pin_path(map, maps.join(map));
        }
        let ebpf = load_programs(&mut loader, OBJECT, &WITHOUT_ETHERNET)?;
        Ok(Programs { ebpf, links_dir: self.pins.links(), device_hook: device_hook(), _lock: lock })
    }

    /// Creates nothing where no BPF file system is. `bpffs` may be a directory below one that does not exist yet.
    fn make_directories(&self) -> Result<(), LoadError> {
        let bpffs = self.pins.bpffs();
        let failed = |path: &Path, source| LoadError::Pins { path: path.to_owned(), bpffs: bpffs.to_owned(), source };
        let there = bpffs.ancestors().find(|path| path.exists()).unwrap_or(bpffs);
        if !file_system::is_bpf(there).map_err(|source| failed(bpffs, source))? {
            return Err(failed(bpffs, io::Error::other("this is no BPF file system")));
        }
        for path in [self.pins.maps(), self.pins.links()] {
            std::fs::create_dir_all(&path).map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }

    /// No program reads `names`; it belongs to the pinned state that `dump` and a restarted agent read.
    fn make_maps_of_maps(&self) -> Result<(), LoadError> {
        let maps = self.pins.maps();
        at_pin(&maps, "frontends_v4", |path| {
            Growing::<FrontendKeyV4, FrontendValue>::create_pinned("frontends_v4", path)
        })?;
        at_pin(&maps, "frontends_v6", |path| {
            Growing::<FrontendKeyV6, FrontendValue>::create_pinned("frontends_v6", path)
        })?;
        at_pin(&maps, "names", |path| Growing::<u32, ServiceNameValue>::create_pinned("names", path))?;
        at_pin(&maps, "services", |path| Chunks::<ServiceValue>::create_pinned("services", path, SERVICES_CHUNK))?;
        at_pin(&maps, "slots", |path| Chunks::<u32>::create_pinned("slots", path, SLOTS_CHUNK))?;
        at_pin(&maps, "backends_v4", |path| Chunks::<BackendV4>::create_pinned("backends_v4", path, BACKENDS_CHUNK))?;
        at_pin(&maps, "backends_v6", |path| Chunks::<BackendV6>::create_pinned("backends_v6", path, BACKENDS_CHUNK))?;
        FlowCounts::create_pinned(&maps)
    }

    /// A map that is taken over must be what a new one would be.
    fn check(&self, map: &'static str, path: &Path, shape: (u32, usize, usize), sized: Size) -> Result<(), LoadError> {
        let found = match Shape::of_pin(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(LoadError::Map { map, path: path.to_owned(), source }),
            Ok(found) => found,
        };
        if (found.map_type, found.key_size as usize, found.value_size as usize) != shape {
            return Err(LoadError::Layout { path: path.to_owned(), found });
        }
        match self.entries(sized) {
            Some((wanted, knob)) if found.max_entries < wanted => {
                Err(LoadError::TooSmall { path: path.to_owned(), found: found.max_entries, wanted, knob })
            }
            _ => Ok(()),
        }
    }

    /// Entries of a map, and the setting behind them.
    fn entries(&self, sized: Size) -> Option<(u32, Knob)> {
        match sized {
            Size::Fixed => None,
            Size::Flows => Some((self.flows_max, Knob::Flows)),
            Size::HalfFlows => Some(((self.flows_max / HALF_FLOWS_SHARE).max(HALF_FLOWS_MIN), Knob::Flows)),
        }
    }
}

/// Loads the programs with maps that are gone when this returns: whether this kernel takes them.
///
/// # Errors
/// As [`Loader::load`].
pub fn try_load() -> Result<(), LoadError> {
    let globals = Globals::new(SocketLb::All)?;
    let mut loader = EbpfLoader::new();
    globals.set(&mut loader);
    load_programs(&mut loader, OBJECT, &[]).map(drop)
}

/// What the programs are told at load time: read-only to them, so that the verifier drops what they do not need.
struct Globals {
    socket_lb: u32,
    host_netns: u64,
    has_set_retval: u32,
    has_coarse_clock: u32,
}

impl Globals {
    fn new(socket_lb: SocketLb) -> Result<Self, LoadError> {
        let (socket_lb, host_netns) = match socket_lb {
            SocketLb::Off => (0, 0),
            SocketLb::Host => (1, netns_cookie().map_err(LoadError::Netns)?),
            SocketLb::All => (2, netns_cookie().map_err(LoadError::Netns)?),
        };
        // A probe that cannot tell counts as no: the socket entrance then leaves refusals to the device entrance, and the programs read
        // the exact clock.
        let has = |program, helper| u32::from(is_helper_supported(program, helper).unwrap_or(false));
        let has_set_retval = has(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval);
        let has_coarse_clock = has(ProgramType::SchedClassifier, BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
        Ok(Self { socket_lb, host_netns, has_set_retval, has_coarse_clock })
    }

    fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader.override_global("SOCKET_LB", &self.socket_lb, true);
        loader.override_global("HOST_NETNS", &self.host_netns, true);
        loader.override_global("HAS_SET_RETVAL", &self.has_set_retval, true);
        loader.override_global("HAS_COARSE_CLOCK", &self.has_coarse_clock, true);
    }
}

/// Opens or makes what is pinned under a map's name.
pub(crate) fn at_pin<T>(
    maps: &Path,
    map: &'static str,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<T, LoadError> {
    let path = maps.join(map);
    act(&path).map_err(|source| LoadError::Map { map, path, source })
}

/// Loads all programs of an object but those that can wait.
pub(crate) fn load_programs(loader: &mut EbpfLoader<'_>, object: &[u8], waiting: &[&str]) -> Result<Ebpf, LoadError> {
    let mut ebpf = loader.load(object)?;
    for (name, program) in ebpf.programs_mut().filter(|(name, _)| !waiting.contains(name)) {
        let loaded = match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::CgroupSock(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|source| LoadError::Program { program: name.to_owned(), source })?;
    }
    Ok(ebpf)
}

impl Programs {
    /// Where the links are pinned.
    #[must_use]
    pub fn links_dir(&self) -> &Path {
        &self.links_dir
    }

    /// The best way onto a device that this kernel has.
    #[must_use]
    pub fn device_hook(&self) -> DeviceHook {
        self.device_hook
    }

    /// A program of the socket entrance: `connect4`, `connect6`, and so on for `getpeername`, `sendmsg` and `recvmsg`;
    /// `sock_release`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn socket_fd(&self, name: &str) -> Result<BorrowedFd<'_>, ProgramError> {
        match self.program(name)? {
            Program::CgroupSock(program) => Ok(program.fd()?.as_fd()),
            program => Ok(<&CgroupSockAddr>::try_from(program)?.fd()?.as_fd()),
        }
    }

    /// Loads a program of the device entrance unless it is there already. Those for devices whose packets begin with the IP header wait for
    /// the first such device: few nodes have one, and verifying them takes as long as all the others.
    ///
    /// # Errors
    /// When there is no such program, or the kernel refuses it.
    pub fn load_device_program(&mut self, name: &str) -> Result<(), ProgramError> {
        let program = self.classifier(name)?;
        if program.fd().is_ok() { Ok(()) } else { program.load() }
    }

    /// A program of the device entrance: `ingress`, `egress`; after [`Self::load_device_program`] also `ingress_l3` and `egress_l3`, for
    /// devices whose packets begin with the IP header.
    ///
    /// # Errors
    /// When there is no such program, or it is not loaded.
    pub fn device_fd(&self, name: &str) -> Result<BorrowedFd<'_>, ProgramError> {
        let program: &SchedClassifier = self.program(name)?.try_into()?;
        Ok(program.fd()?.as_fd())
    }

    /// A program of the device entrance, to attach it by clsact.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier, ProgramError> {
        self.ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
    }

    fn program(&self, name: &str) -> Result<&Program, ProgramError> {
        self.ebpf.program(name).ok_or(ProgramError::UnexpectedProgramType)
    }
}

fn device_hook() -> DeviceHook {
    match KernelVersion::current() {
        Ok(version) if version >= KernelVersion::new(6, 6, 0) => DeviceHook::Tcx,
        _ => DeviceHook::Clsact,
    }
}

/// Before Linux 5.11 maps count as locked memory, of which a process may have 64 KiB. Where it cannot be lifted the kernel
/// refuses a map, and that is reported.
pub(crate) fn lift_memory_lock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is a valid limit, and only read.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// The cookie of the calling thread's network namespace (`SO_NETNS_COOKIE`, 5.14). Zero where the kernel does not tell: the
/// programs then take the machine's first network namespace for the node's.
///
/// # Errors
/// There is no socket to ask by.
pub fn netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).expect("invariant: 8 fits");
    let value = std::ptr::from_mut(&mut cookie).cast();
    // SAFETY: `value` points at `len` bytes.
    match unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, value, &raw mut len) } {
        0 => Ok(cookie),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(0),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_created_where_no_bpf_file_system_is() {
        let place = tempfile::tempdir().unwrap();
        for bpffs in [place.path().to_owned(), place.path().join("not/there")] {
            let error = Loader::new(&bpffs, Limits::default(), 2, SocketLb::Off).load().unwrap_err();
            assert!(matches!(error, LoadError::Pins { .. }), "{error}");
            assert!(error.to_string().ends_with(&format!("mount -t bpf bpf {}", bpffs.display())), "{error}");
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_limit_that_cannot_be_kept_is_named_before_anything_is_done() {
        let no_backends = Limits { backends_max: 0, ..Limits::default() };
        for (limits, flows_max, want) in [
            (Limits::default(), 0, "`maps.flowsMax` is 0; it must be 2 to 2147483648"),
            (Limits::default(), 1, "`maps.flowsMax` is 1; it must be 2 to 2147483648"),
            (no_backends, 2, "`maps.backendsMax` is 0; it must be 1 to 4194303"),
        ] {
            let error = Loader::new(Path::new("/"), limits, flows_max, SocketLb::Off).load().unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
