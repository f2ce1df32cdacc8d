//! Flows that another translator of this node carries, entered into the flow tables so that the programs let them pass.
//!
//! The proxy that was here before translates by connection tracking, which keeps to a flow's translation for as long as the flow lives.
//! TCP finds its way there by itself: what is no SYN and has no entry passes. A datagram, and a SYN that comes again, would be taken for
//! the beginning of a flow and be decided anew. And a port of this node that a masquerade of that proxy has taken must not be given to
//! a flow of ours to the same backend. Each is an entry of its own ([`FLOW_FOREIGN`]).
mod whose;

use crate::exec::number;
use crate::image::Image;
use crate::map::Map;
use crate::pins::Pins;
use sheave_abi::{
    BackendId, FLOW_CLIENT_SIDE, FLOW_ESTABLISHED, FLOW_FOREIGN, FLOW_HALF_OPEN, FLOW_INGRESS, FLOW_ONE_WAY, FlowKeyV4,
    FlowKeyV6, FlowValue, NetPort, ServiceId,
};
use sheave_core::{ForeignFlow, Protocol};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use whose::Finder;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What has become of a flow that was to be imported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Import {
    /// It goes on; the tables have so many entries more for it.
    GoesOn(usize),
    /// It is to a frontend of ours, but its backend does not serve: it is decided anew (L2).
    Lost,
    /// It is to no frontend of ours.
    NotOurs,
}

/// The kernel's ids of a flow to a Service of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Whose {
    service: ServiceId,
    backend: BackendId,
}

/// An entry of a flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    V4(FlowKeyV4, FlowValue),
    V6(FlowKeyV6, FlowValue),
}

/// What the tables have to hold of a flow at `now_ns`: nothing of most flows of TCP and SCTP.
fn entries(flow: &ForeignFlow, whose: Whose, now_ns: u64) -> Vec<Entry> {
    let state = match flow.protocol {
        _ if flow.opening => FLOW_HALF_OPEN,
        Protocol::Udp if !flow.assured => FLOW_ONE_WAY,
        _ => FLOW_ESTABLISHED,
    };
    let begun = FlowValue {
        begun_ns: now_ns,
        backend: whose.backend.0.get(),
        service: whose.service.0.get(),
        state,
        ..FlowValue::default()
    };
    let begun = FlowValue { seen_ns: seen_ns(flow, &begun, now_ns), ..begun };
    let to_backend = (flow.protocol == Protocol::Udp || flow.opening).then(|| {
        let value = FlowValue { role: FLOW_FOREIGN | FLOW_CLIENT_SIDE, ..begun };
        entry(flow.protocol, [flow.client, flow.dialled], [flow.source, flow.backend], value)
    });
    let to_client = (flow.source != flow.client).then(|| {
        let value = FlowValue { role: FLOW_FOREIGN, ..begun };
        entry(flow.protocol, [flow.backend, flow.source], [flow.dialled, flow.client], value)
    });
    to_backend.into_iter().chain(to_client).flatten().collect()
}

/// When its last packet must have come, if an entry is to be forgotten when the other translator forgets the flow: a packet that
/// passes after that is translated by nobody.
fn seen_ns(flow: &ForeignFlow, begun: &FlowValue, now_ns: u64) -> u64 {
    let idle_max_ns = begun.idle_max_ns(number(flow.protocol));
    let remaining_ns = u64::try_from(flow.remaining.as_nanos()).unwrap_or(u64::MAX);
    now_ns.saturating_sub(idle_max_ns.saturating_sub(remaining_ns))
}

/// The entry for packets of an address pair that come in, where the other translator rewrites them as it does. `None` for addresses of two
/// families.
fn entry(protocol: Protocol, seen: [SocketAddr; 2], to: [SocketAddr; 2], value: FlowValue) -> Option<Entry> {
    let protocol = number(protocol);
    let [src_port, dst_port] = seen.map(|end| NetPort::from_host(end.port()));
    let value = FlowValue {
        src: wide(to[0].ip()),
        dst: wide(to[1].ip()),
        src_port: NetPort::from_host(to[0].port()),
        dst_port: NetPort::from_host(to[1].port()),
        ..value
    };
    let (hook, zero) = (FLOW_INGRESS, [0; 2]);
    match seen.map(|end| end.ip()) {
        [IpAddr::V4(src), IpAddr::V4(dst)] => {
            let (src, dst) = (src.octets(), dst.octets());
            Some(Entry::V4(FlowKeyV4 { src, dst, src_port, dst_port, protocol, hook, zero }, value))
        }
        [IpAddr::V6(src), IpAddr::V6(dst)] => {
            let (src, dst) = (src.octets(), dst.octets());
            Some(Entry::V6(FlowKeyV6 { src, dst, src_port, dst_port, protocol, hook, zero }, value))
        }
        _ => None,
    }
}

