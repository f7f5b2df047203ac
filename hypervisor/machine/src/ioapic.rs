//! The host's IOAPICs: which vector a device's line raises, on which CPU.
//!
//! ```text
//! redirection entry   63..56 destination (APIC id)   16 masked   15 level   13 active low   10..8 fixed   7..0 vector
//! ```
//! Source: Intel 82093AA data sheet (290566); polarity and trigger of legacy lines from the MADT's overrides.
//!
//! Unsafe in its tests alone, where memory stands in for the registers; [`Mmio`] is what makes access to them safe.

use crate::Mmio;
use crate::acpi::madt::{Line, Polarity, Trigger};
use base::{ApicId, Gsi, Vector};
use core::fmt;

/// How many bytes of registers to map.
pub const IOAPIC_BYTES: usize = 0x20;

/// The index register and the window on the register that it names.
const SELECT: usize = 0x00;
const WINDOW: usize = 0x10;
const VERSION: u8 = 0x01;
const FIRST_ENTRY: u8 = 0x10;
/// Entries whose index an 8-bit register number can name.
const MAX_ENTRIES: u32 = 120;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// A line that this IOAPIC cannot route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// Another IOAPIC has it, or none.
    NotHere(Gsi),
    /// Without interrupt remapping a destination has 8 bits.
    DestinationTooWide(ApicId),
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHere(gsi) => write!(f, "GSI {} is no input of this IOAPIC", gsi.0),
            Self::DestinationTooWide(id) => {
                write!(f, "an IOAPIC cannot reach APIC id {} without interrupt remapping", id.0)
            }
        }
    }
}

impl core::error::Error for RouteError {}

/// One IOAPIC, every input masked until it is routed.
#[derive(Debug)]
pub struct IoApic {
    window: Mmio,
    first: Gsi,
    entries: u32,
}

impl IoApic {
    /// Takes over the IOAPIC behind `window`, whose input 0 is `first`, and masks all inputs.
    pub fn take_over(window: Mmio, first: Gsi) -> Self {
        let mut apic = Self { window, first, entries: MAX_ENTRIES };
        // Bits 16-23 of the version register hold the last entry's index.
        apic.entries = ((apic.read(VERSION) >> 16 & 0xff) + 1).min(MAX_ENTRIES);
        for index in 0..apic.entries {
            apic.write_entry(index, MASKED, 0);
        }
        apic
    }

    /// How many inputs it has.
    pub const fn inputs(&self) -> u32 {
        self.entries
    }

    /// Whether `gsi` is one of its inputs.
    pub fn serves(&self, gsi: Gsi) -> bool {
        self.index(gsi).is_ok()
    }

    /// Lets `line` raise `vector` on the CPU with APIC id `destination`, unmasked.
    ///
    /// # Errors
    /// When the line is not one of this IOAPIC's, or the CPU out of its reach.
    pub fn route(&mut self, line: Line, vector: Vector, destination: ApicId) -> Result<(), RouteError> {
        let index = self.index(line.gsi)?;
        let id = u8::try_from(destination.0).map_err(|_| RouteError::DestinationTooWide(destination))?;
        let mut low = u32::from(vector.0);
        if line.trigger == Trigger::Level {
            low |= LEVEL;
        }
        if line.polarity == Polarity::ActiveLow {
            low |= ACTIVE_LOW;
        }
        self.write_entry(index, low, u32::from(id) << 24);
        Ok(())
    }

    /// Masks `gsi`; what it was routed to is kept.
    ///
    /// # Errors
    /// When it is not one of this IOAPIC's inputs.
    pub fn mask(&mut self, gsi: Gsi) -> Result<(), RouteError> {
        self.change(gsi, |low| low | MASKED)
    }

    /// Unmasks `gsi`.
    ///
    /// # Errors
    /// When it is not one of this IOAPIC's inputs.
    pub fn unmask(&mut self, gsi: Gsi) -> Result<(), RouteError> {
        self.change(gsi, |low| low & !MASKED)
    }

