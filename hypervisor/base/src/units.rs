//! Sizes in bytes. K, M, G and T are binary.

use core::fmt;

/// 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// 2^30 bytes.
pub const GIB: u64 = 1 << 30;
/// A small page or frame, in bytes.
pub const PAGE_BYTES: u64 = 4 * KIB;

/// A number of bytes that prints in the largest binary unit that divides it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(GIB, "G"), (MIB, "M"), (KIB, "K")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn sizes_print_in_the_largest_unit_that_divides_them() {
        assert_eq!(ByteSize(256 * MIB).to_string(), "256M");
        assert_eq!(ByteSize(GIB + KIB).to_string(), "1048577K");
        assert_eq!(ByteSize(0).to_string(), "0 bytes");
    }
}
