//! Route netlink in batches: many requests in one system call, each with its answer.
use crate::sandbox::{Sandbox, SandboxError};
use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Requests per system call. Each answer takes some 800 bytes of the receive buffer, which is 208 KiB unless tuned.
const BATCH: usize = 64;
/// For how long a new device may stay without its queue: long, because only one that never gets it is a fault.
const READY_DEADLINE: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(1);
/// The queue of a device that is not ready: everything sent is lost.
const QUEUE_OF_THE_UNREADY: &str = "noop";

/// The kernel refused a request.
#[derive(Debug, thiserror::Error)]
pub enum RtnlError {
    /// The socket failed.
    #[error("{place}: route netlink socket: {source}")]
    Socket {
        /// The sandbox.
        place: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// One request failed; the others of its batch were carried out.
    #[error("{place}: cannot add {object}: {source}")]
    Refused {
        /// The sandbox.
        place: String,
        /// What was to be made.
        object: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something was made and does not work.
    #[error(
        "{place}: {object} is not in use {READY_DEADLINE:?} after it was made; are the kernel's work queues stuck?"
    )]
    NotReady {
        /// The sandbox.
        place: String,
        /// What was made.
        object: String,
    },
    /// The sandbox is out of threads.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// One thing to make, and its name for the error.
pub(crate) struct Request {
    object: String,
    flags: u16,
    message: RouteNetlinkMessage,
}

impl Request {
    const NEW: u16 = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

    pub(crate) fn new_link(object: String, message: LinkMessage) -> Self {
        Self { object, flags: Self::NEW, message: RouteNetlinkMessage::NewLink(message) }
    }

    pub(crate) fn change_link(object: String, message: LinkMessage) -> Self {
        Self { object, flags: NLM_F_REQUEST | NLM_F_ACK, message: RouteNetlinkMessage::NewLink(message) }
    }

    /// An address with the length of its network, usable at once: no duplicate address detection.
    pub(crate) fn new_address(index: u32, network: IpNet) -> Self {
        let addr = network.addr();
        let mut message = AddressMessage::default();
        message.header.family = family(addr);
        message.header.prefix_len = network.prefix_len();
        message.header.index = index;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Address(addr),
            AddressAttribute::Local(addr),
            AddressAttribute::Flags(AddressFlags::Nodad),
        ];
        let message = RouteNetlinkMessage::NewAddress(message);
        Self { object: format!("address {addr}"), flags: Self::NEW, message }
    }

    /// A neighbour that never has to be asked for.
    pub(crate) fn new_neighbour(index: u32, addr: IpAddr, mac: [u8; 6]) -> Self {
        let mut message = NeighbourMessage::default();
        message.header.family = family(addr);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(neighbour_address(addr)),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Self { object: format!("neighbour {addr}"), flags: Self::NEW, message }
    }

    /// Where a tunnel finds the owner of a MAC address.
    pub(crate) fn new_forwarding(index: u32, mac: [u8; 6], remote: IpAddr) -> Self {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
            NeighbourAttribute::Destination(neighbour_address(remote)),
        ];
        let message = RouteNetlinkMessage::NewNeighbour(message);
        Self { object: format!("forwarding entry to {remote}"), flags: Self::NEW, message }
    }

    /// What comes in by this device is routed by this table, as far as it goes.
    pub(crate) fn new_rule(device: &str, of: IpAddr, table: u8, priority: u32) -> Self {
        let mut message = RuleMessage::default();
        message.header.family = family(of);
        message.header.table = table;
        message.header.action = RuleAction::ToTable;
        message.attributes = vec![RuleAttribute::Iifname(device.to_owned()), RuleAttribute::Priority(priority)];
        let message = RouteNetlinkMessage::NewRule(message);
        Self { object: format!("rule for {device}"), flags: Self::NEW, message }
    }

    pub(crate) fn new_route(object: String, message: RouteMessage) -> Self {
        Self { object, flags: Self::NEW, message: RouteNetlinkMessage::NewRoute(message) }
    }
}

