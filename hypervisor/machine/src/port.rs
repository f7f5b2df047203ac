//! I/O ports, granted by range.
//!
//! Unsafe because `in` and `out` reach devices behind the compiler's back. What makes [`GrantedPorts`] safe to hand
//! out: ports through which memory can be changed, the 8237 DMA controllers and PCI configuration, are never granted.

use base::Port;
use core::arch::asm;
use seams::PortIo;

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// No port.
    pub const EMPTY: Self = Self { first: 1, last: 0 };

    /// `count` ports from `first` on, cut at the end of the port space.
    pub const fn new(first: Port, count: u16) -> Self {
        match count {
            0 => Self::EMPTY,
            _ => Self { first: first.0, last: first.0.saturating_add(count - 1) },
        }
    }

    const fn encloses(self, first: u16, last: u16) -> bool {
        self.first <= first && last <= self.last
    }

    const fn overlaps(self, first: u16, last: u16) -> bool {
        self.first <= last && first <= self.last
    }
}

/// Ports through which a device can be made to write to memory: the 8237s with their page registers (IBM PC/AT
/// technical reference) and PCI configuration mechanism 1 (PCI 3.0, section 3.2.2.3.2) but for the reset register
/// 0xCF9 in its middle, which takes bytes.
const NEVER_GRANTED: [PortRange; 5] = [
    PortRange { first: 0x00, last: 0x0f },
    PortRange { first: 0x81, last: 0x8f },
    PortRange { first: 0xc0, last: 0xdf },
    PortRange { first: 0xcf8, last: 0xcf8 },
    PortRange { first: 0xcfa, last: 0xcff },
];

/// The ports that one driver may touch: up to `N` ranges. Others read as all ones and ignore writes.
#[derive(Debug)]
pub struct GrantedPorts<const N: usize> {
    ranges: [PortRange; N],
    refused: u64,
}

impl<const N: usize> GrantedPorts<N> {
    /// Grants `ranges`.
    pub const fn new(ranges: [PortRange; N]) -> Self {
        Self { ranges, refused: 0 }
    }

    /// How many accesses have been refused: errors of the driver that holds the grant.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The port's number if `len_bytes` from it on are granted.
    fn check(&mut self, port: Port, len_bytes: u16) -> Option<u16> {
        let last = port.0.checked_add(len_bytes.wrapping_sub(1));
        let granted = last.filter(|&last| {
            self.ranges.iter().any(|range| range.encloses(port.0, last))
                && !NEVER_GRANTED.iter().any(|range| range.overlaps(port.0, last))
        });
        if granted.is_none() {
            self.refused = self.refused.saturating_add(1);
        }
        granted.map(|_| port.0)
    }
}

/// One width: the names of its functions, its type, its length in bytes and its register.
macro_rules! width {
    ($read:ident, $write:ident, $type:ty, $len:literal, $register:tt) => {
        fn $read(&mut self, port: Port) -> $type {
            let Some(port) = self.check(port, $len) else { return <$type>::MAX };
            let value: $type;
            // SAFETY: the port is granted, and through no granted port memory can be changed.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nomem, nostack, preserves_flags));
            }
            value
        }

        fn $write(&mut self, port: Port, value: $type) {
            let Some(port) = self.check(port, $len) else { return };
            // SAFETY: as above.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nomem, nostack, preserves_flags));
            }
        }
    };
}

impl<const N: usize> PortIo for GrantedPorts<N> {
    width!(read_u8, write_u8, u8, 1, "al");
    width!(read_u16, write_u16, u16, 2, "ax");
    width!(read_u32, write_u32, u32, 4, "eax");
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Ports that read as all ones and remember the bytes written.
    #[derive(Default)]
    pub(crate) struct Recorder {
        pub(crate) written: std::vec::Vec<(u16, u8)>,
    }

    impl PortIo for Recorder {
        fn read_u8(&mut self, _: Port) -> u8 {
            u8::MAX
        }
        fn read_u16(&mut self, _: Port) -> u16 {
            u16::MAX
        }
        fn read_u32(&mut self, _: Port) -> u32 {
            u32::MAX
        }
        fn write_u8(&mut self, port: Port, value: u8) {
            self.written.push((port.0, value));
        }
        fn write_u16(&mut self, _: Port, _: u16) {}
        fn write_u32(&mut self, _: Port, _: u32) {}
    }

    #[test]
    fn only_accesses_wholly_inside_a_granted_range_pass() {
        let mut ports = GrantedPorts::new([PortRange::new(Port(0x3f8), 8), PortRange::new(Port(0xfffe), 9)]);
        assert_eq!(ports.check(Port(0x3f8), 1), Some(0x3f8));
        assert_eq!(ports.check(Port(0x3fc), 4), Some(0x3fc));
        assert_eq!(ports.check(Port(0x3fd), 4), None);
        assert_eq!(ports.check(Port(0x3f7), 1), None);
        assert_eq!(ports.check(Port(0xffff), 1), Some(0xffff));
        assert_eq!(ports.check(Port(0xffff), 2), None);
        assert_eq!(ports.refused(), 3);
    }

    #[test]
    fn ports_that_reach_memory_are_never_granted() {
        let mut ports = GrantedPorts::new([PortRange::new(Port(0), 0xffff)]);
        for port in [0x00, 0x0f, 0x81, 0x87, 0xc0, 0xcf8, 0xcfc] {
            assert_eq!(ports.check(Port(port), 1), None, "{port:#x}");
        }
        assert_eq!(ports.check(Port(0xcf9), 1), Some(0xcf9));
        assert_eq!(ports.check(Port(0xcf9), 2), None);
    }

    #[test]
    fn a_refused_access_reads_as_an_empty_bus() {
        let mut none = GrantedPorts::new([PortRange::EMPTY]);
        assert_eq!(
            (none.read_u8(Port(0x80)), none.read_u16(Port(0x80)), none.read_u32(Port(0x80))),
            (0xff, 0xffff, 0xffff_ffff)
        );
        none.write_u8(Port(0x80), 0);
        assert_eq!(none.refused(), 4);
    }
}
