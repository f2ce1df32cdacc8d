//! Flows counted by Service port and by backend: each once, when it begins or is refused. Packets of known flows come by no line of this.
use crate::family::Family;
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::macros::btf_map;
use core::intrinsics::{AtomicOrdering, atomic_xadd};
use sheave_abi::{BACKENDS_CHUNK, CHUNKS_MAX, SERVICES_CHUNK, ServiceFlows};

const CHUNKS: usize = CHUNKS_MAX as usize;

type BackendFlows = ArrayOfMaps<Array<u64, { BACKENDS_CHUNK as usize }>, CHUNKS>;

#[btf_map(name = "service_flows")]
static SERVICE_FLOWS: ArrayOfMaps<Array<ServiceFlows, { SERVICES_CHUNK as usize }>, CHUNKS> = ArrayOfMaps::new();
#[btf_map(name = "backend_flows_v4")]
static BACKEND_FLOWS_V4: BackendFlows = ArrayOfMaps::new();
#[btf_map(name = "backend_flows_v6")]
static BACKEND_FLOWS_V6: BackendFlows = ArrayOfMaps::new();

/// Why a flow of a Service does not begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// E11
    NoEndpoint,
    /// E4, E5
    NoLocalEndpoint,
    /// R8
    SourceRange,
}

/// A flow got this backend of this Service port. An id without an entry is counted nowhere: its chunk could not be made.
#[inline(always)]
pub fn begun<F: Family>(service: u32, backend: u32) {
    if let Some(flows) = of_service(service) {
        // SAFETY: an array value, which stays for the life of the program; only an address is taken.
        add_one(unsafe { &raw mut (*flows).begun });
    }
    let backends = if F::IS_IPV6 { &BACKEND_FLOWS_V6 } else { &BACKEND_FLOWS_V4 };
    if let Some(flows) = backends.get_value_ptr_mut(backend / BACKENDS_CHUNK, &(backend % BACKENDS_CHUNK)) {
        add_one(flows);
    }
}

/// A flow to this Service port does not begin; 0 is no Service port's.
#[inline(always)]
pub fn refused(service: u32, why: Refused) {
    if service == 0 {
        return;
    }
    let Some(flows) = of_service(service) else { return };
    add_one(match why {
        // SAFETY: an array value, which stays for the life of the program; only an address is taken.
        Refused::NoEndpoint => unsafe { &raw mut (*flows).rejected },
        // SAFETY: as above.
        Refused::NoLocalEndpoint => unsafe { &raw mut (*flows).no_local_endpoint },
        // SAFETY: as above.
        Refused::SourceRange => unsafe { &raw mut (*flows).source_range },
    });
}

#[inline(always)]
fn of_service(id: u32) -> Option<*mut ServiceFlows> {
    SERVICE_FLOWS.get_value_ptr_mut(id / SERVICES_CHUNK, &(id % SERVICES_CHUNK))
}

/// Adds one, whatever other processors do: `BPF_ATOMIC | BPF_ADD`, which all kernels have as long as nobody asks for the old value.
/// Not one count for each processor: with a million backends that would be 8 MB for each of them.
#[inline(always)]
fn add_one(count: *mut u64) {
    // SAFETY: callers point at an aligned word of an array value, which stays for the life of the program.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, 1) };
}
