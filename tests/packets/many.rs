//! Many flows at a time to one backend: the node's one address has room for them, and each finds its way back.
use crate::frame::{ACK, Frame, SYN};
use crate::rig::{DROP, NETS, NEXT, Net, Rig, with_sized_rig};
use sheave_abi::DeviceValue;
use sheave_bpf::test_run::{Metadata, test_run_with};
use sheave_core::Protocol;
use sheave_core::rules::LocalPods;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Held at the same time.
const FLOWS: u16 = 50_000;
/// Ports of the node's address: 1024 to 65535.
const PORTS: usize = 64_512;
/// Two clients with the same ports: every second flow needs another port than its own.
const FIRST_PORT: u16 = 10_000;
const OF_EACH: u16 = FLOWS / 2;
/// How often a client sends its first packet, before it gives up (tcp_syn_retries, and a resolver's patience).
const TRIES: usize = 6;
/// The LRU tables have an eighth of it, and no flow here may be evicted.
const TABLES: u32 = 1 << 22;

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
            Protocol::Tcp => Frame::tcp(source, destination, flags),
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
        let between = self.run("ingress", &self.frame(client, self.vip, SYN)).unwrap();
        assert_eq!(between, (client, self.backend));
        let (source, destination) = self.run("egress", &self.frame(client, self.backend, SYN))?;
        assert_eq!(destination, self.backend);
        Some(source)
    }

    /// An answer, through both hooks: to the client and from what it dialled.
    fn answer(&self, source: SocketAddr, client: SocketAddr) {
        let between = self.run("ingress", &self.frame(self.backend, source, SYN | ACK)).unwrap();
        assert_eq!(between, (self.backend, client), "the answer to {source}");
        let out = self.run("egress", &self.frame(self.backend, client, SYN | ACK)).unwrap();
        assert_eq!(out, (self.vip, client), "the answer to {source}");
    }

    /// The end of a handshake.
    fn go_on(&self, source: SocketAddr, client: SocketAddr) {
        assert_eq!(self.run("ingress", &self.frame(client, self.vip, ACK)), Some((client, self.backend)));
        assert_eq!(self.run("egress", &self.frame(client, self.backend, ACK)), Some((source, self.backend)));
    }

    /// Holds so many flows, then looks at each again: by source, its client.
    fn hold(&self) -> BTreeMap<SocketAddr, SocketAddr> {
        let mut held = BTreeMap::new();
        for n in 0..FLOWS {
            let client = self.client(n);
            let source = (0..TRIES).find_map(|_| self.begin(client));
            let source = source.unwrap_or_else(|| panic!("{client} finds no port beside {} flows", held.len()));
            assert_eq!(source.ip(), self.net.node(1, 0).ip());
            assert_eq!(held.insert(source, client), None, "{source} is two flows'");
            if self.protocol == Protocol::Tcp {
                self.answer(source, client);
                self.go_on(source, client);
            }
        }
        held.iter().for_each(|(source, client)| self.answer(*source, *client));
        held
    }
}

fn fifty_thousand(net: Net, protocol: Protocol) {
    with_sized_rig("many", TABLES, move |rig| {
        let (vip, backend) = (net.vip(10, 80), net.backend(1, 8080));
        rig.rules(true, LocalPods::default());
        let device: DeviceValue = net.device(1);
        rig.device(1, device);
        rig.service(1, vip, protocol, &[backend]);
        let flows = Flows { rig, net, protocol, vip, backend };
        let held = flows.hold();
        // Twice as many as there are ports left. What finds none is dropped, and counted as just that.
        let more: Vec<_> = (0..=u16::MAX).skip(usize::from(FIRST_PORT)).take(2 * (PORTS - held.len())).collect();
        let before = rig.count("drop_no_source_port");
        let got = more.iter().filter_map(|port| flows.begin(net.outside(9, *port))).collect::<Vec<_>>();
        assert!(got.iter().all(|source| !held.contains_key(source)), "a port of a flow that goes on");
        let dropped = u64::try_from(more.len() - got.len()).unwrap();
        assert!(dropped > 0 && got.len() <= PORTS - held.len(), "{} of {} got a port", got.len(), more.len());
        assert_eq!(rig.count("drop_no_source_port") - before, dropped);
    });
}

#[test]
fn fifty_thousand_connections_and_fifty_thousand_datagram_flows_reach_one_backend_and_find_back() {
    for net in NETS {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            fifty_thousand(net, protocol);
        }
    }
}