pub(crate) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// The prefix length that means this address alone.
pub(crate) fn host_prefix(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn neighbour_address(addr: IpAddr) -> NeighbourAddress {
    match addr {
        IpAddr::V4(addr) => NeighbourAddress::Inet(addr),
        IpAddr::V6(addr) => NeighbourAddress::Inet6(addr),
    }
}

pub(crate) fn route_address(addr: IpAddr) -> RouteAddress {
    match addr {
        IpAddr::V4(addr) => RouteAddress::Inet(addr),
        IpAddr::V6(addr) => RouteAddress::Inet6(addr),
    }
}

/// A route netlink socket of a sandbox.
pub(crate) struct Rtnl {
    place: String,
    socket: Socket,
    sequence: u32,
}

impl Rtnl {
    pub(crate) fn open(sandbox: &Sandbox) -> Result<Self, RtnlError> {
        let place = sandbox.name().to_owned();
        let opened = sandbox.run(|| {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        })?;
        match opened {
            Ok(socket) => Ok(Self { place, socket, sequence: 0 }),
            Err(source) => Err(RtnlError::Socket { place, source }),
        }
    }

    /// Carries the requests out in order. After a refusal the rest of its batch has been tried, later batches have not.
    pub(crate) fn apply(&mut self, requests: Vec<Request>) -> Result<(), RtnlError> {
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let batch: Vec<Request> = requests.by_ref().take(BATCH).collect();
            self.apply_batch(batch)?;
        }
        Ok(())
    }

    fn apply_batch(&mut self, batch: Vec<Request>) -> Result<(), RtnlError> {
        let first = self.sequence;
        let mut buffer = Vec::new();
        let mut objects = Vec::with_capacity(batch.len());
        for Request { object, flags, message } in batch {
            append(&mut buffer, self.sequence, flags, message);
            self.sequence = self.sequence.wrapping_add(1);
            objects.push(object);
        }
        self.socket.send(&buffer, 0).map_err(|source| self.failed(source))?;
        let mut refused = None;
        let mut answered = 0;
        while answered < objects.len() {
            let (datagram, _) = self.socket.recv_from_full().map_err(|source| self.failed(source))?;
            for (sequence, outcome) in answers(&datagram).map_err(|source| self.failed(source))? {
                answered += 1;
                if let (Err(source), None) = (outcome, &refused) {
                    let object = objects.get(sequence.wrapping_sub(first) as usize).cloned().unwrap_or_default();
                    refused = Some(RtnlError::Refused { place: self.place.clone(), object, source });
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Waits until a device that has just come up carries packets. The kernel gives it its queue in linkwatch work, some time
    /// after both ends are up, and what is sent before is lost without a trace. Asking for the device makes newer kernels do
    /// that work first (facd15dfd691); others are asked again. Without this wait and the next one, 9 of 24 runs that built up
    /// to 20 fresh clusters, four runs at a time on two cores, lost a first datagram; with both, none of 24.
    pub(crate) fn wait_for_link(&mut self, index: u32) -> Result<(), RtnlError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let carries = |answer| matches!(answer, RouteNetlinkMessage::NewLink(link) if carries(&link));
        self.wait_until(|| format!("device {index}"), &RouteNetlinkMessage::GetLink(message), carries)
    }

    /// Waits until an address is delivered to. The kernel adds the route of an IPv6 address in the work that follows duplicate
    /// address detection, also where there is none to do (addrconf_dad_completed).
    pub(crate) fn wait_for_address(&mut self, addr: IpAddr) -> Result<(), RtnlError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(addr);
        message.header.destination_prefix_length = host_prefix(addr);
        message.attributes.push(RouteAttribute::Destination(route_address(addr)));
        let local =
            |answer| matches!(answer, RouteNetlinkMessage::NewRoute(route) if route.header.kind == RouteType::Local);
        self.wait_until(|| format!("address {addr}"), &RouteNetlinkMessage::GetRoute(message), local)
    }

    fn wait_until(
        &mut self,
        object: impl Fn() -> String,
        question: &RouteNetlinkMessage,
        fits: impl Fn(RouteNetlinkMessage) -> bool,
    ) -> Result<(), RtnlError> {
        let deadline = Instant::now() + READY_DEADLINE;
        while !self.ask(question.clone())?.is_some_and(&fits) {
            if Instant::now() > deadline {
                return Err(RtnlError::NotReady { place: self.place.clone(), object: object() });
            }
            thread::sleep(READY_POLL);
        }
        Ok(())
    }

    /// One question, one answer; `None` if the kernel has none.
    fn ask(&mut self, question: RouteNetlinkMessage) -> Result<Option<RouteNetlinkMessage>, RtnlError> {
        let mut buffer = Vec::new();
        append(&mut buffer, self.sequence, NLM_F_REQUEST, question);
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&buffer, 0).map_err(|source| self.failed(source))?;
        let (datagram, _) = self.socket.recv_from_full().map_err(|source| self.failed(source))?;
        let answer = NetlinkMessage::deserialize(&datagram).map_err(|error| self.failed(io::Error::other(error)))?;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => Ok(Some(message)),
            _ => Ok(None),
        }
    }

    fn failed(&self, source: io::Error) -> RtnlError {
        RtnlError::Socket { place: self.place.clone(), source }
    }
}

fn carries(link: &LinkMessage) -> bool {
    let queue = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Qdisc(queue) => Some(queue.as_str()),
        _ => None,
    });
    link.header.flags.contains(LinkFlags::Running) && queue.is_some_and(|queue| queue != QUEUE_OF_THE_UNREADY)
}

fn append(buffer: &mut Vec<u8>, sequence: u32, flags: u16, message: RouteNetlinkMessage) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let start = buffer.len();
    buffer.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut buffer[start..]);
}

/// The answers in a datagram: sequence number and verdict.
fn answers(mut bytes: &[u8]) -> io::Result<Vec<(u32, io::Result<()>)>> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).map_err(io::Error::other)?;
        if let NetlinkPayload::Error(error) = &message.payload {
            let verdict = if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
            answers.push((message.header.sequence_number, verdict));
        }
        let length = (message.header.length as usize).next_multiple_of(4).min(bytes.len());
        bytes = &bytes[length..];
    }
    Ok(answers)
}
