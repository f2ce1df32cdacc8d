//! Packets of SCTP (RFC 9260 §3).
use super::{Body, Checksum, Malformed};
use crc::{CRC_32_ISCSI, Crc};

const HEADER_LEN: usize = 12;
/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 8..12;
/// CRC-32C, by another name.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const INIT: u8 = 1;
const INIT_LEN: u8 = 20;

impl Body {
    /// What begins an association: an INIT with this tag, one stream each way.
    #[must_use]
    pub fn init(source_port: u16, destination_port: u16, tag: u32) -> Self {
        let (window, streams, first_tsn) = (0xffff_u32.to_be_bytes(), [0, 1, 0, 1], tag.to_be_bytes());
        let header = [INIT, 0, 0, INIT_LEN];
        let chunks = [header, tag.to_be_bytes(), window, streams, first_tsn].concat();
        Self::Sctp { source_port, destination_port, tag: 0, chunks }
    }

    /// The packet, with a checksum that is so far from the right one.
    ///
    /// # Panics
    /// For another protocol.
    pub(super) fn sctp_bytes(&self, off: u32) -> Vec<u8> {
        let Self::Sctp { source_port, destination_port, tag, chunks } = self else {
            panic!("only a packet of SCTP has such a checksum, not {self:?}")
        };
        let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
        let mut bytes = [&ports[..], &tag.to_be_bytes(), &[0; 4], chunks].concat();
        let checksum = CRC.checksum(&bytes) ^ off;
        bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// The packet, and how its checksum stands.
pub(super) fn read(bytes: &[u8]) -> Result<(Body, Checksum), Malformed> {
    let (Some(&[a, b, c, d, t0, t1, t2, t3, k0, k1, k2, k3]), Some(chunks)) =
        (bytes.first_chunk::<HEADER_LEN>(), bytes.get(HEADER_LEN..))
    else {
        return Err(Malformed::Length { header: "SCTP header", says: HEADER_LEN, are: bytes.len() });
    };
    let body = Body::Sctp {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        tag: u32::from_be_bytes([t0, t1, t2, t3]),
        chunks: chunks.to_vec(),
    };
    let mut plain = bytes.to_vec();
    plain[CHECKSUM].fill(0);
    let checksum = match CRC.checksum(&plain) ^ u32::from_le_bytes([k0, k1, k2, k3]) {
        0 => Checksum::Right,
        off => Checksum::CrcOff(off),
    };
    Ok((body, checksum))
}
