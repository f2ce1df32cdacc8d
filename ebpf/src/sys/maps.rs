//! The maps, pinned by the loader under their names. Sizes of flow tables are set at load time; inner arrays are created by
//! user space chunk by chunk, and a larger hash is put in the place of one that is full, so growth changes nothing here.
use super::lookup::Netns;
use super::packet::SUMMED_MAX;
use crate::family::{Backend, Family};
use crate::segment::Segment;
use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage};
use aya_ebpf::macros::btf_map;
use sheave_abi::{
    AFFINITY_MAX, AffinityKeyV4, AffinityKeyV6, AffinityValue, BACKENDS_CHUNK, BackendV4, BackendV6, CHUNKS_MAX,
    COUNTERS_MAX, DEVICES_MAX, DeviceValue, FRAGMENTS_MAX, FlowKeyV4, FlowKeyV6, FlowValue, FragmentValue,
    FrontendKeyV4, FrontendKeyV6, FrontendValue, HASH_FIRST, NODE_ADDRS_MAX, Origin, RANGE_SERVICE_BITS, RANGES_MAX,
    RulesValue, SERVICES_CHUNK, SLOTS_CHUNK, ServiceValue, SetWord,
};

const NO_PREALLOC: usize = 1;
/// Replaced by the loader.
const SIZED_AT_LOAD: usize = 1 << 10;
const CHUNKS: usize = CHUNKS_MAX as usize;

pub type Frontends<K> = HashMap<K, FrontendValue, { HASH_FIRST as usize }, NO_PREALLOC>;
/// One slot, with the hash that is in force.
pub type GrowingFrontends<K> = ArrayOfMaps<Frontends<K>, 1>;
pub type Established<K> = HashMap<K, FlowValue, SIZED_AT_LOAD, NO_PREALLOC>;
pub type Half<K> = LruHashMap<K, FlowValue, SIZED_AT_LOAD>;
/// Key of a node's address, in words.
pub type NodeAddrs<A> = HashMap<A, u32, { NODE_ADDRS_MAX as usize }, NO_PREALLOC>;
/// Key behind its prefix length: the Service's id and the address, in words.
pub type Ranges<K> = LpmTrie<K, u32, { RANGES_MAX as usize }>;
pub type Affinity<K> = LruHashMap<K, AffinityValue, { AFFINITY_MAX as usize }>;
pub type Fragments<K> = LruHashMap<K, FragmentValue, { FRAGMENTS_MAX as usize }>;
pub type Backends<V> = ArrayOfMaps<Array<V, { BACKENDS_CHUNK as usize }>, CHUNKS>;

#[btf_map(name = "frontends_v4")]
pub static FRONTENDS_V4: GrowingFrontends<FrontendKeyV4> = ArrayOfMaps::new();
#[btf_map(name = "frontends_v6")]
pub static FRONTENDS_V6: GrowingFrontends<FrontendKeyV6> = ArrayOfMaps::new();
#[btf_map(name = "services")]
pub static SERVICES: ArrayOfMaps<Array<ServiceValue, { SERVICES_CHUNK as usize }>, CHUNKS> = ArrayOfMaps::new();
#[btf_map(name = "slots")]
pub static SLOTS: ArrayOfMaps<Array<u32, { SLOTS_CHUNK as usize }>, CHUNKS> = ArrayOfMaps::new();
#[btf_map(name = "backends_v4")]
pub static BACKENDS_V4: Backends<BackendV4> = ArrayOfMaps::new();
#[btf_map(name = "backends_v6")]
pub static BACKENDS_V6: Backends<BackendV6> = ArrayOfMaps::new();
#[btf_map(name = "flows_v4")]
pub static FLOWS_V4: Established<FlowKeyV4> = HashMap::new();
#[btf_map(name = "flows_v6")]
pub static FLOWS_V6: Established<FlowKeyV6> = HashMap::new();
#[btf_map(name = "flows_v4_half")]
pub static FLOWS_V4_HALF: Half<FlowKeyV4> = LruHashMap::new();
#[btf_map(name = "flows_v6_half")]
pub static FLOWS_V6_HALF: Half<FlowKeyV6> = LruHashMap::new();
#[btf_map(name = "node_addrs_v4")]
pub static NODE_ADDRS_V4: NodeAddrs<u32> = HashMap::new();
#[btf_map(name = "node_addrs_v6")]
pub static NODE_ADDRS_V6: NodeAddrs<[u32; 4]> = HashMap::new();
#[btf_map(name = "ranges_v4")]
pub static RANGES_V4: Ranges<[u32; 2]> = LpmTrie::new();
#[btf_map(name = "ranges_v6")]
pub static RANGES_V6: Ranges<[u32; 5]> = LpmTrie::new();
#[btf_map(name = "rules")]
pub static RULES: Array<RulesValue, 1> = Array::new();
#[btf_map(name = "devices")]
pub static DEVICES: HashMap<u32, DeviceValue, { DEVICES_MAX as usize }, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "affinity_v4")]
pub static AFFINITY_V4: Affinity<AffinityKeyV4> = LruHashMap::new();
#[btf_map(name = "affinity_v6")]
pub static AFFINITY_V6: Affinity<AffinityKeyV6> = LruHashMap::new();
#[btf_map(name = "fragments_v4")]
pub static FRAGMENTS_V4: Fragments<FlowKeyV4> = LruHashMap::new();
#[btf_map(name = "fragments_v6")]
pub static FRAGMENTS_V6: Fragments<FlowKeyV6> = LruHashMap::new();
#[btf_map(name = "origins")]
pub static ORIGINS: SkStorage<Origin> = SkStorage::new();
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<u64, { COUNTERS_MAX as usize }> = PerCpuArray::new();

