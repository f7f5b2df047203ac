//! Configuration space: 256 bytes of every function by ports, 4 KiB of it by memory.

use super::{Address, ConfigPorts};
use crate::Mmio;
use crate::acpi::mcfg::{ConfigWindow, MAX_SEGMENTS};
use arrayvec::ArrayVec;
use base::{Hpa, MIB, PhysRange};
use core::ops::RangeInclusive;

/// Configuration space, in aligned registers of 32 bits. What is not there reads as ones.
pub trait ConfigSpace {
    /// Segments, and which of their buses can be reached.
    fn buses(&self) -> impl Iterator<Item = (u16, RangeInclusive<u8>)>;
    /// Reads the register that holds the byte at `offset`.
    fn read32(&self, at: Address, offset: u16) -> u32;
    /// Writes the register that holds the byte at `offset`.
    fn write32(&mut self, at: Address, offset: u16, value: u32);

    /// Reads 16 bits at `offset`, which is even.
    fn read16(&self, at: Address, offset: u16) -> u16 {
        (self.read32(at, offset) >> (8 * u32::from(offset & 2))) as u16
    }

    /// Reads the byte at `offset`.
    fn read8(&self, at: Address, offset: u16) -> u8 {
        (self.read32(at, offset) >> (8 * u32::from(offset & 3))) as u8
    }
}

/// The physical memory of `window`, to be mapped for [`Ecam::add`].
pub fn ecam_range(window: &ConfigWindow) -> Option<PhysRange> {
    let start = window.base.as_u64().checked_add(u64::from(window.first_bus) * MIB)?;
    let buses = u64::from(window.last_bus.checked_sub(window.first_bus)?) + 1;
    PhysRange::new(Hpa::new(start).ok()?, buses * MIB).ok()
}

/// Configuration space in memory: 1 MiB a bus, 4 KiB a function (PCI Express Base 5.0, section 7.2.2).
#[derive(Debug, Default)]
pub struct Ecam {
    windows: ArrayVec<(ConfigWindow, Mmio), MAX_SEGMENTS>,
}

impl Ecam {
    /// Adds the buses of `window`, whose [`ecam_range`] `registers` shows; more than [`MAX_SEGMENTS`] are left out.
    pub fn add(&mut self, window: ConfigWindow, registers: Mmio) {
        let _ = self.windows.try_push((window, registers));
    }

    /// Whether no bus can be reached.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn register(&self, at: Address, offset: u16) -> Option<(&Mmio, usize)> {
        let holds = |window: &ConfigWindow| {
            window.segment == at.segment && (window.first_bus..=window.last_bus).contains(&at.bus)
        };
        let (window, registers) = self.windows.iter().find(|(window, _)| holds(window))?;
        let bus = usize::from(at.bus.checked_sub(window.first_bus)?);
        let function = bus << 20 | (at.device_function() as usize) << 12;
        Some((registers, function | usize::from(offset & 0xffc)))
    }
}

impl ConfigSpace for Ecam {
    fn buses(&self) -> impl Iterator<Item = (u16, RangeInclusive<u8>)> {
        self.windows.iter().map(|(window, _)| (window.segment, window.first_bus..=window.last_bus))
    }

    fn read32(&self, at: Address, offset: u16) -> u32 {
        self.register(at, offset).map_or(u32::MAX, |(registers, offset)| registers.read32(offset))
    }

    fn write32(&mut self, at: Address, offset: u16, value: u32) {
        if let Some((registers, offset)) = self.register(at, offset) {
            registers.write32(offset, value);
        }
    }
}

/// However this host has it.
#[expect(clippy::large_enum_variant, reason = "there is one, and no heap here")]
pub enum HostConfig {
    /// By memory.
    Ecam(Ecam),
    /// By ports: a host without MCFG.
    Ports(ConfigPorts),
}

// Not inlined: at boot there are many of these accesses, and each takes long in any case.
impl ConfigSpace for HostConfig {
    fn buses(&self) -> impl Iterator<Item = (u16, RangeInclusive<u8>)> {
        let (memory, ports) = match self {
            Self::Ecam(ecam) => (Some(ecam.buses()), None),
            Self::Ports(ports) => (None, Some(ports.buses())),
        };
        memory.into_iter().flatten().chain(ports.into_iter().flatten())
    }

    #[inline(never)]
    fn read32(&self, at: Address, offset: u16) -> u32 {
        match self {
            Self::Ecam(ecam) => ecam.read32(at, offset),
            Self::Ports(ports) => ports.read32(at, offset),
        }
    }

    #[inline(never)]
    fn write32(&mut self, at: Address, offset: u16, value: u32) {
        match self {
            Self::Ecam(ecam) => ecam.write32(at, offset, value),
            Self::Ports(ports) => ports.write32(at, offset, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(first_bus: u8, last_bus: u8) -> ConfigWindow {
        ConfigWindow { base: Hpa::new(0xb000_0000).unwrap(), segment: 2, first_bus, last_bus }
    }

    #[test]
    fn a_window_begins_at_its_first_bus() {
        let range = ecam_range(&window(0x10, 0x1f)).unwrap();
        assert_eq!((range.start().as_u64(), range.len_bytes()), (0xb100_0000, 16 * MIB));
        let top = ConfigWindow { base: Hpa::from_low_bits(u64::MAX), ..window(0, 255) };
        assert!(ecam_range(&top).is_none());
    }

    #[test]
    fn a_function_of_a_bus_outside_every_window_is_not_there() {
        let mut memory = std::vec![0_u32; 2 << 18];
        memory[(1 << 20 | 3 << 15 | 1 << 12 | 8) / 4] = 0x0108_0201;
        let mut ecam = Ecam::default();
        // SAFETY: memory that outlives the window stands in for registers.
        let registers = unsafe { Mmio::new(memory.as_mut_ptr().expose_provenance(), 2 << 20) };
        ecam.add(window(0x10, 0x11), registers);
        let at = Address::new(2, 0x11, 3, 1);
        assert_eq!(ecam.read32(at, 8), 0x0108_0201);
        assert_eq!((ecam.read16(at, 10), ecam.read8(at, 9)), (0x0108, 0x02));
        assert_eq!(ecam.read32(Address { bus: 0x12, ..at }, 8), u32::MAX);
        assert_eq!(ecam.read32(Address { segment: 0, ..at }, 8), u32::MAX);
    }
}
