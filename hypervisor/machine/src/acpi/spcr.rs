//! SPCR: the serial port that firmware used as its console.
//!
//! Source: Microsoft, Serial Port Console Redirection Table, revision 4.

use super::fadt::RegisterSpace;
use super::table::{AcpiError, HEADER_BYTES, Signature, Table, u8_at, u32_at};
use base::Gsi;

/// The kind of a fully compatible 16550, and that of one described by its generic address.
const KIND_16550: u8 = 0;
const KIND_16550_GENERIC: u8 = 0x12;
/// Interrupt type bits: an IRQ of the 8259s, a GSI of an IOAPIC.
const INTERRUPT_8259: u8 = 1 << 0;
const INTERRUPT_IOAPIC: u8 = 1 << 1;

/// How the port's interrupt is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerialInterrupt {
    /// By an ISA line, subject to the MADT's overrides.
    Isa(u8),
    /// By an IOAPIC input.
    Gsi(Gsi),
    /// It has none, or one that is not understood.
    None,
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spcr {
    /// Whether the port is a 16550.
    pub is_16550: bool,
    /// Where it is; `None` where the table leaves redirection off.
    pub address: Option<RegisterSpace>,
    /// Its interrupt.
    pub interrupt: SerialInterrupt,
}

impl Spcr {
    /// Reads the table.
    ///
    /// # Errors
    /// When it is shorter than the fields read.
    pub fn parse(table: Table<'_>) -> Result<Self, AcpiError> {
        Self::fields(table.bytes()).ok_or(AcpiError::TooShort(Signature::SPCR))
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let kind = u8_at(bytes, HEADER_BYTES)?;
        let (wiring, irq) = (u8_at(bytes, 52)?, u8_at(bytes, 53)?);
        let gsi = Gsi(u32_at(bytes, 54)?);
        let interrupt = if wiring & INTERRUPT_IOAPIC != 0 {
            SerialInterrupt::Gsi(gsi)
        } else if wiring & INTERRUPT_8259 != 0 {
            SerialInterrupt::Isa(irq)
        } else {
            SerialInterrupt::None
        };
        Some(Self {
            is_16550: matches!(kind, KIND_16550 | KIND_16550_GENERIC),
            address: RegisterSpace::generic(bytes, 40),
            interrupt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::tests::table;
    use base::Port;
    use proptest::prelude::*;

    #[test]
    fn com1_as_qemu_describes_it_is_read() {
        let mut body = std::vec![0, 0, 0, 0, 1, 8, 0, 1, 0xf8, 3, 0, 0, 0, 0, 0, 0, 3, 4, 4, 0, 0, 0];
        body.resize(44, 0);
        let bytes = table(b"SPCR", &body);
        let spcr = Spcr::parse(Table::unchecked(&bytes)).unwrap();
        let address = Some(RegisterSpace::Port(Port(0x3f8)));
        assert_eq!(spcr, Spcr { is_16550: true, address, interrupt: SerialInterrupt::Gsi(Gsi(4)) });
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Spcr::parse(Table::unchecked(&bytes));
        }
    }
}
