//! What the programs remember, looked at and changed behind their backs.
use crate::rig::{BPFFS, Rig};
use sheave_abi::{
    AffinityKeyV4, AffinityKeyV6, AffinityValue, FLOW_EGRESS, FLOW_ESTABLISHED, FLOW_INGRESS, FLOW_PENDING, FlowKeyV4,
    FlowKeyV6, FlowValue, FragmentValue, IPPROTO_TCP, IPPROTO_UDP, NetPort,
};
use sheave_bpf::map::Map;
use sheave_bpf::pins::Pins;
use sheave_bpf::sweep::{Sweeper, monotonic_ns};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;
use std::path::Path;

/// When flows that must not fall idle were seen: in the future.
const NEVER_IDLE_NS: u64 = u64::MAX >> 1;

impl Rig {
    /// Takes ports of an IPv4 client at a backend for UDP, as that many living flows of other VIPs would.
    pub(crate) fn occupy(&self, backend: SocketAddr, client: SocketAddr, ports: RangeInclusive<u32>) {
        self.occupy_at(FLOW_EGRESS, backend, client, ports);
    }

    fn occupy_at(&self, hook: u8, backend: SocketAddr, client: SocketAddr, ports: RangeInclusive<u32>) {
        let (SocketAddr::V4(backend), SocketAddr::V4(client)) = (backend, client) else { panic!("IPv4 only") };
        let at = |port| SocketAddrV4::new(*client.ip(), u16::try_from(port).unwrap());
        let keys: Vec<_> = ports.map(|port| key_v4(hook, backend, at(port), IPPROTO_UDP)).collect();
        let flow = FlowValue { seen_ns: NEVER_IDLE_NS, state: FLOW_ESTABLISHED, ..FlowValue::default() };
        table("flows_v4").put_all(&keys, &vec![flow; keys.len()]).unwrap();
    }

    /// Takes ports of an IPv4 address of the node's at a backend for UDP, as that many masqueraded flows would.
    pub(crate) fn occupy_masqueraded(&self, backend: SocketAddr, node: SocketAddr, ports: RangeInclusive<u32>) {
        self.occupy_at(FLOW_INGRESS, backend, node, ports);
    }

