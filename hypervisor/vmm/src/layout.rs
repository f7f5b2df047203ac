//! Where things are in a guest's physical address space.
//!
//! ```text
//! 0            RAM: boot structures of the loader, usable
//! 0x000A_0000  RAM that the E820 map reserves: the hole of a PC's video memory and BIOS
//! 0x000E_0000  ACPI tables, in that hole
//! 0x0010_0000  RAM, up to 3 GiB at most
//! 0xC000_0000  PCI's memory window
//! 0xE000_0000  PCI's configuration space, 1 MiB
//! 0xFEC0_0000  IOAPIC
//! 0xFEE0_0000  local APIC
//! 4 GiB        the rest of RAM
//! ```

use arrayvec::ArrayVec;
use base::ram::{HIGH_RAM_START, LOW_RAM_MAX_BYTES};
use base::{ByteSize, Gpa, KIB, MIB, PAGE_BYTES};
use core::fmt;
use devices::platform;

/// The first byte of the hole of a PC's video memory and BIOS.
pub const BIOS_HOLE_START: u64 = 640 * KIB;
/// One past the last byte of that hole.
pub const BIOS_HOLE_END: u64 = MIB;
/// The IOAPIC's registers, one page (Intel 82093AA data sheet, section 3.0).
pub const IOAPIC_START: u64 = platform::IOAPIC_BASE as u64;
/// The local APIC's registers after reset, one page (Intel SDM, volume 3, section 11.4.1).
pub const LAPIC_START: u64 = platform::LAPIC_BASE as u64;

/// The least RAM that a VM can have: what a configuration can ask for.
pub const RAM_MIN_BYTES: u64 = config::MIN_MEMORY_BYTES;
/// The most RAM that a VM can have: what a configuration can ask for. The hypervisor's window has room for it.
pub const RAM_MAX_BYTES: u64 = config::MAX_MEMORY_BYTES;

/// A RAM size that no VM can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRamSize(pub u64);

impl fmt::Display for InvalidRamSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a VM cannot have {} of memory: give it a multiple of {} from {} to {}",
            ByteSize(self.0),
            ByteSize(PAGE_BYTES),
            ByteSize(RAM_MIN_BYTES),
            ByteSize(RAM_MAX_BYTES)
        )
    }
}

impl core::error::Error for InvalidRamSize {}

/// A VM's RAM: from 0, and from 4 GiB on when it has more than fits below the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamLayout {
    low_bytes: u64,
    high_bytes: u64,
}

/// A stretch of guest-physical addresses, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    /// The first byte.
    pub start: Gpa,
    /// The length in bytes.
    pub len_bytes: u64,
}

impl RamLayout {
    /// The layout of `size_bytes` of RAM.
    ///
    /// # Errors
    /// [`InvalidRamSize`] when it is too small, too large, or not whole pages.
    pub const fn new(size_bytes: u64) -> Result<Self, InvalidRamSize> {
        if size_bytes < RAM_MIN_BYTES || size_bytes > RAM_MAX_BYTES || !size_bytes.is_multiple_of(PAGE_BYTES)
        {
            return Err(InvalidRamSize(size_bytes));
        }
        if size_bytes <= LOW_RAM_MAX_BYTES {
            return Ok(Self { low_bytes: size_bytes, high_bytes: 0 });
        }
        Ok(Self { low_bytes: LOW_RAM_MAX_BYTES, high_bytes: size_bytes - LOW_RAM_MAX_BYTES })
    }

    /// One past the last byte of RAM below the devices.
    pub const fn low_end(self) -> u64 {
        self.low_bytes
    }

    /// All of it, in bytes.
    pub const fn total_bytes(self) -> u64 {
        self.low_bytes + self.high_bytes
    }

    /// Whether `gpa` is RAM.
    pub const fn contains(self, gpa: Gpa) -> bool {
        let address = gpa.as_u64();
        match address.checked_sub(HIGH_RAM_START) {
            Some(offset) => offset < self.high_bytes,
            None => address < self.low_bytes,
        }
    }

    /// The stretches that RAM is to be mapped at, lowest first.
    pub fn ranges(self) -> ArrayVec<RamRange, 2> {
        [(0, self.low_bytes), (HIGH_RAM_START, self.high_bytes)]
            .into_iter()
            .filter(|&(_, len_bytes)| len_bytes != 0)
            .map(|(start, len_bytes)| RamRange { start: Gpa::from_low_bits(start), len_bytes })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use base::GIB;
    use std::string::ToString;

    #[test]
    fn ram_up_to_3_gib_is_one_range_from_zero() {
        let ram = RamLayout::new(3 * GIB).unwrap();
        assert_eq!(ram.ranges().as_slice(), [RamRange { start: Gpa::ZERO, len_bytes: 3 * GIB }]);
    }

    #[test]
    fn what_exceeds_3_gib_continues_at_4_gib() {
        let ram = RamLayout::new(3 * GIB + 2 * MIB).unwrap();
        let high = RamRange { start: Gpa::new(4 * GIB).unwrap(), len_bytes: 2 * MIB };
        assert_eq!(ram.ranges().get(1), Some(&high));
        assert_eq!(ram.total_bytes(), 3 * GIB + 2 * MIB);
        let holds = |address| ram.contains(Gpa::new(address).unwrap());
        assert!(holds(0) && holds(3 * GIB - 1) && holds(4 * GIB) && holds(4 * GIB + 2 * MIB - 1));
        assert!(!holds(3 * GIB) && !holds(LAPIC_START) && !holds(4 * GIB + 2 * MIB));
    }

    #[test]
    fn odd_tiny_and_gigantic_sizes_are_refused() {
        for size in [0, MIB, RAM_MIN_BYTES + 1, RAM_MAX_BYTES + PAGE_BYTES, u64::MAX] {
            assert_eq!(RamLayout::new(size), Err(InvalidRamSize(size)));
        }
        assert_eq!(
            InvalidRamSize(MIB).to_string(),
            "a VM cannot have 1M of memory: give it a multiple of 4K from 4M to 256G"
        );
    }
}