fn wide(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => {
            let mut wide = [0; 16];
            wide[..4].copy_from_slice(&addr.octets());
            wide
        }
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// The flow tables, to enter such flows.
#[derive(Debug)]
pub struct ForeignFlows {
    v4: Tables<FlowKeyV4>,
    v6: Tables<FlowKeyV6>,
}

#[derive(Debug)]
struct Tables<K> {
    established: Map<K, FlowValue>,
    half: Map<K, FlowValue>,
}

impl ForeignFlows {
    /// Opens the tables that [`crate::load::Loader`] has pinned below a BPF file system.
    ///
    /// # Errors
    /// When they are not there.
    pub fn open(bpffs: &Path) -> io::Result<Self> {
        let maps = Pins::new(bpffs).maps();
        let table = |name| maps.join(name);
        Ok(Self {
            v4: Tables::open(&table("flows_v4"), &table("flows_v4_half"))?,
            v6: Tables::open(&table("flows_v6"), &table("flows_v6_half"))?,
        })
    }

    /// An import by what the maps hold; `now_ns` as [`crate::sweep::monotonic_ns`].
    #[must_use]
    pub fn importer<'a>(&'a self, image: &'a Image, now_ns: u64) -> Importer<'a> {
        Importer { tables: self, finder: Finder::new(image), now_ns }
    }
}

/// Enters flows, one after the other.
#[derive(Debug)]
pub struct Importer<'a> {
    tables: &'a ForeignFlows,
    finder: Finder<'a>,
    now_ns: u64,
}

impl Importer<'_> {
    /// Enters what has to be known of a flow, but nothing over an entry that is there.
    ///
    /// # Errors
    /// `E2BIG` when a table is full; else as bpf(2).
    pub fn import(&mut self, flow: &ForeignFlow) -> io::Result<Import> {
        let whose = match self.finder.find(flow) {
            Some(Some(whose)) => whose,
            Some(None) => return Ok(Import::Lost),
            None => return Ok(Import::NotOurs),
        };
        let ForeignFlows { v4, v6 } = self.tables;
        let mut entered = 0;
        for entry in entries(flow, whose, self.now_ns) {
            entered += usize::from(match entry {
                Entry::V4(key, value) => v4.enter(&key, &value)?,
                Entry::V6(key, value) => v6.enter(&key, &value)?,
            });
        }
        Ok(Import::GoesOn(entered))
    }
}

impl<K: IntoBytes + FromBytes + Immutable> Tables<K> {
    fn open(established: &Path, half: &Path) -> io::Result<Self> {
        Ok(Self { established: Map::open(established)?, half: Map::open(half)? })
    }

