//! Which bytes of a 32-bit register an access means.

use crate::device::WindowAccess;

/// The place of an access in the register that it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// The register's offset, a multiple of 4.
    pub register: u32,
    shift: u32,
    /// The accessed bytes, at their place in the register.
    mask: u32,
}

impl Lanes {
    /// Where `access` lies, or `None` when it is in two registers.
    pub const fn of(access: WindowAccess) -> Option<Self> {
        let (offset, bits) = (access.at.0, access.width.bytes() as u32 * 8);
        let shift = offset % 4 * 8;
        if shift + bits > 32 {
            return None;
        }
        Some(Self { register: offset - offset % 4, shift, mask: (u32::MAX >> (32 - bits)) << shift })
    }

    /// The accessed bytes of the register's value, in the low bytes.
    pub const fn take(self, register: u32) -> u32 {
        (register & self.mask) >> self.shift
    }

    /// The register's value after the accessed bytes were replaced by the low bytes of `value`.
    pub const fn merge(self, register: u32, value: u32) -> u32 {
        (register & !self.mask) | ((value << self.shift) & self.mask)
    }

    /// Whether the whole register is accessed.
    pub const fn is_whole(self) -> bool {
        self.mask == u32::MAX
    }

    /// Whether the register's byte `n` is accessed.
    pub const fn touches(self, n: u32) -> bool {
        n < 4 && self.mask >> (8 * n) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Access, Width, WindowOffset};

    fn lanes(offset: u32, width: Width) -> Option<Lanes> {
        Lanes::of(Access { at: WindowOffset(offset), width })
    }

    #[test]
    fn an_access_takes_and_replaces_its_own_bytes() {
        let word = lanes(0x12, Width::Word).unwrap();
        assert_eq!((word.register, word.take(0x1234_5678)), (0x10, 0x1234));
        assert_eq!(word.merge(0x1234_5678, 0xffff_abcd), 0xabcd_5678);
        assert!(!word.touches(1) && word.touches(2) && word.touches(3) && !word.touches(4));
        let dword = lanes(0x14, Width::Dword).unwrap();
        assert_eq!((dword.take(7), dword.merge(7, 9)), (7, 9));
    }

    #[test]
    fn an_access_to_two_registers_is_none() {
        assert_eq!(lanes(0x13, Width::Word), None);
        assert_eq!(lanes(0x11, Width::Dword), None);
        assert!(lanes(0x13, Width::Byte).is_some());
    }
}
