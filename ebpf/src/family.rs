//! IPv4 and IPv6 as parameters of one logic: layouts and maps come in pairs, functions do not.
use crate::ip::{self, Ipv4Header, Ipv6Header, Located, PseudoHeaderV4, PseudoHeaderV6};
use crate::sys::packet::summed;
use crate::sys::{Packet, maps};
use sheave_abi::{
    AffinityKeyV4, AffinityKeyV6, Counter, FLOW_EGRESS, FLOW_INGRESS, FlowKeyV4, FlowKeyV6, FrontendKeyV4,
    FrontendKeyV6, NetPort, RULES_PODS_INTERFACE, RULES_PODS_PREFIX, RULES_PODS_V4, RULES_PODS_V6,
};
use zerocopy::{FromZeros, Immutable, IntoBytes, transmute};

/// A backend as programs use it.
pub struct Backend<A> {
    pub addr: A,
    pub port: NetPort,
    pub service: u32,
    pub state: u8,
}

/// What an ICMP message is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IcmpKind {
    /// A packet that could not be delivered as it was: RFC 792 types 3, 11 and 12, RFC 4443 types 1 to 4.
    Error,
    /// A better way than by this node.
    Redirect,
    EchoRequest,
    Other,
}

/// Bits of rules' flags that a device decides.
const DETECTS_BY_DEVICE: u32 = RULES_PODS_INTERFACE | RULES_PODS_PREFIX;

/// Third word of a v4-mapped address (RFC 4291 §2.5.5.2).
pub const MAPPED: u32 = 0xffff_u32.to_be();

/// One of the two address families.
pub trait Family: 'static {
    /// An address as it stands on the wire, in words: the kernel's processor copies no byte strings.
    type Addr: Copy + PartialEq + FromZeros + IntoBytes + Immutable;
    type FrontendKey: 'static;
    type FlowKey: Copy + FromZeros + 'static;
    type AffinityKey: 'static;

    const IS_IPV6: bool;
    /// Bytes of the IP header without options.
    const HEADER_LEN: u32;
    /// Offsets within the IP header.
    const SRC: u32;
    const DST: u32;
    /// Offset of the header checksum, where there is one.
    const HEADER_CHECKSUM: Option<u32>;
    /// Protocol number of the family's ICMP, and its type and code of "port unreachable".
    const ICMP: u8;
    const PORT_UNREACHABLE: (u8, u8);
    /// The same of "fragmentation needed", "packet too big".
    const TOO_LONG: (u8, u8);
    type Header: IntoBytes + Immutable;
    /// `AF_INET`, `AF_INET6`.
    const AF: u8;
    /// The family's EtherType.
    const ETHER_TYPE: u16;
    /// What a source may send when it is not known how much: what everybody takes in one piece (RFC 791 §3.1, RFC 8200 §5).
    const MTU_MIN: u16;
    /// Bit of the rules' flags: sources inside a prefix are pods of this node.
    const PODS: u32;
    /// Bits of the rules' flags: pods of this node are told from others.
    const DETECTS: u32;

    fn frontends() -> Option<&'static maps::Frontends<Self::FrontendKey>>;
    fn established() -> &'static maps::Established<Self::FlowKey>;
    fn half() -> &'static maps::Half<Self::FlowKey>;
    fn affinity() -> &'static maps::Affinity<Self::AffinityKey>;
    fn fragments() -> &'static maps::Fragments<Self::FlowKey>;
    fn backend(id: u32) -> Option<Backend<Self::Addr>>;
    /// What an address is to the node: `ADDR_OWN` and so on.
    fn node_addr(addr: &Self::Addr) -> u32;
    /// True when an address is inside a range of a Service's; of 0, inside a ServiceCIDR.
    fn is_in_range(service: u32, addr: &Self::Addr) -> bool;
    /// True when an address is inside the prefix of the pods of this node.
    fn is_pod(rules: maps::Rules, addr: &Self::Addr) -> bool;
    /// What the node sends from by a device; zero for nothing.
    fn device_addr(device: maps::Device) -> Self::Addr;

    fn frontend_key(addr: Self::Addr, port: NetPort, protocol: u8) -> Self::FrontendKey;
    fn affinity_key(client: Self::Addr, service: u32) -> Self::AffinityKey;
    fn flow_key(tuple: &Tuple<Self::Addr>, hook: u8) -> Self::FlowKey;
    /// The same with what makes it a key of `fragments`, where flows have zeros.
    fn fragment_key(tuple: &Tuple<Self::Addr>, hook: u8, epoch: [u8; 2]) -> Self::FlowKey;
    fn tuple(key: &Self::FlowKey) -> Tuple<Self::Addr>;
    fn hook(key: &Self::FlowKey) -> u8;
    fn protocol(key: &Self::FlowKey) -> u8 {
        Self::tuple(key).protocol
    }

    /// To and from the common form in flow values: four words, IPv4 in the first.
    fn to_wide(addr: Self::Addr) -> [u32; 4];
    fn from_wide(wide: [u32; 4]) -> Self::Addr;
    /// To the common form of sockets: IPv4 as v4-mapped.
    fn to_mapped(addr: Self::Addr) -> [u32; 4];

    fn is_loopback(addr: &Self::Addr) -> bool;
    /// False for a source nobody may answer: multicast, broadcast, unspecified (RFC 1122 §3.2.1.3, RFC 4291 §2.7).
    fn is_one_host(addr: &Self::Addr) -> bool;

    /// The IP header of a packet of the node's own.
    fn header(src: &Self::Addr, dst: &Self::Addr, protocol: u8, payload_len: u16) -> Self::Header;
    /// What the pseudo header adds to a transport checksum.
    fn pseudo_sum(src: &Self::Addr, dst: &Self::Addr, protocol: u8, len: u32) -> u32;
    /// Finds the transport header behind the IP header at an offset. Of an IP header that is embedded in an ICMP error less may
    /// be there than it says.
    fn locate(packet: Packet, l3: u32, is_embedded: bool) -> Result<Located<Self::Addr>, Counter>;
    /// What an ICMP type means.
    fn icmp_kind(kind: u8) -> IcmpKind;
}

