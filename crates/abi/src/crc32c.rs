//! SCTP's checksum, CRC-32C (RFC 9260 §6.8 and Appendix A), is linear: when bytes of a packet change, how the checksum
//! changes follows from their difference and their distance to the end alone. What stands between need not be read.

/// The generator polynomial, in the order of bits in which the checksum is: bit 31 is the coefficient of x^0, bit 0 that of x^31.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// Entries of a table: one for each value of a byte.
const VALUES: usize = 256;

/// What bytes that follow do to a remainder: n of them multiply it by x^(8n).
///
/// Who needs the tables keeps them in a static of its own: the name of one here would depend on where this crate lies, and so would the
/// bytes of the kernel programs that have it.
#[derive(Debug)]
pub struct Crc32cPowers {
    /// By n.
    low: [u32; VALUES],
    /// By 256 n.
    high: [u32; VALUES],
}

impl Crc32cPowers {
    /// Makes the tables.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: powers(1), high: powers(256) }
    }

    /// How the checksum of `len` bytes changes with the first four of them: `difference` is what they were, exclusive or what
    /// they are; both it and the result are read as little-endian numbers, as the checksum is. Of `len` the lower 16 bits
    /// count: no packet is longer.
    #[must_use]
    #[inline(always)]
    pub fn change(&self, difference: u32, len: u32) -> u32 {
        let [low, high, ..] = len.to_le_bytes();
        times(times(difference, self.low[low as usize]), self.high[high as usize])
    }
}

impl Default for Crc32cPowers {
    fn default() -> Self {
        Self::new()
    }
}

/// Powers of x^(8 step), from the zeroth on.
const fn powers(step: usize) -> [u32; VALUES] {
    let mut factor = ONE;
    let mut bit = 0;
    while bit < 8 * step {
        factor = times_x(factor);
        bit += 1;
    }
    let mut powers = [ONE; VALUES];
    let mut n = 1;
    while n < VALUES {
        powers[n] = times(powers[n - 1], factor);
        n += 1;
    }
    powers
}

/// The product of two polynomials, modulo the generator. Without a branch: in a kernel program each would be a way for the
/// verifier to go.
const fn times(a: u32, b: u32) -> u32 {
    let (mut a, mut b, mut product) = (a, b, 0);
    let mut bit = 0;
    while bit < u32::BITS {
        product ^= a & 0_u32.wrapping_sub(b >> 31);
        b <<= 1;
        a = times_x(a);
        bit += 1;
    }
    product
}

/// The product with x, modulo the generator.
const fn times_x(a: u32) -> u32 {
    (a >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(a & 1))
}
