//! Hashes in names, as kube-proxy makes them: the beginning of the base32 text (RFC 4648) of a SHA-256.
use sha2::{Digest, Sha256};
use std::fmt;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first `N` letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Hash<const N: usize>([u8; N]);

impl<const N: usize> Hash<N> {
    /// Of a text that is given in parts.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        let digest = hasher.finalize();
        Self(std::array::from_fn(|at| letter(&digest, at)))
    }
}

/// Letter `at` stands for the bits `5 * at` to `5 * at + 4`.
fn letter(digest: &[u8], at: usize) -> u8 {
    let (byte, bit) = (at * 5 / 8, at * 5 % 8);
    let pair = u16::from_be_bytes([digest[byte], digest.get(byte + 1).copied().unwrap_or(0)]);
    ALPHABET[usize::from(pair >> (11 - bit) & 31)]
}

impl<const N: usize> fmt::Display for Hash<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("invariant: the alphabet is ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc" is ba7816bf 8f01cfea … (FIPS 180-2, B.1).
    #[test]
    fn letters_are_those_of_base32() {
        assert_eq!(Hash::<16>::of(&["abc"]).to_string(), "XJ4BNP4PAHH6UQKB");
        assert_eq!(Hash::<8>::of(&["a", "bc"]).to_string(), "XJ4BNP4P");
    }
}