/// Addresses, ports and protocol of a packet.
#[derive(Clone, Copy, PartialEq)]
pub struct Tuple<A> {
    pub src: A,
    pub dst: A,
    pub src_port: NetPort,
    pub dst_port: NetPort,
    pub protocol: u8,
}

impl<A: Copy> Tuple<A> {
    /// The other way round: as answers carry it.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        let Self { src, dst, src_port, dst_port, protocol } = *self;
        Self { src: dst, dst: src, src_port: dst_port, dst_port: src_port, protocol }
    }
}

/// Two ports as a word of a key: keys are written in words because the kernel reads them in words, to hash them, and a processor hands
/// on what it has just written at once where both are of one size.
#[inline(always)]
fn ports(src: NetPort, dst: NetPort) -> u32 {
    let ([a, b], [c, d]) = (src.to_wire().to_ne_bytes(), dst.to_wire().to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// The hook that answers pass.
#[inline(always)]
pub fn other_hook(hook: u8) -> u8 {
    const { assert!(FLOW_INGRESS ^ 1 == FLOW_EGRESS) };
    hook ^ 1
}

pub enum V4 {}
pub enum V6 {}

impl Family for V4 {
    type Addr = u32;
    type FrontendKey = FrontendKeyV4;
    type FlowKey = FlowKeyV4;
    type AffinityKey = AffinityKeyV4;

    const IS_IPV6: bool = false;
    const HEADER_LEN: u32 = 20;
    const SRC: u32 = 12;
    const DST: u32 = 16;
    const HEADER_CHECKSUM: Option<u32> = Some(10);
    const ICMP: u8 = 1;
    const PORT_UNREACHABLE: (u8, u8) = (3, 3);
    const TOO_LONG: (u8, u8) = (3, 4);
    type Header = Ipv4Header;
    const AF: u8 = 2;
    const ETHER_TYPE: u16 = ip::IPV4;
    const MTU_MIN: u16 = 576;
    const PODS: u32 = RULES_PODS_V4;
    const DETECTS: u32 = RULES_PODS_V4 | DETECTS_BY_DEVICE;

    #[inline(always)]
    fn frontends() -> Option<&'static maps::Frontends<FrontendKeyV4>> {
        maps::frontends(&maps::FRONTENDS_V4)
    }
    #[inline(always)]
    fn established() -> &'static maps::Established<FlowKeyV4> {
        &maps::FLOWS_V4
    }
    #[inline(always)]
    fn half() -> &'static maps::Half<FlowKeyV4> {
        &maps::FLOWS_V4_HALF
    }
    #[inline(always)]
    fn affinity() -> &'static maps::Affinity<AffinityKeyV4> {
        &maps::AFFINITY_V4
    }
    #[inline(always)]
    fn fragments() -> &'static maps::Fragments<FlowKeyV4> {
        &maps::FRAGMENTS_V4
    }
    #[inline(always)]
    fn node_addr(addr: &u32) -> u32 {
        maps::node_addr(&maps::NODE_ADDRS_V4, addr)
    }
    #[inline(always)]
    fn is_in_range(service: u32, addr: &u32) -> bool {
        maps::is_in_range(&maps::RANGES_V4, [service, *addr])
    }
    #[inline(always)]
    fn is_pod(rules: maps::Rules, addr: &u32) -> bool {
        let (pods, mask) = rules.pods_v4();
        addr & mask == pods
    }
    #[inline(always)]
    fn device_addr(device: maps::Device) -> u32 {
        device.addr_v4()
    }
    #[inline(always)]
    fn affinity_key(client: u32, service: u32) -> AffinityKeyV4 {
        AffinityKeyV4 { client: transmute!(client), service }
    }
    #[inline(always)]
    fn hook(key: &FlowKeyV4) -> u8 {
        key.hook
    }
    #[inline(always)]
    fn is_loopback(addr: &u32) -> bool {
        let [first, ..] = addr.to_ne_bytes();
        first == 127
    }
    #[inline(always)]
    fn icmp_kind(kind: u8) -> IcmpKind {
        match kind {
            3 | 11 | 12 => IcmpKind::Error,
            5 => IcmpKind::Redirect,
            8 => IcmpKind::EchoRequest,
            _ => IcmpKind::Other,
        }
    }
    #[inline(always)]
    fn backend(id: u32) -> Option<Backend<u32>> {
        maps::backend_v4(id)
    }
    #[inline(always)]
    fn frontend_key(addr: u32, port: NetPort, protocol: u8) -> FrontendKeyV4 {
        FrontendKeyV4 { addr: transmute!(addr), port, protocol, zero: 0 }
    }
    #[inline(always)]
    fn flow_key(tuple: &Tuple<u32>, hook: u8) -> FlowKeyV4 {
        let Tuple { src, dst, src_port, dst_port, protocol } = *tuple;
        transmute!([src, dst, ports(src_port, dst_port), u32::from_ne_bytes([protocol, hook, 0, 0])])
    }
    #[inline(always)]
    fn fragment_key(tuple: &Tuple<u32>, hook: u8, epoch: [u8; 2]) -> FlowKeyV4 {
        FlowKeyV4 { zero: epoch, ..Self::flow_key(tuple, hook) }
    }
    #[inline(always)]
    fn tuple(key: &FlowKeyV4) -> Tuple<u32> {
        let FlowKeyV4 { src, dst, src_port, dst_port, protocol, .. } = *key;
        Tuple { src: transmute!(src), dst: transmute!(dst), src_port, dst_port, protocol }
    }
    #[inline(always)]
    fn to_wide(addr: u32) -> [u32; 4] {
        [addr, 0, 0, 0]
    }
    #[inline(always)]
    fn from_wide([addr, ..]: [u32; 4]) -> u32 {
        addr
    }
    #[inline(always)]
    fn to_mapped(addr: u32) -> [u32; 4] {
        [0, 0, MAPPED, addr]
    }
    #[inline(always)]
    fn is_one_host(addr: &u32) -> bool {
        let [first, ..] = addr.to_ne_bytes();
        first != 0 && first & 0xf0 != 0xe0 && *addr != u32::MAX
    }
    #[inline(always)]
    fn header(src: &u32, dst: &u32, protocol: u8, payload_len: u16) -> Ipv4Header {
        ip::header_v4(*src, *dst, protocol, payload_len)
    }
    #[inline(always)]
    fn pseudo_sum(&src: &u32, &dst: &u32, protocol: u8, len: u32) -> u32 {
        summed(&PseudoHeaderV4 { src, dst, zero: 0, protocol, len: (len as u16).to_be_bytes() }, 0)
    }
    #[inline(always)]
    fn locate(packet: Packet, l3: u32, is_embedded: bool) -> Result<Located<u32>, Counter> {
        ip::locate_v4(packet, l3, is_embedded)
    }
}

