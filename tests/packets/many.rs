//! Many flows at a time to one backend: the node's one address has room for them, and each finds its way back.
use crate::frame::{ACK, Frame, SYN};
use crate::rig::{DROP, NETS, NEXT, Net, Rig, with_sized_rig};
use sheave_abi::{DeviceValue, FLOW_ESTABLISHED};
use sheave_bpf::test_run::{Metadata, test_run_with};
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Held at the same time.
const FLOWS: u16 = 50_000;
/// Entries of a masqueraded flow: two translations, each both ways.
const ENTRIES: usize = 4;
/// Ports of the node's address: 1024 to 65535.
const PORTS: usize = 64_512;
/// Two clients with the same ports: every second flow needs another port than its own.
const FIRST_PORT: u16 = 10_000;
const OF_EACH: u16 = FLOWS / 2;
/// How often a client sends its first packet, before it gives up (tcp_syn_retries, and a resolver's patience).
const TRIES: usize = 6;
/// Entries of each table of established flows. The LRU ones have an eighth of it, which holds all of `FLOWS` and of those that follow:
/// datagram flows start there, and one that was evicted would have lost its port.
const TABLES: u32 = 1 << 22;
/// How many flows go by before all are seen to be awake: a fraction of what a slow machine does in the 30 s of `FLOW_ONE_WAY_IDLE_NS`.
const AWAKE: usize = 5_000;
/// What both ends number their first byte with.
const SEQ: u32 = 0x2000_0000;

struct Flows<'a> {
    rig: &'a Rig,
    net: Net,
    protocol: Protocol,
    vip: SocketAddr,
    backend: SocketAddr,
}

impl Flows<'_> {
    fn client(&self, n: u16) -> SocketAddr {
        self.net.outside(1 + n / OF_EACH, FIRST_PORT + n % OF_EACH)
    }

    fn frame(&self, source: SocketAddr, destination: SocketAddr, flags: u8) -> Frame {
        match self.protocol {
            Protocol::Tcp => Frame::tcp(source, destination, flags).seq(SEQ).ack(SEQ + 1),
            _ => Frame::udp(source, destination, b"data"),
        }
    }

    /// Runs a program; where the packet comes out of it, from whom to whom.
    fn run(&self, program: &str, frame: &Frame) -> Option<(SocketAddr, SocketAddr)> {
        let fd = self.rig.programs.device_fd(program).unwrap();
        let ran = test_run_with(fd, &frame.bytes(), 1, Metadata::default()).unwrap();
        assert!([NEXT, DROP].contains(&ran.verdict), "{program}: {}", ran.verdict);
        let seen = crate::frame::Seen::read(&ran.packet);
        (ran.verdict == NEXT).then_some((seen.src, seen.dst))
    }

    /// The first packet, through both hooks: the source that the backend sees; `None` where it is dropped.
    fn begin(&self, client: SocketAddr) -> Option<SocketAddr> {
        let between = self.run("ingress", &self.frame(client, self.vip, SYN));
        assert_eq!(between, Some((client, self.backend)), "the first packet of {client}");
        let (source, destination) = self.run("egress", &self.frame(client, self.backend, SYN))?;
        assert_eq!(destination, self.backend);
        Some(source)
    }

    /// An answer, through both hooks: to the client and from what it dialled.
    fn answer(&self, source: SocketAddr, client: SocketAddr) {
        let between = self.run("ingress", &self.frame(self.backend, source, SYN | ACK));
        assert_eq!(between, Some((self.backend, client)), "the answer to {source}");
        let out = self.run("egress", &self.frame(self.backend, client, SYN | ACK));
        assert_eq!(out, Some((self.vip, client)), "the answer to {source}");
    }

    /// The end of a handshake, or one more datagram.
    fn go_on(&self, source: SocketAddr, client: SocketAddr) {
        let between = self.run("ingress", &self.frame(client, self.vip, ACK));
        assert_eq!(between, Some((client, self.backend)), "{client} goes on");
        let out = self.run("egress", &self.frame(client, self.backend, ACK));
        assert_eq!(out, Some((source, self.backend)), "{client} goes on");
    }

    /// Holds so many flows, then looks at each again, both ways: by source, its client.
    fn hold(&self) -> BTreeMap<SocketAddr, SocketAddr> {
        let mut held = BTreeMap::new();
        for n in 0..FLOWS {
            self.keep_awake(held.len());
            let client = self.client(n);
            let source = (0..TRIES).find_map(|_| self.begin(client));
            let source = source.unwrap_or_else(|| panic!("{client} finds no port beside {} flows", held.len()));
            assert_eq!(source.ip(), self.net.node(1, 0).ip());
            assert_eq!(held.insert(source, client), None, "{source} is two flows'");
            self.answer(source, client);
            self.go_on(source, client);
        }
        self.rig.keep_awake();
        for (source, client) in &held {
            self.answer(*source, *client);
            self.go_on(*source, *client);
        }
        held
    }

    fn keep_awake(&self, done: usize) {
        if done.is_multiple_of(AWAKE) {
            self.rig.keep_awake();
        }
    }
}

fn fifty_thousand(name: &str, net: Net, protocol: Protocol) {
    with_sized_rig(name, TABLES, move |rig| {
        let (vip, backend) = (net.vip(10, 80), net.backend(1, 8080));
        rig.rules(true, LocalPods::default());
        let device: DeviceValue = net.device(1);
        rig.device(1, device);
        rig.service(1, vip, protocol, &[backend]);
        let flows = Flows { rig, net, protocol, vip, backend };
        let held = flows.hold();
        // Whole, and where nothing is evicted.
        assert!(rig.states() == vec![(true, FLOW_ESTABLISHED); ENTRIES * held.len()], "{net:?} {protocol:?}");
        // Twice as many as there are ports left. What finds none is dropped, and counted as just that.
        let more: Vec<_> = (0..=u16::MAX).skip(usize::from(FIRST_PORT)).take(2 * (PORTS - held.len())).collect();
        let before = rig.count("drop_no_source_port");
        let mut got = Vec::new();
        for (n, port) in more.iter().enumerate() {
            flows.keep_awake(n);
            got.extend(flows.begin(net.outside(9, *port)));
        }
        assert!(got.iter().all(|source| !held.contains_key(source)), "a port of a flow that goes on");
        let dropped = u64::try_from(more.len() - got.len()).unwrap();
        assert!(dropped > 0 && got.len() <= PORTS - held.len(), "{} of {} got a port", got.len(), more.len());
        assert_eq!(rig.count("drop_no_source_port") - before, dropped);
    });
}

#[test]
fn fifty_thousand_connections_reach_one_backend_and_find_back() {
    for net in NETS {
        fifty_thousand("many-tcp", net, Protocol::Tcp);
    }
}

#[test]
fn fifty_thousand_datagram_flows_reach_one_backend_and_find_back() {
    for net in NETS {
        fifty_thousand("many-udp", net, Protocol::Udp);
    }
}
