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

/// Forgets the datagram that had the identification of this one, if it had other ports: this one may be of no flow. With the same ports it is
/// of the same, or this very one, which was handed up at a bridge's port and has come to the bridge.
#[inline(never)]
pub fn forget<F: Family>(segment: &Segment<F>) {
    forget_of(segment, 0);
    forget_of(segment, 1);
}

#[inline(always)]
fn forget_of<F: Family>(segment: &Segment<F>, before: u16) {
    let (key, Tuple { src_port, dst_port, .. }) = (key(segment, before), segment.tuple());
    let is_other = |held: FragmentValue| held.src_port != src_port || held.dst_port != dst_port;
    if maps::fragment(F::fragments(), &key).is_some_and(is_other) {
        let _ = F::fragments().remove(&key);
    }
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
