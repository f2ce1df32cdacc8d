//! SCTP: its checksum covers the ports and no address (RFC 9260 §6.8), and is not a sum.
use crate::family::{Family, Tuple};
use crate::sctp::COMMON_HEADER_LEN;
use crate::segment::{Ports, Segment};
use crate::sys::packet::difference;
use crate::sys::{Failed, Packet};
use sheave_abi::Crc32cPowers;
use zerocopy::transmute;

// Under its own name: a mangled one would depend on where the sources lie, and with it the bytes of the object.
#[unsafe(no_mangle)]
static CRC32C_POWERS: Crc32cPowers = Crc32cPowers::new();

/// Offset of the checksum.
const CHECKSUM: u32 = 8;

/// True for a packet of SCTP that is to have another port.
#[inline(always)]
pub(super) fn changes_ports<F: Family>(segment: &Segment<F>) -> bool {
    segment.is_sctp() && ports(&segment.tuple()) != ports(&segment.to)
}

/// Writes the ports that differ. The checksum follows from the old one and the length alone, unless it is still to be made
/// of what stands there then: so it is for all of a packet that is cut into segments further down (`sctp_gso_segment`),
/// which have the ports of this one.
#[inline(never)]
pub(super) fn rewrite_ports<F: Family>(packet: Packet, segment: &Segment<F>) -> Result<(), Failed> {
    let (from, to) = (ports(&segment.tuple()), ports(&segment.to));
    if from == to {
        return Ok(());
    }
    let at = segment.l4 + CHECKSUM;
    if packet.is_checksum_to_come(at)? {
        return packet.store(segment.l4, &to);
    }
    let held: u32 = packet.load(at).ok_or(Failed)?;
    let (before, after): (u32, u32) = (transmute!(from), transmute!(to));
    let change = checksum_change(u32::from_le(before ^ after), segment.payload_len + COMMON_HEADER_LEN);
    let changed = held ^ change.to_le();
    packet.store(segment.l4, &to)?;
    packet.store(at, &changed)?;
    packet.update_device_sum(difference([before, held], [after, changed], 0));
    Ok(())
}

/// [`Crc32cPowers::change`], as a function that the verifier looks at once and for any arguments, because the linker leaves its
/// name global (kernel 5.6, commit 51c39bb1d5d1). With each of the hundreds of ways that lead to it its loops would be most
/// of what is verified.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn checksum_change(difference: u32, len: u32) -> u32 {
    CRC32C_POWERS.change(difference, len)
}

#[inline(always)]
fn ports<A: Copy>(tuple: &Tuple<A>) -> Ports {
    Ports { src: tuple.src_port, dst: tuple.dst_port }
}