    /// Loses the entries of packets from one address to another at a hook, as an LRU table may.
    pub(crate) fn lose(&self, hook: u8, src: SocketAddr, dst: SocketAddr) {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            // The other protocol's is not there.
            let _ = match (src, dst) {
                (SocketAddr::V4(src), SocketAddr::V4(dst)) => {
                    table("flows_v4_half").delete(&key_v4(hook, src, dst, protocol))
                }
                (SocketAddr::V6(src), SocketAddr::V6(dst)) => {
                    table("flows_v6_half").delete(&key_v6(hook, src, dst, protocol))
                }
                _ => panic!("a flow has one family"),
            };
        }
    }

    /// Removes the entries whose source is not chosen yet, as pressure would.
    pub(crate) fn evict_pending(&self) {
        let (v4, v6) = (table::<FlowKeyV4>("flows_v4_half"), table::<FlowKeyV6>("flows_v6_half"));
        let is_pending = |flow: &FlowValue| flow.role & FLOW_PENDING != 0;
        v4.entries().unwrap().iter().filter(|(_, flow)| is_pending(flow)).for_each(|(key, _)| v4.delete(key).unwrap());
        v6.entries().unwrap().iter().filter(|(_, flow)| is_pending(flow)).for_each(|(key, _)| v6.delete(key).unwrap());
    }

    /// The states of all entries, established table first: `[(in the established table, state)]`.
    pub(crate) fn states(&self) -> Vec<(bool, u8)> {
        let mut states: Vec<_> = self.flows().into_iter().map(|(kept, flow)| (kept, flow.state)).collect();
        states.sort_unstable_by(|a, b| b.cmp(a));
        states
    }

    pub(crate) fn flows(&self) -> Vec<(bool, FlowValue)> {
        let mut flows = Vec::new();
        for (v4, v6, kept) in [("flows_v4", "flows_v6", true), ("flows_v4_half", "flows_v6_half", false)] {
            flows.extend(table::<FlowKeyV4>(v4).entries().unwrap().into_iter().map(|(_, flow)| (kept, flow)));
            flows.extend(table::<FlowKeyV6>(v6).entries().unwrap().into_iter().map(|(_, flow)| (kept, flow)));
        }
        flows
    }

    /// Makes every flow look as if its packets had come `ns` earlier than they did.
    pub(crate) fn age_flows(&self, ns: u64) {
        let aged = |flow: FlowValue| FlowValue {
            seen_ns: flow.seen_ns.wrapping_sub(ns),
            begun_ns: flow.begun_ns.wrapping_sub(ns),
            ..flow
        };
        for (v4, v6) in [("flows_v4", "flows_v6"), ("flows_v4_half", "flows_v6_half")] {
            let (v4, v6) = (table::<FlowKeyV4>(v4), table::<FlowKeyV6>(v6));
            v4.entries().unwrap().into_iter().for_each(|(key, flow)| v4.put(&key, &aged(flow)).unwrap());
            v6.entries().unwrap().into_iter().for_each(|(key, flow)| v6.put(&key, &aged(flow)).unwrap());
        }
    }

    /// Makes every flow that is not established look as if it had begun long ago and were heard of all the time: it does not fall idle
    /// however slow the machine is, and the next answer to a datagram makes a stream of it.
    pub(crate) fn keep_awake(&self) {
        keep_awake::<FlowKeyV4>("flows_v4_half");
        keep_awake::<FlowKeyV6>("flows_v6_half");
    }

    /// Makes what is remembered of datagrams in fragments look as if it had been so many epochs earlier.
    pub(crate) fn age_fragments(&self, epochs: u16) {
        let pin = |name: &str| Pins::new(Path::new(BPFFS)).maps().join(name);
        let aged = |epoch: [u8; 2]| u16::from_le_bytes(epoch).wrapping_sub(epochs).to_le_bytes();
        let v4: Map<FlowKeyV4, FragmentValue> = Map::open(&pin("fragments_v4")).unwrap();
        for (key, ports) in v4.entries().unwrap() {
            v4.delete(&key).unwrap();
            v4.put(&FlowKeyV4 { zero: aged(key.zero), ..key }, &ports).unwrap();
        }
        let v6: Map<FlowKeyV6, FragmentValue> = Map::open(&pin("fragments_v6")).unwrap();
        for (key, ports) in v6.entries().unwrap() {
            v6.delete(&key).unwrap();
            v6.put(&FlowKeyV6 { zero: aged(key.zero), ..key }, &ports).unwrap();
        }
    }

    /// Makes what is remembered of clients look as if it had been `ns` earlier.
    pub(crate) fn age_affinity(&self, ns: u64) {
        let pin = |name: &str| Pins::new(Path::new(BPFFS)).maps().join(name);
        let aged = |held: AffinityValue| AffinityValue { seen_ns: held.seen_ns.wrapping_sub(ns), ..held };
        let v4: Map<AffinityKeyV4, AffinityValue> = Map::open(&pin("affinity_v4")).unwrap();
        v4.entries().unwrap().into_iter().for_each(|(key, held)| v4.put(&key, &aged(held)).unwrap());
        let v6: Map<AffinityKeyV6, AffinityValue> = Map::open(&pin("affinity_v6")).unwrap();
        v6.entries().unwrap().into_iter().for_each(|(key, held)| v6.put(&key, &aged(held)).unwrap());
    }

    /// Makes the replies to a client look as if the last one had come just now.
    pub(crate) fn revive(&self, client: SocketAddr) {
        let seen_ns = monotonic_ns();
        let (v4, v6) = (table::<FlowKeyV4>("flows_v4"), table::<FlowKeyV6>("flows_v6"));
        let is_reply = |dst: IpAddr, port: NetPort| SocketAddr::new(dst, port.to_host()) == client;
        for (key, flow) in v4.entries().unwrap() {
            if is_reply(key.dst.into(), key.dst_port) {
                v4.put(&key, &FlowValue { seen_ns, ..flow }).unwrap();
            }
        }
        for (key, flow) in v6.entries().unwrap() {
            if is_reply(key.dst.into(), key.dst_port) {
                v6.put(&key, &FlowValue { seen_ns, ..flow }).unwrap();
            }
        }
    }

    /// Sweeps the tables once over; how many entries were removed.
    pub(crate) fn sweep(&self) -> usize {
        let mut sweeper = Sweeper::open(Path::new(BPFFS)).unwrap();
        sweeper.step(1 << 16, monotonic_ns()).unwrap().removed
    }

    /// Frees ports taken by [`Rig::occupy`].
    pub(crate) fn vacate(&self, backend: SocketAddr, client: SocketAddr, ports: RangeInclusive<u32>) {
        let table = table::<FlowKeyV4>("flows_v4");
        for (key, _) in table.entries().unwrap() {
            let is_theirs = IpAddr::from(key.src) == backend.ip()
                && key.src_port.to_host() == backend.port()
                && IpAddr::from(key.dst) == client.ip();
            if is_theirs && ports.contains(&u32::from(key.dst_port.to_host())) {
                table.delete(&key).unwrap();
            }
        }
    }

    /// Removes the entries of one hook from the LRU tables, as pressure would.
    pub(crate) fn evict(&self, hook: u8) {
        let (v4, v6) = (table::<FlowKeyV4>("flows_v4_half"), table::<FlowKeyV6>("flows_v6_half"));
        let evict_v4 = |key: FlowKeyV4| {
            if key.hook == hook {
                v4.delete(&key).unwrap();
            }
        };
        v4.entries().unwrap().into_iter().for_each(|(key, _)| evict_v4(key));
        let evict_v6 = |key: FlowKeyV6| {
            if key.hook == hook {
                v6.delete(&key).unwrap();
            }
        };
        v6.entries().unwrap().into_iter().for_each(|(key, _)| evict_v6(key));
    }
}

