//! Fragments of translated flows: the first one has the ports, and leaves them for the others (RFC 791 §3.2, RFC 8200 §4.5).
use crate::family::{Family, Tuple};
use crate::segment::Segment;
use crate::sys::kernel::now_ns;
use crate::sys::maps;
use sheave_abi::{FragmentValue, NetPort, fragment_epoch};

/// Where the ports of a datagram are kept if its first fragment came in this epoch, or so many before.
#[inline(always)]
fn key<F: Family>(segment: &Segment<F>, before: u16) -> F::FlowKey {
    let src_port = NetPort::from_wire(segment.fragment_id as u16);
    let dst_port = NetPort::from_wire((segment.fragment_id >> 16) as u16);
    let epoch = fragment_epoch(now_ns(), before);
    F::fragment_key(&Tuple { src_port, dst_port, ..segment.tuple() }, segment.hook(), epoch)
}

/// Keeps the ports of a first fragment. Called for packets of flows only, so that others cannot fill the map.
#[inline(never)]
pub fn remember<F: Family>(segment: &Segment<F>) {
    let Tuple { src_port, dst_port, .. } = segment.tuple();
    let _ = F::fragments().insert(key(segment, 0), FragmentValue { src_port, dst_port }, 0);
}

/// Forgets the datagram that had the identification of this one: it may be of no flow.
#[inline(never)]
pub fn forget<F: Family>(segment: &Segment<F>) {
    let _ = F::fragments().remove(&key(segment, 0));
    let _ = F::fragments().remove(&key(segment, 1));
}

/// Gives a later fragment its ports; false when they are not known: its datagram is none of ours, or this one came first.
#[inline(never)]
pub fn complete<F: Family>(segment: &mut Segment<F>) -> bool {
    let held =
        maps::fragment(F::fragments(), &key(segment, 0)).or_else(|| maps::fragment(F::fragments(), &key(segment, 1)));
    let Some(FragmentValue { src_port, dst_port }) = held else { return false };
    let tuple = Tuple { src_port, dst_port, ..segment.tuple() };
    segment.key = F::flow_key(&tuple, segment.hook());
    true
}
