//! One flow: its first packet, through the programs a node would run it through.
use super::KernelError;
use super::devices::MASQUERADE;
use super::node::{Node, device_program};
use super::survey::contradiction;
use super::tally::Mark;
use crate::packet::{Body, Flags, Frame, Link, Tcp};
use sheave_bpf::test_run::{Metadata, Run, test_run_with};
use sheave_core::decide::Transport;
use sheave_core::{Backend, Packet, Port, Protocol};
use sheave_lab::Device;
use std::net::IpAddr;

/// What the programs return: go on, drop, redirect.
const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// Source ports of flows: those a client would use, in turn.
const FIRST_PORT: u16 = 1024;
/// The station beside the node.
const OTHER_MAC: [u8; 6] = [0x02, 0x5e, 0, 3, 0, 1];
const ICMP_UNREACHABLE: u8 = 3;
const ICMPV6_UNREACHABLE: u8 = 1;

/// What became of a flow's first packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shot {
    /// It left for a backend, its source replaced or not.
    Forwarded(Backend, bool),
    /// It was answered.
    Rejected,
    /// It was thrown away.
    Dropped,
    /// It went on untouched.
    Passed,
}

/// What one program did to a packet.
enum Done {
    Untouched,
    Dropped,
    Answered,
    /// What it is now.
    Rewritten(Vec<u8>, Box<Frame>),
}

impl Node {
    /// Begins a flow that was not there before.
    pub(super) fn shoot(&mut self, packet: &Packet) -> Result<Shot, KernelError> {
        self.port = self.port.checked_add(1).map_or(FIRST_PORT, |port| port.max(FIRST_PORT));
        if self.is_sent_here(packet) {
            return self.leave(packet);
        }
        let device = match &packet.interface {
            Some(name) => self.devices.named(name)?,
            None => None,
        };
        let device = device.unwrap_or(self.devices.uplink);
        let first = frame(packet, self.port, device).bytes();
        let at = Metadata { ifindex: device.index, ..Metadata::default() };
        match self.run("ingress", packet, &first, at)? {
            Done::Dropped => Ok(Shot::Dropped),
            Done::Answered => Ok(Shot::Rejected),
            Done::Rewritten(bytes, _) => self.forward(packet, &bytes, device),
            Done::Untouched if self.rules.is_own(packet.destination) => Ok(Shot::Passed),
            Done::Untouched => match self.run("egress", packet, &first, self.forwarded(device)?)? {
                Done::Untouched => Ok(Shot::Passed),
                Done::Dropped => Ok(Shot::Dropped),
                Done::Answered | Done::Rewritten(..) => {
                    Err(contradiction(packet, "passed where it came in, and is ours where it leaves"))
                }
            },
        }
    }

    /// A translated packet leaves the node: it may be masqueraded there.
    fn forward(&mut self, packet: &Packet, bytes: &[u8], came_in: Device) -> Result<Shot, KernelError> {
        let translated = read(packet, bytes)?;
        let backend = backend(packet, &translated)?;
        if translated.source != packet.source {
            return Err(contradiction(packet, "the source is replaced before the stack has seen it"));
        }
        match self.run("egress", packet, bytes, self.forwarded(came_in)?)? {
            Done::Untouched => Ok(Shot::Forwarded(backend, false)),
            Done::Rewritten(_, left) if left.destination == translated.destination => {
                Ok(Shot::Forwarded(backend, is_masqueraded(packet, &left)?))
            }
            Done::Rewritten(_, left) => Err(contradiction(packet, &format!("translated twice: {left:?}"))),
            Done::Dropped | Done::Answered => {
                let counted = self.tally.settle(&self.counters)?;
                Err(contradiction(packet, &format!("translated, and then not let out: {counted:?}")))
            }
        }
    }

    /// What the node itself sends is decided where it leaves.
    fn leave(&mut self, packet: &Packet) -> Result<Shot, KernelError> {
        let device = self.devices.uplink;
        let bytes = frame(packet, self.port, device).bytes();
        match self.run("egress", packet, &bytes, Metadata { ifindex: device.index, ..Metadata::default() })? {
            Done::Untouched => Ok(Shot::Passed),
            Done::Dropped => Ok(Shot::Dropped),
            Done::Answered => Ok(Shot::Rejected),
            Done::Rewritten(_, left) => Ok(Shot::Forwarded(
                backend(packet, &left)?,
                left.source != packet.source && is_masqueraded(packet, &left)?,
            )),
        }
    }

    /// At egress, of a packet that came in by this device.
    fn forwarded(&self, came_in: Device) -> Result<Metadata, KernelError> {
        let at = Metadata { ifindex: self.devices.inner.index, ingress_ifindex: came_in.index, ..Metadata::default() };
        if self.takes_ingress { Ok(at) } else { Err(KernelError::NotForwarded) }
    }