fn keep_awake<K>(name: &str)
where
    K: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    let table = table::<K>(name);
    let asleep = table.entries().unwrap().into_iter().filter(|(_, flow)| flow.seen_ns != NEVER_IDLE_NS);
    let awake = |flow| FlowValue { seen_ns: NEVER_IDLE_NS, begun_ns: 0, ..flow };
    let (keys, flows): (Vec<K>, Vec<FlowValue>) = asleep.map(|(key, flow)| (key, awake(flow))).unzip();
    if !keys.is_empty() {
        table.put_all(&keys, &flows).unwrap();
    }
}

/// Key of packets from one address to another at a hook.
fn key_v4(hook: u8, src: SocketAddrV4, dst: SocketAddrV4, protocol: u8) -> FlowKeyV4 {
    FlowKeyV4 {
        src: src.ip().octets(),
        dst: dst.ip().octets(),
        src_port: NetPort::from_host(src.port()),
        dst_port: NetPort::from_host(dst.port()),
        protocol,
        hook,
        zero: [0; 2],
    }
}

/// The same of IPv6.
fn key_v6(hook: u8, src: SocketAddrV6, dst: SocketAddrV6, protocol: u8) -> FlowKeyV6 {
    FlowKeyV6 {
        src: src.ip().octets(),
        dst: dst.ip().octets(),
        src_port: NetPort::from_host(src.port()),
        dst_port: NetPort::from_host(dst.port()),
        protocol,
        hook,
        zero: [0; 2],
    }
}

fn table<K>(name: &str) -> Map<K, FlowValue>
where
    K: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    Map::open(&Pins::new(Path::new(BPFFS)).maps().join(name)).unwrap()
}