/// Room for what the 512 bytes of stack cannot hold, for the device programs: nothing interrupts one for another of them.
#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Of the larger family's [`Segment`].
const SEGMENT_WORDS: usize = 20;

#[repr(C)]
pub struct Scratch {
    /// An entry being made.
    pub flow: FlowValue,
    /// A question to the routing table.
    pub fib: bpf_fib_lookup,
    /// The packet at hand: a [`Segment`] of its family.
    pub segment: [u64; SEGMENT_WORDS],
    /// Bytes being summed.
    pub bytes: [u32; (SUMMED_MAX / 4) as usize],
}

/// This processor's entry being made.
#[inline(always)]
pub fn new_entry() -> Option<&'static mut FlowValue> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: per processor, and a packet makes one entry at a time.
    Some(unsafe { &mut (*scratch).flow })
}

/// This processor's room for [`SUMMED_MAX`] bytes.
#[inline(always)]
pub fn scratch_bytes() -> Option<*mut u32> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: only an address is taken.
    Some(unsafe { (&raw mut (*scratch).bytes).cast() })
}

/// This processor's room for a packet.
#[inline(always)]
pub fn scratch_segment<F: Family>() -> Option<&'static mut Segment<F>> {
    const {
        assert!(size_of::<Segment<F>>() <= SEGMENT_WORDS * 8 && align_of::<Segment<F>>() <= 8);
    }
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: only an address is taken.
    let segment: *mut Segment<F> = unsafe { (&raw mut (*scratch).segment).cast() };
    // SAFETY: large enough and aligned, by the line above; per processor, and a packet is at hand at a time. What the last packet left
    // is a segment of one of the families, or zeros: numbers in both, and small ones where `Kind` stands, which is at the same place.
    Some(unsafe { &mut *segment })
}

/// This processor's room for a question to the routing table.
#[inline(always)]
pub fn scratch_fib() -> Option<*mut bpf_fib_lookup> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: only an address is taken.
    Some(unsafe { &raw mut (*scratch).fib })
}

/// An entry of `services`, of which each word is read when it is needed.
#[derive(Clone, Copy)]
pub struct Service(*const ServiceValue);

#[inline(always)]
pub fn service(id: u32) -> Option<Service> {
    let entry = SERVICES.get_value_ptr_mut(id / SERVICES_CHUNK, &(id % SERVICES_CHUNK))?;
    Some(Service(entry))
}

impl Service {
    /// The Cluster set: the old one or the new one.
    #[inline(always)]
    pub fn cluster(self) -> SetWord {
        // SAFETY: an array value, which stays for the life of the program.
        word(unsafe { &raw const (*self.0).cluster })
    }

    /// The Local set: the old one or the new one.
    #[inline(always)]
    pub fn local(self) -> SetWord {
        // SAFETY: an array value, which stays for the life of the program.
        word(unsafe { &raw const (*self.0).local })
    }

    #[inline(always)]
    pub fn flags(self) -> u32 {
        // SAFETY: an array value, which stays for the life of the program.
        unsafe { (&raw const (*self.0).flags).read_volatile() }
    }

    #[inline(always)]
    pub fn affinity_s(self) -> u32 {
        // SAFETY: an array value, which stays for the life of the program.
        unsafe { (&raw const (*self.0).affinity_s).read_volatile() }
    }
}

