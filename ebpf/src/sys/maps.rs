//! The maps, pinned by the loader under their names. Sizes of hash tables are set at load time; inner arrays are created by
//! user space chunk by chunk, so growth changes nothing here.
use super::packet::SUMMED_MAX;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage};
use aya_ebpf::macros::btf_map;
use sheave_abi::{
    BACKENDS_CHUNK, BackendV4, BackendV6, CHUNKS_MAX, COUNTERS_MAX, DEVICES_MAX, DeviceValue, FlowKeyV4, FlowKeyV6, FlowValue,
    FrontendKeyV4, FrontendKeyV6, FrontendValue, NODE_ADDRS_MAX, Origin, RANGES_MAX, RulesValue, SERVICES_CHUNK, SLOTS_CHUNK,
    ServiceNameValue, ServiceValue, SetWord,
};

const NO_PREALLOC: usize = 1;
/// Replaced by the loader.
const SIZED_AT_LOAD: usize = 1 << 10;
const CHUNKS: usize = CHUNKS_MAX as usize;

pub type Frontends<K> = HashMap<K, FrontendValue, SIZED_AT_LOAD, NO_PREALLOC>;
pub type Established<K> = HashMap<K, FlowValue, SIZED_AT_LOAD, NO_PREALLOC>;
pub type Half<K> = LruHashMap<K, FlowValue, SIZED_AT_LOAD>;
/// Key of a node's address, in words.
pub type NodeAddrs<A> = HashMap<A, u32, { NODE_ADDRS_MAX as usize }, NO_PREALLOC>;
/// Key behind its prefix length: the Service's id and the address, in words.
pub type Ranges<K> = LpmTrie<K, u32, { RANGES_MAX as usize }>;
pub type Backends<V> = ArrayOfMaps<Array<V, { BACKENDS_CHUNK as usize }>, CHUNKS>;

#[btf_map(name = "frontends_v4")]
pub static FRONTENDS_V4: Frontends<FrontendKeyV4> = HashMap::new();
#[btf_map(name = "frontends_v6")]
pub static FRONTENDS_V6: Frontends<FrontendKeyV6> = HashMap::new();
/// No program reads it; it belongs to the pinned state that `dump` and a restarted agent read.
#[used(compiler)]
#[btf_map(name = "names")]
pub static NAMES: HashMap<u32, ServiceNameValue, SIZED_AT_LOAD, NO_PREALLOC> = HashMap::new();
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
#[btf_map(name = "origins")]
pub static ORIGINS: SkStorage<Origin> = SkStorage::new();
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<u64, { COUNTERS_MAX as usize }> = PerCpuArray::new();

/// Room for what the 512 bytes of stack cannot hold, for the device programs: nothing interrupts one for another of them.
#[btf_map(name = "scratch")]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[repr(C)]
pub struct Scratch {
    /// An entry being made.
    pub flow: FlowValue,
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

/// The Cluster set of a Service, read as one word: the old one or the new one.
#[inline(always)]
pub fn set_word(service: u32) -> Option<SetWord> {
    let entry = SERVICES.get_value_ptr_mut(service / SERVICES_CHUNK, &(service % SERVICES_CHUNK))?;
    // SAFETY: an array value, which stays for the life of the program; only an address is taken.
    let word = unsafe { &raw const (*entry).cluster };
    // SAFETY: eight aligned bytes of that value.
    let word = unsafe { word.cast::<u64>().read_volatile() };
    Some(zerocopy::transmute!(word))
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
pub fn backend<V: Copy>(map: &'static Backends<V>, id: u32) -> Option<V> {
    let entry = map.get_value_ptr_mut(id / BACKENDS_CHUNK, &(id % BACKENDS_CHUNK))?;
    // SAFETY: an array value, which stays for the life of the program; any bytes are a valid `V`.
    Some(unsafe { entry.read_volatile() })
}

/// Reads of a frontend that another one took the place of, before it counts as absent.
const FRONTEND_TRIES: u32 = 4;

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