    /// Runs a program on a packet. What it returned and what became of the bytes have to tell one story.
    fn run(&mut self, program: &'static str, packet: &Packet, bytes: &[u8], at: Metadata) -> Result<Done, KernelError> {
        let fd = device_program(&self.programs, program)?;
        let ran = test_run_with(fd, bytes, 1, at);
        let Run { verdict, packet: out, .. } = ran.map_err(|source| KernelError::TestRun { program, source })?;
        let (mark, done) = match verdict {
            DROP => (Mark::Dropped, Done::Dropped),
            NEXT if out == bytes => (Mark::Exactly(passing(packet)), Done::Untouched),
            NEXT | REDIRECT => {
                let frame = read(packet, &out)?;
                match verdict == REDIRECT && is_refusal(packet, self.port, &frame) {
                    true => (Mark::Exactly(refusal(&frame)), Done::Answered),
                    false => {
                        (Mark::Exactly(translation(packet, &frame, bytes)?), Done::Rewritten(out, Box::new(frame)))
                    }
                }
            }
            verdict => return Err(contradiction(packet, &format!("{program} returned {verdict}"))),
        };
        self.tally.ran(mark);
        Ok(done)
    }

    /// Looks at all counters: since the last look each run has counted one outcome, of the kind that was seen, and nothing else
    /// has moved but events (I10). Returns what has.
    pub(super) fn settle(&mut self, packet: &Packet) -> Result<Vec<&'static str>, KernelError> {
        match self.tally.settle(&self.counters)? {
            Ok(counted) if counted.contains(&"drop_no_route") => Err(KernelError::NoRoute),
            Ok(counted) => Ok(counted),
            Err(what) => Err(contradiction(packet, &what)),
        }
    }
}

/// The first packet of the flow.
fn frame(packet: &Packet, port: u16, device: Device) -> Frame {
    let (source_port, payload) = (port, b"first".to_vec());
    let body = match packet.transport {
        Transport::Port(Protocol::Tcp, destination_port) => {
            Body::Tcp(Tcp { source_port, destination_port, flags: Flags::SYN, ..Tcp::default() })
        }
        Transport::Port(Protocol::Udp, destination_port) => Body::Udp { source_port, destination_port, payload },
        Transport::Port(Protocol::Sctp, destination_port) => Body::init(source_port, destination_port, 1),
        Transport::Echo => Body::echo(packet.source, port),
    };
    let link = Link::Ethernet { destination: device.mac, source: OTHER_MAC, vlan: None };
    Frame { link, ..Frame::new(packet.source, packet.destination, body) }
}

/// What came out, its checksums verified.
fn read(packet: &Packet, bytes: &[u8]) -> Result<Frame, KernelError> {
    let frame = Frame::read(bytes).map_err(|error| contradiction(packet, &error.to_string()))?;
    match frame.is_intact() {
        true => Ok(frame),
        false => Err(contradiction(packet, &format!("a checksum is wrong: {frame:?}"))),
    }
}

fn backend(packet: &Packet, left: &Frame) -> Result<Backend, KernelError> {
    let port = left.destination_port().and_then(Port::new);
    let port = port.ok_or_else(|| contradiction(packet, &format!("without a port: {left:?}")))?;
    Ok(Backend { addr: left.destination, port })
}

/// Whether the source was replaced, which leaves one choice of address.
fn is_masqueraded(packet: &Packet, left: &Frame) -> Result<bool, KernelError> {
    let ours = MASQUERADE.contains(&left.source);
    match ours || left.source == packet.source {
        true => Ok(ours),
        false => Err(contradiction(packet, &format!("the source became {}", left.source))),
    }
}

/// What is counted for a whole first packet that goes on untouched.
fn passing(packet: &Packet) -> &'static str {
    match packet.transport {
        Transport::Port(..) => "pass_no_frontend",
        Transport::Echo => "pass_protocol",
    }
}

/// What is counted for a first packet that was rewritten: its destination, of which perhaps only the port changes, or where that is
/// so already, its source.
fn translation(packet: &Packet, left: &Frame, before: &[u8]) -> Result<&'static str, KernelError> {
    let leads = |frame: &Frame| (frame.destination, frame.destination_port());
    let is_new = leads(&read(packet, before)?) != leads(left);
    Ok(if is_new { "flow_new" } else { "flow_masquerade" })
}

fn refusal(answer: &Frame) -> &'static str {
    if matches!(answer.body, Body::Tcp(_)) { "reject_reset" } else { "reject_unreachable" }
}

/// A TCP reset or an ICMP port unreachable that answers the packet, from what it dialled (E11).
fn is_refusal(packet: &Packet, port: u16, answer: &Frame) -> bool {
    let from_dialled = (answer.source, answer.destination) == (packet.destination, packet.source);
    from_dialled
        && match (&answer.body, packet.transport) {
            (Body::Tcp(tcp), Transport::Port(Protocol::Tcp, dialled)) => {
                tcp.flags.contains(Flags::RST) && (tcp.source_port, tcp.destination_port) == (dialled, port)
            }
            (Body::Icmp { kind, .. }, _) => match packet.source {
                IpAddr::V4(_) => *kind == ICMP_UNREACHABLE,
                IpAddr::V6(_) => *kind == ICMPV6_UNREACHABLE,
            },
            _ => false,
        }
}