#[inline(always)]
fn word(set: *const SetWord) -> SetWord {
    // SAFETY: an aligned 8-byte word within an array value, which stays for the life of the program.
    zerocopy::transmute!(unsafe { set.cast::<u64>().read_volatile() })
}

/// The entry of `rules`.
#[derive(Clone, Copy)]
pub struct Rules(*const RulesValue);

#[inline(always)]
pub fn rules() -> Option<Rules> {
    RULES.get_ptr(0).map(Rules)
}

impl Rules {
    #[inline(always)]
    pub fn flags(self) -> u32 {
        // SAFETY: an array value, which stays for the life of the program.
        unsafe { (&raw const (*self.0).flags).read_volatile() }
    }

    /// Pod network and mask.
    #[inline(always)]
    pub fn pods_v4(self) -> (u32, u32) {
        // SAFETY: an array value, which stays for the life of the program, aligned to 4.
        let pods = unsafe { (&raw const (*self.0).pods_v4).cast::<u32>().read_volatile() };
        // SAFETY: as above.
        (pods, unsafe { (&raw const (*self.0).mask_v4).cast::<u32>().read_volatile() })
    }

    /// A word of the pod network, and of the mask.
    #[inline(always)]
    pub fn pods_v6(self, word: usize) -> (u32, u32) {
        let word = word & 3;
        // SAFETY: an array value, which stays for the life of the program, aligned to 4; four words, by the line above.
        let pods = unsafe { (&raw const (*self.0).pods_v6).cast::<u32>().add(word).read_volatile() };
        // SAFETY: as above.
        (pods, unsafe { (&raw const (*self.0).mask_v6).cast::<u32>().add(word).read_volatile() })
    }
}

/// An entry of `devices`.
#[derive(Clone, Copy)]
pub struct Device(*const DeviceValue);

#[inline(always)]
pub fn device(ifindex: u32) -> Option<Device> {
    DEVICES.get_ptr(&ifindex).map(Device)
}

impl Device {
    #[inline(always)]
    pub fn flags(self) -> u32 {
        // SAFETY: a value of a successful lookup.
        unsafe { (&raw const (*self.0).flags).read_volatile() }
    }

    #[inline(always)]
    pub fn addr_v4(self) -> u32 {
        // SAFETY: a value of a successful lookup, aligned to 4.
        unsafe { (&raw const (*self.0).addr_v4).cast::<u32>().read_volatile() }
    }

    #[inline(always)]
    pub fn addr_v6(self) -> [u32; 4] {
        // SAFETY: a value of a successful lookup, aligned to 4; only an address is taken.
        words(unsafe { (&raw const (*self.0).addr_v6).cast() })
    }

    #[inline(always)]
    pub fn mac(self) -> [u8; 6] {
        // SAFETY: a value of a successful lookup.
        unsafe { (&raw const (*self.0).mac).read_volatile() }
    }

    /// Index of the bridge it is a port of; zero for others.
    #[inline(always)]
    pub fn bridge(self) -> u32 {
        // SAFETY: a value of a successful lookup.
        unsafe { (&raw const (*self.0).bridge).read_volatile() }
    }

    /// The network namespace of its other end; `None` where it has none, or it is not known.
    #[inline(always)]
    pub fn peer_netns(self) -> Option<Netns> {
        // SAFETY: a value of a successful lookup.
        let numbered = unsafe { (&raw const (*self.0).peer_netns).read_volatile() };
        numbered.checked_sub(1).map(Netns::numbered)
    }

    #[inline(always)]
    pub fn bridge_mac(self) -> [u8; 6] {
        // SAFETY: a value of a successful lookup.
        unsafe { (&raw const (*self.0).bridge_mac).read_volatile() }
    }
}

/// What an address is to the node: zero for nothing.
#[inline(always)]
pub fn node_addr<A>(map: &'static NodeAddrs<A>, addr: &A) -> u32 {
    // SAFETY: a value of a successful lookup.
    map.get_ptr(addr).map_or(0, |uses| unsafe { uses.read_volatile() })
}

/// True when a range of these holds the whole of a key: a Service's id and an address.
#[inline(always)]
pub fn is_in_range<K>(map: &'static Ranges<K>, key: K) -> bool {
    const { assert!(RANGE_SERVICE_BITS == 32) };
    map.get(&Key::new(size_of::<K>() as u32 * 8, key)).is_some()
}

