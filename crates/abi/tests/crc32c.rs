//! The change of a checksum, held against the checksum of the whole.
use crc::{CRC_32_ISCSI, Crc};
use proptest::prelude::*;
use sheave_abi::Crc32cPowers;

static POWERS: Crc32cPowers = Crc32cPowers::new();

/// What the change makes of the checksum of `bytes` when the first four become `to`.
fn followed(bytes: &[u8], to: [u8; 4]) -> u32 {
    let from: [u8; 4] = bytes[..4].try_into().expect("no packet is shorter");
    let len = u32::try_from(bytes.len()).expect("no packet is longer");
    full(bytes) ^ POWERS.change(u32::from_le_bytes(from) ^ u32::from_le_bytes(to), len)
}

fn full(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes)
}

fn changed(bytes: &[u8], to: [u8; 4]) -> Vec<u8> {
    [&to[..], &bytes[4..]].concat()
}

proptest! {
    #[test]
    fn the_change_leads_to_the_checksum_of_the_changed_bytes(
        pattern in prop::collection::vec(any::<u8>(), 1..64),
        len in 4_usize..65536,
        to in any::<[u8; 4]>(),
    ) {
        let bytes: Vec<u8> = pattern.into_iter().cycle().take(len).collect();
        prop_assert_eq!(followed(&bytes, to), full(&changed(&bytes, to)));
    }
}

#[test]
fn every_length_at_the_edges_of_the_tables_is_right() {
    for len in [4, 5, 7, 8, 12, 255, 256, 257, 511, 512, 4095, 4096, 65279, 65280, 65534, 65535] {
        let bytes = vec![0xa5; len];
        for to in [[0; 4], [0xff; 4], [0, 0, 0, 1], [0x80, 0, 0, 0], [0xa5; 4]] {
            assert_eq!(followed(&bytes, to), full(&changed(&bytes, to)), "{len} bytes, {to:?}");
        }
    }
}