    /// Into the table that evicts nothing: nobody puts such an entry back.
    fn enter(&self, key: &K, value: &FlowValue) -> io::Result<bool> {
        if self.established.get(key)?.is_some() || self.half.get(key)?.is_some() {
            return Ok(false);
        }
        self.established.put(key, value).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    const NOW_NS: u64 = 900_000_000_000;

    /// Kept for 20 s more.
    fn flow(protocol: Protocol, ends: [&str; 4], opening: bool, assured: bool) -> ForeignFlow {
        let [client, dialled, backend, source] = ends.map(|end| end.parse().unwrap());
        let remaining = Duration::from_secs(20);
        ForeignFlow { protocol, client, dialled, backend, source, opening, assured, remaining }
    }

    fn whose() -> Whose {
        let [backend, service] = [3, 5].map(|id| NonZeroU32::new(id).unwrap());
        Whose { backend: BackendId(backend), service: ServiceId(service) }
    }

    /// Who sends to whom, what that becomes, role and state.
    fn shown(entry: &Entry) -> (String, String, u8, u8) {
        let v4 = |addr: [u8; 16]| IpAddr::from(<[u8; 4]>::try_from(&addr[..4]).unwrap());
        let (seen, to, value) = match entry {
            Entry::V4(key, value) => (
                [(key.src.into(), key.src_port), (key.dst.into(), key.dst_port)],
                [(v4(value.src), value.src_port), (v4(value.dst), value.dst_port)],
                value,
            ),
            Entry::V6(key, value) => (
                [(IpAddr::from(key.src), key.src_port), (key.dst.into(), key.dst_port)],
                [(value.src.into(), value.src_port), (value.dst.into(), value.dst_port)],
                value,
            ),
        };
        assert_eq!((value.backend, value.service, value.begun_ns), (3, 5, NOW_NS));
        let shown = |ends: [(IpAddr, NetPort); 2]| {
            ends.map(|(addr, port)| SocketAddr::new(addr, port.to_host()).to_string()).join(" > ")
        };
        (shown(seen), shown(to), value.role, value.state)
    }

    const PLAIN: [&str; 4] = ["10.1.0.1:4000", "10.96.0.10:53", "10.1.0.2:5353", "10.1.0.1:4000"];
    const MASQUERADED: [&str; 4] = ["[fd18::1]:4000", "[fd30::1]:30053", "[fd18::2]:5353", "[fd30::1]:6000"];

    /// L6
    #[test]
    fn what_would_begin_a_flow_has_an_entry_and_so_has_each_port_that_is_taken() {
        let (to_vip, to_backend) = ("10.1.0.1:4000 > 10.96.0.10:53", "10.1.0.1:4000 > 10.1.0.2:5353");
        let (to_port, by_node) = ("[fd18::1]:4000 > [fd30::1]:30053", "[fd30::1]:6000 > [fd18::2]:5353");
        let (to_node, back) = ("[fd18::2]:5353 > [fd30::1]:6000", "[fd30::1]:30053 > [fd18::1]:4000");
        let (client, open, stream) = (FLOW_FOREIGN | FLOW_CLIENT_SIDE, FLOW_HALF_OPEN, FLOW_ESTABLISHED);
        for (name, given, want) in [
            ("UDP", flow(Protocol::Udp, PLAIN, false, false), vec![(to_vip, to_backend, client, FLOW_ONE_WAY)]),
            ("a stream", flow(Protocol::Udp, PLAIN, false, true), vec![(to_vip, to_backend, client, stream)]),
            ("TCP", flow(Protocol::Tcp, PLAIN, false, true), vec![]),
            ("TCP, SYN seen", flow(Protocol::Tcp, PLAIN, true, false), vec![(to_vip, to_backend, client, open)]),
            (
                "UDP, masqueraded",
                flow(Protocol::Udp, MASQUERADED, false, true),
                vec![(to_port, by_node, client, stream), (to_node, back, FLOW_FOREIGN, stream)],
            ),
            (
                "TCP, masqueraded",
                flow(Protocol::Tcp, MASQUERADED, false, true),
                vec![(to_node, back, FLOW_FOREIGN, stream)],
            ),
            ("SCTP", flow(Protocol::Sctp, PLAIN, false, true), vec![]),
            (
                "SCTP, masqueraded",
                flow(Protocol::Sctp, MASQUERADED, false, true),
                vec![(to_node, back, FLOW_FOREIGN, stream)],
            ),
        ] {
            let found: Vec<_> = entries(&given, whose(), NOW_NS).iter().map(shown).collect();
            let want: Vec<_> =
                want.into_iter().map(|(seen, to, role, state)| (seen.to_owned(), to.to_owned(), role, state)).collect();
            assert_eq!(found, want, "case: {name}");
        }
    }

    #[test]
    fn an_entry_is_forgotten_when_the_other_translator_forgets_the_flow() {
        for (name, protocol, assured, idle_s) in [
            ("UDP", Protocol::Udp, false, 10),
            ("a stream", Protocol::Udp, true, 100),
            ("TCP", Protocol::Tcp, true, 86_380),
        ] {
            let now_ns = 100_000 * 1_000_000_000;
            for entry in entries(&flow(protocol, MASQUERADED, false, assured), whose(), now_ns) {
                let (Entry::V4(_, value) | Entry::V6(_, value)) = entry;
                assert_eq!(now_ns - value.seen_ns, idle_s * 1_000_000_000, "case: {name}");
            }
        }
        let long = ForeignFlow { remaining: Duration::MAX, ..flow(Protocol::Udp, PLAIN, false, true) };
        let entries = entries(&long, whose(), NOW_NS);
        assert!(matches!(entries[..], [Entry::V4(_, FlowValue { seen_ns: NOW_NS, .. })]), "{entries:?}");
    }
}
