//! The node that packets are asked of: programs, maps, devices.
use super::KernelError;
use super::affinity::Notes;
use super::devices::Devices;
use super::tally::Tally;
use crate::engine::{Answer, EngineError, bring};
use sheave_bpf::apply::BpfDataplane;
use sheave_bpf::counters::Counters;
use sheave_bpf::exec::KernelMaps;
use sheave_bpf::image::Image;
use sheave_bpf::limits::Limits;
use sheave_bpf::load::{Loader, Programs, SocketLb};
use sheave_bpf::read_back::read_back;
use sheave_bpf::test_run::takes_ingress_ifindex;
use sheave_core::decide::Transport;
use sheave_core::{Desired, NodeRules, Packet, Protocol, Realized};
use sheave_lab::Stand;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

const BPFFS: &str = "/sys/fs/bpf";
/// Entries of the tables of established flows; none of the flows here is ever established.
const FLOWS_MAX: u32 = 1 << 12;

pub(super) struct Node {
    pub(super) programs: Programs,
    pub(super) counters: Counters,
    pub(super) tally: Tally,
    pub(super) notes: Notes,
    pub(super) devices: Devices,
    pub(super) rules: Arc<NodeRules>,
    /// Whether packets can be run as ones that came in by another device.
    pub(super) takes_ingress: bool,
    /// The source port of the last flow.
    pub(super) port: u16,
    dataplane: BpfDataplane<KernelMaps>,
}

impl Node {
    /// In the namespaces of the calling thread, which are those of the stand.
    pub(super) fn new(stand: Stand) -> Result<Self, EngineError> {
        let bpffs = Path::new(BPFFS);
        let limits = Limits::default();
        let open = || {
            let programs = Loader::new(bpffs, limits, FLOWS_MAX, SocketLb::Off).load()?;
            let takes_ingress = takes_ingress(&programs)?;
            let counters = Counters::open(bpffs)?;
            Ok::<_, KernelError>(Self {
                programs,
                takes_ingress,
                tally: Tally::new(&counters)?,
                counters,
                notes: Notes::open(bpffs)?,
                devices: Devices::new(stand, bpffs)?,
                rules: Arc::default(),
                port: 0,
                dataplane: BpfDataplane::new(Image::default(), limits, KernelMaps::open(bpffs)?),
            })
        };
        Ok(open()?)
    }

    /// Goes on to other objects, by a plan over what is held; then looks into the maps.
    pub(super) fn hold(&mut self, desired: &Desired) -> Result<(), EngineError> {
        bring(&mut self.dataplane, desired)?;
        self.rules = Arc::clone(desired.rules());
        self.devices.follow(&self.rules)?;
        Ok(self.look(desired)?)
    }

    /// Everything wanted stands in the maps as it is wanted, and nothing else does: sets that flows have not drawn yet included.
    fn look(&self, desired: &Desired) -> Result<(), KernelError> {
        let (image, strays) = read_back(Path::new(BPFFS))?;
        let differs = |what: String| Err(KernelError::Contradiction(format!("in the maps: {what}")));
        if let Some(stray) = strays.first() {
            return differs(format!("{stray:?} belongs to nothing"));
        }
        let wanted = desired.keys();
        if image.keys() != wanted {
            return differs(format!("{:?}, wanted {wanted:?}", image.keys()));
        }
        for key in &wanted {
            let (held, wanted) = (image.serving(key), desired.serving(key).map(|serving| (**serving).clone()));
            if held != wanted {
                return differs(format!("{key}: {held:?}, wanted {wanted:?}"));
            }
        }
        if image.vips() != desired.vips() {
            return differs(format!("addresses {:?}, wanted {:?}", image.vips(), desired.vips()));
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, packet: &Packet) -> Result<Answer, KernelError> {
        if let Some(why) = self.unasked(packet)? {
            return Ok(Answer::Unasked(why));
        }
        match self.survey(packet) {
            Err(KernelError::NoRoute) => Ok(Answer::Unasked(
                "a packet of the node itself to an endpoint on the node cannot be carried from a device; the socket \
                 entrance serves it over TCP and UDP"
                    .to_owned(),
            )),
            // Why, its text says.
            Err(error @ KernelError::NotForwarded) => Ok(Answer::Unasked(error.to_string())),
            answer => answer,
        }
    }

    /// Why no device ever sees such a packet.
    fn unasked(&mut self, packet: &Packet) -> Result<Option<String>, KernelError> {
        let Packet { source, destination, transport, interface } = packet;
        if let Some(name) = interface
            && self.devices.named(name)?.is_none()
        {
            return Ok(Some(format!("{name} cannot be the name of a device here")));
        }
        let why = if source.is_unspecified() || destination.is_unspecified() {
            "no packet has such an address on a device"
        } else if source.is_loopback() || (self.rules.is_own(*source) && self.rules.is_own(*destination)) {
            match transport {
                Transport::Port(Protocol::Sctp, _) => "what the node sends to itself over SCTP passes no program",
                _ => "what the node sends to itself passes no device; the socket entrance serves it",
            }
        } else {
            return Ok(None);
        };
        Ok(Some(why.to_owned()))
    }

    /// Whether the node itself sends it: it leaves by a device, and came in by none.
    pub(super) fn is_sent_here(&self, packet: &Packet) -> bool {
        packet.interface.is_none() && self.rules.is_own(packet.source)
    }
}

fn takes_ingress(programs: &Programs) -> Result<bool, KernelError> {
    let fd = device_program(programs, "egress")?;
    takes_ingress_ifindex(fd).map_err(|source| KernelError::TestRun { program: "egress", source })
}

/// A program of the device entrance.
pub(super) fn device_program<'a>(programs: &'a Programs, program: &'static str) -> Result<BorrowedFd<'a>, KernelError> {
    programs.device_fd(program).map_err(|error| KernelError::NoProgram { program, why: error.to_string() })
}
