//! SCTP (RFC 9260): what a packet means to its flow. Associations with several addresses are followed by the one that the client dialled, as
//! kube-proxy does it.
use crate::segment::{ACK, FIN, RST, SYN};
use zerocopy::FromBytes;

/// Bytes of the header that every packet has; of its chunks the first one follows.
pub const COMMON_HEADER_LEN: u32 = 12;
/// The least bytes that a packet with an INIT has.
const INIT_LEN: u32 = COMMON_HEADER_LEN + 20;

/// The flag of a packet that ends the handshake: none of TCP's that are looked at.
pub const OPENS: u8 = 0x80;

/// Types of chunks.
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// The header that every packet has, and the beginning of its first chunk.
#[derive(Clone, Copy, FromBytes)]
#[repr(C, align(4))]
pub struct SctpHeader {
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    tag: [u8; 4],
    checksum: [u8; 4],
    chunk: u8,
    chunk_flags: u8,
    chunk_len: [u8; 2],
}

/// What a packet means to its flow, in TCP's flags; `None` for an INIT that is too short to be one. Only the first chunk is
/// looked at: INIT, INIT ACK and SHUTDOWN COMPLETE stand alone, COOKIE ACK stands first (RFC 9260 §3), and of an end that
/// is missed for a chunk before it the acknowledgement is seen.
#[inline(always)]
pub fn flags(header: &SctpHeader, len: u32) -> Option<u8> {
    match header.chunk {
        INIT if len < INIT_LEN => None,
        INIT => Some(SYN),
        INIT_ACK => Some(SYN | ACK),
        COOKIE_ACK => Some(OPENS),
        SHUTDOWN | SHUTDOWN_ACK | SHUTDOWN_COMPLETE => Some(FIN),
        ABORT => Some(RST),
        _ => Some(0),
    }
}
