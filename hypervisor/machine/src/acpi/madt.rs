//! MADT: which CPUs and IOAPICs there are, and how legacy lines reach them.
//!
//! Source: ACPI 6.5, section 5.2.12. Entries: 0 local APIC, 1 IOAPIC, 2 interrupt source override, 3 NMI source,
//! 4 local APIC NMI, 5 local APIC address override, 9 local x2APIC. Others do not concern a host of this kind.

use super::table::{AcpiError, HEADER_BYTES, Signature, Table, entries, u8_at, u16_at, u32_at, u64_at};
use arrayvec::ArrayVec;
use base::{ApicId, Gsi, Hpa};

/// How many CPUs are kept.
pub const MAX_CPUS: usize = 256;
/// How many IOAPICs are kept.
pub const MAX_IOAPICS: usize = 16;
/// How many overrides are kept: one for each legacy line.
pub const MAX_OVERRIDES: usize = 16;
/// Lines of the ISA bus.
pub const ISA_LINES: u8 = 16;

/// Which level of a line means that it asks for service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// High.
    ActiveHigh,
    /// Low.
    ActiveLow,
}

/// What is taken as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The change to active.
    Edge,
    /// Being active.
    Level,
}

/// Where a line goes, and how it is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The IOAPIC input.
    pub gsi: Gsi,
    /// Its trigger.
    pub trigger: Trigger,
    /// Its polarity.
    pub polarity: Polarity,
}

impl Line {
    /// Reads the MPS INTI flags (ACPI 6.5, table 5.27); what conforms to the bus is as on ISA.
    const fn with_flags(gsi: Gsi, flags: u16) -> Self {
        let polarity = if flags & 0b11 == 0b11 { Polarity::ActiveLow } else { Polarity::ActiveHigh };
        let trigger = if flags >> 2 & 0b11 == 0b11 { Trigger::Level } else { Trigger::Edge };
        Self { gsi, trigger, polarity }
    }
}

/// One IOAPIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApicEntry {
    /// Its id.
    pub id: u8,
    /// Where its registers are.
    pub base: Hpa,
    /// Its input 0.
    pub first: Gsi,
}

/// What an NMI comes in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmiSource {
    /// An IOAPIC input.
    Line(Line),
    /// A pin of local APICs.
    LocalPin {
        /// LINT0 or LINT1.
        pin: u8,
    },
}

/// What the table says. What does not fit the limits is left out and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Madt {
    /// Where the xAPIC's registers are.
    pub local_apic_base: Hpa,
    /// Whether the board has a pair of 8259s.
    pub has_8259s: bool,
    /// The APIC ids of the CPUs that can be started.
    pub cpus: ArrayVec<ApicId, MAX_CPUS>,
    /// The IOAPICs.
    pub ioapics: ArrayVec<IoApicEntry, MAX_IOAPICS>,
    /// Where ISA lines go that do not go to the GSI of the same number.
    pub overrides: ArrayVec<(u8, Line), MAX_OVERRIDES>,
    /// What NMIs come in by.
    pub nmis: ArrayVec<NmiSource, MAX_OVERRIDES>,
    /// Entries left out: wrong, or more than are kept.
    pub left_out: usize,
}

impl Madt {
    /// Reads the table.
    ///
    /// # Errors
    /// When it is shorter than its fixed part.
    pub fn parse(table: Table<'_>) -> Result<Self, AcpiError> {
        let bytes = table.bytes();
        let too_short = AcpiError::TooShort(Signature::MADT);
        let base = u32_at(bytes, HEADER_BYTES).ok_or(too_short)?;
        let flags = u32_at(bytes, HEADER_BYTES + 4).ok_or(too_short)?;
        let mut madt = Self {
            local_apic_base: Hpa::from_low_bits(base.into()),
            has_8259s: flags & 1 != 0,
            cpus: ArrayVec::new(),
            ioapics: ArrayVec::new(),
            overrides: ArrayVec::new(),
            nmis: ArrayVec::new(),
            left_out: 0,
        };
        for (kind, entry) in entries(bytes.get(HEADER_BYTES + 8..).unwrap_or_default()) {
            if madt.add(kind, entry).is_none() {
                madt.left_out = madt.left_out.saturating_add(1);
            }
        }
        Ok(madt)
    }

    /// Where ISA line `irq` goes; without an override to the GSI of its number, edge triggered and active high.
    pub fn isa_line(&self, irq: u8) -> Line {
        let overridden = self.overrides.iter().find(|(source, _)| *source == irq);
        overridden.map_or(Line::with_flags(Gsi(irq.into()), 0), |&(_, line)| line)
    }

