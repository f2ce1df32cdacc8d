//! Fragments of translated flows: the first one has the ports, and leaves them for the others (RFC 791 §3.2, RFC 8200 §4.5).
use crate::family::{Family, Tuple};
use crate::segment::Segment;
use crate::sys::maps;
use sheave_abi::{FragmentValue, NetPort};

/// Where the ports of a datagram are kept: its flow's key with the identification in their place.
#[inline(always)]
fn key<F: Family>(segment: &Segment<F>) -> F::FlowKey {
    let src_port = NetPort::from_wire(segment.fragment_id as u16);
    let dst_port = NetPort::from_wire((segment.fragment_id >> 16) as u16);
    F::flow_key(&Tuple { src_port, dst_port, ..segment.tuple() }, segment.hook())
}

/// Keeps the ports of a first fragment. Called for packets of flows only, so that others cannot fill the map.
#[inline(never)]
pub fn remember<F: Family>(segment: &Segment<F>) {
    let Tuple { src_port, dst_port, .. } = segment.tuple();
    let _ = F::fragments().insert(key(segment), FragmentValue { src_port, dst_port }, 0);
}

/// Gives a later fragment its ports; false when they are not known: its datagram is none of ours, or this one came first.
#[inline(never)]
pub fn complete<F: Family>(segment: &mut Segment<F>) -> bool {
    let Some(FragmentValue { src_port, dst_port }) = maps::fragment(F::fragments(), &segment.key) else { return false };
    let tuple = Tuple { src_port, dst_port, ..segment.tuple() };
    segment.key = F::flow_key(&tuple, segment.hook());
    true
}
