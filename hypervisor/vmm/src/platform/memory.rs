//! Which device answers at which guest-physical address: the local APIC in xAPIC mode, and the IOAPIC.
//!
//! Registers of both are 32 bits wide and aligned. Other accesses are undefined (Intel SDM, volume 3, section 11.4.1):
//! a read gives the bytes of the register that it lies in, a write that is not a whole register is dropped.

use crate::layout::IOAPIC_START;
use crate::platform::{Board, Claim, pci};
use base::{Gpa, PAGE_BYTES};
use devices::{Access, Width, WindowOffset};

/// A device with registers in memory, and an offset in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    LocalApic(u32),
    Ioapic(u32),
    Pci(pci::Target),
}

impl Board {
    #[inline]
    fn target(&self, gpa: Gpa) -> Option<Target> {
        let offset = (gpa.as_u64() % PAGE_BYTES) as u32;
        if self.is_local_apic(gpa) {
            return Some(Target::LocalApic(offset));
        }
        if gpa.align_down(PAGE_BYTES).as_u64() == IOAPIC_START {
            return Some(Target::Ioapic(offset));
        }
        self.pci.target(gpa).map(Target::Pci)
    }

    /// Whether the local APIC answers at `gpa`.
    #[inline]
    pub fn is_local_apic(&self, gpa: Gpa) -> bool {
        self.fabric.local.lapic.page() == Some(gpa.align_down(PAGE_BYTES))
    }

    /// Whether a device answers at `gpa`.
    #[inline]
    pub fn answers_memory(&self, gpa: Gpa) -> bool {
        self.target(gpa).is_some()
    }

    /// Takes a write at `gpa` that kicks a queue, if it is one: that takes no time and moves no deadline.
    #[inline]
    pub fn ring(&mut self, gpa: Gpa) -> Claim {
        // The guest can have moved its APIC there.
        if self.is_local_apic(gpa) { Claim::Unclaimed } else { self.pci.ring(gpa) }
    }

    /// Reads `size_bytes` (1, 2, 4 or 8) at `gpa`.
    pub fn read_memory(&mut self, gpa: Gpa, size_bytes: u8) -> (u64, Claim) {
        let Some(target) = self.target(gpa) else { return (u64::MAX, Claim::Unclaimed) };
        let (register, offset) = match target {
            Target::Pci(target) => {
                return (self.pci.read_memory(&mut self.fabric, target, size_bytes), Claim::Claimed);
            }
            Target::LocalApic(offset) => {
                let local = &mut self.fabric.local;
                (local.lapic.read_mmio(offset & !3, local.now), offset)
            }
            Target::Ioapic(offset) => {
                let at = WindowOffset(offset & !3);
                (self.fabric.read_ioapic(Access { at, width: Width::Dword }), offset)
            }
        };
        let value = u64::from(register) >> (offset % 4 * 8);
        let mask = u64::MAX >> (64 - u32::from(size_bytes.clamp(1, 8)) * 8);
        (value & mask, Claim::Claimed)
    }

    /// Writes `size_bytes` at `gpa`.
    pub fn write_memory(&mut self, gpa: Gpa, size_bytes: u8, value: u64) -> Claim {
        let Some(target) = self.target(gpa) else { return Claim::Unclaimed };
        let (Target::LocalApic(offset) | Target::Ioapic(offset)) = target else {
            if let Target::Pci(target) = target {
                self.pci.write_memory(&mut self.fabric, target, size_bytes, value);
            }
            return Claim::Claimed;
        };
        if offset % 4 != 0 || size_bytes < 4 {
            return Claim::Claimed;
        }
        let value = value as u32;
        match target {
            Target::LocalApic(_) => {
                let local = &mut self.fabric.local;
                let effect = local.lapic.write_mmio(offset, value, local.now);
                self.fabric.carry_out(effect);
            }
            Target::Ioapic(_) => {
                let at = WindowOffset(offset);
                self.fabric.write_ioapic(Access { at, width: Width::Dword }, value);
            }
            Target::Pci(_) => {}
        }
        Claim::Claimed
    }
}