    /// Takes one entry; `None` when it is left out.
    fn add(&mut self, kind: u8, entry: &[u8]) -> Option<()> {
        match kind {
            0 => self.add_cpu(u8_at(entry, 3)?.into(), u32_at(entry, 4)?),
            1 => {
                let (id, first) = (u8_at(entry, 2)?, Gsi(u32_at(entry, 8)?));
                let base = Hpa::from_low_bits(u32_at(entry, 4)?.into());
                self.ioapics.try_push(IoApicEntry { id, base, first }).ok()
            }
            2 => {
                let source = u8_at(entry, 3).filter(|&irq| irq < ISA_LINES)?;
                let line = Line::with_flags(Gsi(u32_at(entry, 4)?), u16_at(entry, 8)?);
                self.overrides.try_push((source, line)).ok()
            }
            3 => {
                let line = Line::with_flags(Gsi(u32_at(entry, 4)?), u16_at(entry, 2)?);
                self.nmis.try_push(NmiSource::Line(line)).ok()
            }
            4 => {
                let pin = u8_at(entry, 5).filter(|&pin| pin <= 1)?;
                self.nmis.try_push(NmiSource::LocalPin { pin }).ok()
            }
            5 => {
                self.local_apic_base = Hpa::new(u64_at(entry, 4)?).ok()?;
                Some(())
            }
            9 => self.add_cpu(u32_at(entry, 4)?, u32_at(entry, 8)?),
            _ => Some(()),
        }
    }

    /// Keeps a CPU that is enabled (bit 0); one that could be plugged in later is not there. A CPU may be listed in
    /// both forms.
    fn add_cpu(&mut self, id: u32, flags: u32) -> Option<()> {
        let id = ApicId(id);
        if flags & 1 == 0 || self.cpus.contains(&id) {
            return Some(());
        }
        self.cpus.try_push(id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::tests::table;
    use proptest::prelude::*;

    /// A board like QEMU's: 2 CPUs, one IOAPIC, the timer on input 2, ACPI's line 9 level triggered.
    fn board() -> std::vec::Vec<u8> {
        let mut body = std::vec![0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        body.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        body.extend([0, 8, 1, 1, 1, 0, 0, 0]);
        body.extend([0, 8, 2, 2, 0, 0, 0, 0]);
        body.extend([9, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        body.extend([9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        body.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        body.extend([2, 10, 0, 9, 9, 0, 0, 0, 0b1111, 0]);
        body.extend([4, 6, 0xff, 0, 0, 1]);
        table(b"APIC", &body)
    }

    #[test]
    fn a_board_is_read_completely() {
        let bytes = board();
        let madt = Madt::parse(Table::unchecked(&bytes)).unwrap();
        assert_eq!(madt.cpus.as_slice(), [ApicId(0), ApicId(1), ApicId(256)]);
        assert_eq!(madt.local_apic_base.as_u64(), 0xfee0_0000);
        assert_eq!(madt.ioapics[0].base.as_u64(), 0xfec0_0000);
        assert_eq!(madt.nmis.as_slice(), [NmiSource::LocalPin { pin: 1 }]);
        assert!(madt.has_8259s);
        assert_eq!(madt.left_out, 0);
    }

    #[test]
    fn overrides_move_isa_lines_and_others_stay() {
        let bytes = board();
        let madt = Madt::parse(Table::unchecked(&bytes)).unwrap();
        assert_eq!(madt.isa_line(0).gsi, Gsi(2));
        let serial = Line { gsi: Gsi(4), trigger: Trigger::Edge, polarity: Polarity::ActiveHigh };
        assert_eq!(madt.isa_line(4), serial);
        let sci = Line { gsi: Gsi(9), trigger: Trigger::Level, polarity: Polarity::ActiveLow };
        assert_eq!(madt.isa_line(9), sci);
    }

    #[test]
    fn entries_that_are_too_short_or_too_many_are_left_out_and_counted() {
        let mut body = std::vec![0; 8];
        (0..=MAX_IOAPICS as u8).for_each(|n| body.extend([1, 12, n, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        body.extend([0, 3, 0]);
        let bytes = table(b"APIC", &body);
        let madt = Madt::parse(Table::unchecked(&bytes)).unwrap();
        assert_eq!((madt.ioapics.len(), madt.left_out), (MAX_IOAPICS, 2));
    }

    #[test]
    fn an_entry_of_length_zero_ends_the_table() {
        let bytes = table(b"APIC", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8]);
        assert!(Madt::parse(Table::unchecked(&bytes)).unwrap().cpus.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes: std::vec::Vec<u8>) {
            let _ = Madt::parse(Table::unchecked(&bytes));
        }

        #[test]
        fn no_entries_upset_it(kind in 0..10_u8, len: u8, content: std::vec::Vec<u8>) {
            let mut body = std::vec![0; 8];
            body.extend([kind, len]);
            body.extend(content);
            let bytes = table(b"APIC", &body);
            let _ = Madt::parse(Table::unchecked(&bytes));
        }
    }
}