    fn index(&self, gsi: Gsi) -> Result<u32, RouteError> {
        let index = gsi.0.checked_sub(self.first.0).filter(|&index| index < self.entries);
        index.ok_or(RouteError::NotHere(gsi))
    }

    fn change(&mut self, gsi: Gsi, change: impl Fn(u32) -> u32) -> Result<(), RouteError> {
        let register = Self::low_half(self.index(gsi)?);
        let low = self.read(register);
        self.write(register, change(low));
        Ok(())
    }

    /// The register of the low half of an entry; the high half is the next one.
    fn low_half(index: u32) -> u8 {
        (index.min(MAX_ENTRIES) as u8).wrapping_mul(2).wrapping_add(FIRST_ENTRY)
    }

    /// Writes an entry, masked while its halves do not fit together.
    fn write_entry(&mut self, index: u32, low: u32, high: u32) {
        let register = Self::low_half(index);
        self.write(register, MASKED);
        self.write(register.wrapping_add(1), high);
        self.write(register, low);
    }

    fn read(&self, register: u8) -> u32 {
        self.window.write32(SELECT, register.into());
        self.window.read32(WINDOW)
    }

    fn write(&mut self, register: u8, value: u32) {
        self.window.write32(SELECT, register.into());
        self.window.write32(WINDOW, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers as plain memory: the window shows what was written last, whatever is selected.
    fn ioapic(page: &mut [u32; 8]) -> IoApic {
        page[WINDOW / 4] = 23 << 16;
        // SAFETY: the array stands in for the registers and outlives the IOAPIC.
        let window = unsafe { Mmio::new(page.as_mut_ptr().expose_provenance(), IOAPIC_BYTES) };
        IoApic::take_over(window, Gsi(24))
    }

    #[test]
    fn inputs_are_counted_and_numbered_from_the_first() {
        let mut page = [0; 8];
        let apic = ioapic(&mut page);
        assert_eq!(apic.inputs(), 24);
        assert_eq!([23, 24, 47, 48].map(|gsi| apic.serves(Gsi(gsi))), [false, true, true, false]);
    }

    #[test]
    fn a_route_carries_trigger_and_polarity() {
        let mut page = [0; 8];
        let mut apic = ioapic(&mut page);
        let line = Line { gsi: Gsi(28), trigger: Trigger::Level, polarity: Polarity::ActiveLow };
        apic.route(line, Vector(0x40), ApicId(1)).unwrap();
        assert_eq!(apic.window.read32(SELECT), 0x10 + 2 * 4);
        assert_eq!(apic.window.read32(WINDOW), LEVEL | ACTIVE_LOW | 0x40);
    }

    #[test]
    fn what_cannot_be_routed_is_refused_by_name() {
        let mut page = [0; 8];
        let mut apic = ioapic(&mut page);
        let line = |gsi| Line { gsi: Gsi(gsi), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        assert_eq!(apic.route(line(4), Vector(0x40), ApicId(0)), Err(RouteError::NotHere(Gsi(4))));
        assert_eq!(
            apic.route(line(24), Vector(0x40), ApicId(256)),
            Err(RouteError::DestinationTooWide(ApicId(256)))
        );
        assert_eq!(apic.mask(Gsi(48)), Err(RouteError::NotHere(Gsi(48))));
    }

    #[test]
    fn masking_keeps_the_route() {
        let mut page = [0; 8];
        let mut apic = ioapic(&mut page);
        let line = Line { gsi: Gsi(24), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        apic.route(line, Vector(0x40), ApicId(0)).unwrap();
        apic.mask(Gsi(24)).unwrap();
        assert_eq!(apic.read(FIRST_ENTRY), MASKED | 0x40);
        apic.unmask(Gsi(24)).unwrap();
        assert_eq!(apic.read(FIRST_ENTRY), 0x40);
    }
}