/// Where a client's last flow went, and when.
#[inline(always)]
pub fn affinity<K>(map: &'static Affinity<K>, key: &K) -> Option<AffinityValue> {
    let held = map.get_ptr(key)?;
    // SAFETY: a value of a successful lookup; should it have become another key's meanwhile, its backend is another Service's.
    Some(unsafe { held.read_volatile() })
}

/// The ports of a datagram whose first fragment was seen.
#[inline(always)]
pub fn fragment<K>(map: &'static Fragments<K>, key: &K) -> Option<FragmentValue> {
    let held = map.get_ptr(key)?;
    // SAFETY: a value of a successful lookup.
    Some(unsafe { held.read_volatile() })
}

/// Reads an address word by word: a volatile copy of the whole would have to stand on the stack.
#[inline(always)]
pub(super) fn words(addr: *const u32) -> [u32; 4] {
    // SAFETY: callers point at 16 bytes of a map's value, aligned to 4.
    let (a, b) = unsafe { (addr.read_volatile(), addr.add(1).read_volatile()) };
    // SAFETY: as above.
    let (c, d) = unsafe { (addr.add(2).read_volatile(), addr.add(3).read_volatile()) };
    [a, b, c, d]
}

/// The backend id in a slot; zero marks an empty one.
#[inline(always)]
pub fn slot(index: u32) -> Option<u32> {
    let slot = SLOTS.get_value_ptr_mut(index / SLOTS_CHUNK, &(index % SLOTS_CHUNK))?;
    // SAFETY: an aligned 4-byte array value, which stays for the life of the program.
    Some(unsafe { slot.read_volatile() })
}

/// A backend's entry; user space may be writing it, so the reader checks whose it is.
#[inline(always)]
fn backend<V>(map: &'static Backends<V>, id: u32) -> Option<*const V> {
    map.get_value_ptr_mut(id / BACKENDS_CHUNK, &(id % BACKENDS_CHUNK)).map(<*mut V>::cast_const)
}

macro_rules! backend {
    ($(#[$doc:meta])* $name:ident, $map:ident, $addr:ty, |$at:ident| $read:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(id: u32) -> Option<Backend<$addr>> {
            let entry = backend(&$map, id)?;
            // SAFETY: an array value, which stays for the life of the program, aligned to 4; only an address is taken.
            let $at: *const u32 = unsafe { (&raw const (*entry).addr).cast() };
            let addr = $read;
            // SAFETY: as above.
            let service = unsafe { (&raw const (*entry).service).read_volatile() };
            // SAFETY: as above.
            let (port, state) =
                unsafe { ((&raw const (*entry).port).read_volatile(), (&raw const (*entry).state).read_volatile()) };
            Some(Backend { addr, port, service, state })
        }
    };
}

backend!(
    /// An IPv4 backend.
    backend_v4, BACKENDS_V4, u32, |at| {
        // SAFETY: as above.
        unsafe { at.read_volatile() }
    }
);
backend!(
    /// An IPv6 backend.
    backend_v6, BACKENDS_V6, [u32; 4], |at| words(at)
);

/// Reads of a frontend that another one took the place of, before it counts as absent.
const FRONTEND_TRIES: u32 = 4;

/// The hash of frontends that is in force until this program ends: one that was replaced meanwhile holds what it held then, and the agent
/// writes nothing before every program that may read it has ended (`maybe_wait_bpf_programs`, kernel commit 1ae80cf31938).
#[inline(always)]
pub fn frontends<K>(map: &'static GrowingFrontends<K>) -> Option<&'static Frontends<K>> {
    map.get(0)
}

/// What a frontend key leads to. Since 6.1 a removed element may become another key's at once (`bpf_mem_alloc`, kernel commit
/// fba1a1c6c912): a value counts only if the key still leads to the same one after it was read.
#[inline(always)]
pub fn frontend<K>(map: &'static Frontends<K>, key: &K) -> Option<FrontendValue> {
    let mut value = frontend_now(map, key)?;
    for _ in 0..FRONTEND_TRIES {
        let again = frontend_now(map, key)?;
        if again == value {
            return Some(value);
        }
        value = again;
    }
    None
}

#[inline(always)]
fn frontend_now<K>(map: &'static Frontends<K>, key: &K) -> Option<FrontendValue> {
    let value = map.get_ptr(key)?;
    // SAFETY: an element's memory stays readable until the program ends (RCU), and any bytes are a valid value.
    Some(unsafe { value.read_volatile() })
}