impl Family for V6 {
    type Addr = [u32; 4];
    type FrontendKey = FrontendKeyV6;
    type FlowKey = FlowKeyV6;
    type AffinityKey = AffinityKeyV6;

    const IS_IPV6: bool = true;
    const HEADER_LEN: u32 = 40;
    const SRC: u32 = 8;
    const DST: u32 = 24;
    const HEADER_CHECKSUM: Option<u32> = None;
    const ICMP: u8 = 58;
    const PORT_UNREACHABLE: (u8, u8) = (1, 4);
    const TOO_LONG: (u8, u8) = (2, 0);
    type Header = Ipv6Header;
    const AF: u8 = 10;
    const ETHER_TYPE: u16 = ip::IPV6;
    const MTU_MIN: u16 = 1280;
    const PODS: u32 = RULES_PODS_V6;
    const DETECTS: u32 = RULES_PODS_V6 | DETECTS_BY_DEVICE;

    #[inline(always)]
    fn frontends() -> Option<&'static maps::Frontends<FrontendKeyV6>> {
        maps::frontends(&maps::FRONTENDS_V6)
    }
    #[inline(always)]
    fn established() -> &'static maps::Established<FlowKeyV6> {
        &maps::FLOWS_V6
    }
    #[inline(always)]
    fn half() -> &'static maps::Half<FlowKeyV6> {
        &maps::FLOWS_V6_HALF
    }
    #[inline(always)]
    fn affinity() -> &'static maps::Affinity<AffinityKeyV6> {
        &maps::AFFINITY_V6
    }
    #[inline(always)]
    fn fragments() -> &'static maps::Fragments<FlowKeyV6> {
        &maps::FRAGMENTS_V6
    }
    #[inline(always)]
    fn node_addr(addr: &[u32; 4]) -> u32 {
        maps::node_addr(&maps::NODE_ADDRS_V6, addr)
    }
    #[inline(always)]
    fn is_in_range(service: u32, &[a, b, c, d]: &[u32; 4]) -> bool {
        maps::is_in_range(&maps::RANGES_V6, [service, a, b, c, d])
    }
    #[inline(always)]
    fn is_pod(rules: maps::Rules, addr: &[u32; 4]) -> bool {
        let matches = |word: usize| {
            let (pods, mask) = rules.pods_v6(word);
            addr[word] & mask == pods
        };
        matches(0) && matches(1) && matches(2) && matches(3)
    }
    #[inline(always)]
    fn device_addr(device: maps::Device) -> [u32; 4] {
        device.addr_v6()
    }
    #[inline(always)]
    fn affinity_key(client: [u32; 4], service: u32) -> AffinityKeyV6 {
        AffinityKeyV6 { client: transmute!(client), service }
    }
    #[inline(always)]
    fn hook(key: &FlowKeyV6) -> u8 {
        key.hook
    }
    #[inline(always)]
    fn is_loopback(addr: &[u32; 4]) -> bool {
        *addr == [0, 0, 0, 1_u32.to_be()]
    }
    #[inline(always)]
    fn icmp_kind(kind: u8) -> IcmpKind {
        match kind {
            1..=4 => IcmpKind::Error,
            137 => IcmpKind::Redirect,
            128 => IcmpKind::EchoRequest,
            _ => IcmpKind::Other,
        }
    }
    #[inline(always)]
    fn backend(id: u32) -> Option<Backend<[u32; 4]>> {
        maps::backend_v6(id)
    }
    #[inline(always)]
    fn frontend_key(addr: [u32; 4], port: NetPort, protocol: u8) -> FrontendKeyV6 {
        FrontendKeyV6 { addr: transmute!(addr), port, protocol, zero: 0 }
    }
    #[inline(always)]
    fn flow_key(tuple: &Tuple<[u32; 4]>, hook: u8) -> FlowKeyV6 {
        let Tuple { src, dst, src_port, dst_port, protocol } = *tuple;
        let ([a, b, c, d], [e, f, g, h]) = (src, dst);
        transmute!([a, b, c, d, e, f, g, h, ports(src_port, dst_port), u32::from_ne_bytes([protocol, hook, 0, 0])])
    }
    #[inline(always)]
    fn fragment_key(tuple: &Tuple<[u32; 4]>, hook: u8, epoch: [u8; 2]) -> FlowKeyV6 {
        FlowKeyV6 { zero: epoch, ..Self::flow_key(tuple, hook) }
    }
    #[inline(always)]
    fn tuple(key: &FlowKeyV6) -> Tuple<[u32; 4]> {
        let FlowKeyV6 { src, dst, src_port, dst_port, protocol, .. } = *key;
        Tuple { src: transmute!(src), dst: transmute!(dst), src_port, dst_port, protocol }
    }
    #[inline(always)]
    fn to_wide(addr: [u32; 4]) -> [u32; 4] {
        addr
    }
    #[inline(always)]
    fn from_wide(wide: [u32; 4]) -> [u32; 4] {
        wide
    }
    #[inline(always)]
    fn to_mapped(addr: [u32; 4]) -> [u32; 4] {
        addr
    }
    #[inline(always)]
    fn is_one_host(&[a, b, c, d]: &[u32; 4]) -> bool {
        let [first, ..] = a.to_ne_bytes();
        first != 0xff && a | b | c | d != 0
    }
    #[inline(always)]
    fn header(src: &[u32; 4], dst: &[u32; 4], protocol: u8, payload_len: u16) -> Ipv6Header {
        ip::header_v6(*src, *dst, protocol, payload_len)
    }
    #[inline(always)]
    fn pseudo_sum(&src: &[u32; 4], &dst: &[u32; 4], next_header: u8, len: u32) -> u32 {
        summed(&PseudoHeaderV6 { src, dst, len: len.to_be_bytes(), zero: [0; 3], next_header }, 0)
    }
    #[inline(always)]
    fn locate(packet: Packet, l3: u32, is_embedded: bool) -> Result<Located<[u32; 4]>, Counter> {
        ip::locate_v6(packet, l3, is_embedded)
    }
}
