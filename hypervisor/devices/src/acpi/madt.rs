//! The MADT: processors and interrupt controllers (5.2.12).

use super::{OEM_ID, OEM_REVISION, OEM_TABLE_ID, Platform};
use crate::platform::{IOAPIC_BASE, LAPIC_BASE, SCI_GSI, TIMER_GSI};
use acpi_tables::sdt::Sdt;
use alloc::vec::Vec;
use base::Gsi;

/// The revision of ACPI 6.3 to 6.5.
const REVISION: u8 = 5;
/// The header and the two fields before the first structure.
const FIXED_LEN_BYTES: u32 = 44;
const OFFSET_LAPIC_ADDRESS: usize = 36;
const OFFSET_FLAGS: usize = 40;
/// The machine has an 8259A pair too.
const FLAG_PCAT_COMPAT: u32 = 1;

/// Processor local APIC flags: enabled.
const ENABLED: u32 = 1;
/// APIC ids that do not fit a local APIC structure: 255 is the broadcast.
const FIRST_X2APIC_ID: u16 = 255;
/// All processors.
const ALL_8: u8 = 0xff;
const ALL_32: u32 = u32::MAX;
const LINT1: u8 = 1;

/// Interrupt flags: as the bus has it, edge-triggered and active high on ISA (table 5.26).
const CONFORMS: u16 = 0;
/// Active high, level-triggered.
const HIGH_LEVEL: u16 = 0b11_01;

/// The whole table.
pub(super) fn build(platform: &Platform) -> Vec<u8> {
    let mut structures = Vec::new();
    for id in 0..platform.vcpus {
        match u8::try_from(id) {
            Ok(id) if u16::from(id) < FIRST_X2APIC_ID => structures.extend(local_apic(id)),
            _ => structures.extend(local_x2apic(id.into())),
        }
    }
    structures.extend(ioapic());
    structures.extend(source_override(0, TIMER_GSI, CONFORMS));
    structures.extend(source_override(SCI_GSI.0 as u8, SCI_GSI, HIGH_LEVEL));
    structures.extend(local_apic_nmi());
    if platform.vcpus > FIRST_X2APIC_ID {
        structures.extend(local_x2apic_nmi());
    }
    let mut madt = Sdt::new(*b"APIC", FIXED_LEN_BYTES, REVISION, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    madt.write_u32(OFFSET_LAPIC_ADDRESS, LAPIC_BASE);
    madt.write_u32(OFFSET_FLAGS, FLAG_PCAT_COMPAT);
    madt.append_slice(&structures);
    madt.as_slice().to_vec()
}

/// Processor local APIC (5.2.12.2).
fn local_apic(id: u8) -> [u8; 8] {
    let [f0, f1, f2, f3] = ENABLED.to_le_bytes();
    [0, 8, id, id, f0, f1, f2, f3]
}

/// Processor local x2APIC (5.2.12.12).
fn local_x2apic(id: u32) -> [u8; 16] {
    let ([i0, i1, i2, i3], [f0, f1, f2, f3]) = (id.to_le_bytes(), ENABLED.to_le_bytes());
    [9, 16, 0, 0, i0, i1, i2, i3, f0, f1, f2, f3, i0, i1, i2, i3]
}

/// I/O APIC (5.2.12.3): id 0, inputs from GSI 0 on.
fn ioapic() -> [u8; 12] {
    let [a0, a1, a2, a3] = IOAPIC_BASE.to_le_bytes();
    [1, 12, 0, 0, a0, a1, a2, a3, 0, 0, 0, 0]
}

/// Interrupt source override of ISA's interrupt `source` (5.2.12.5).
fn source_override(source: u8, Gsi(gsi): Gsi, flags: u16) -> [u8; 10] {
    let ([g0, g1, g2, g3], [f0, f1]) = (gsi.to_le_bytes(), flags.to_le_bytes());
    [2, 10, 0, source, g0, g1, g2, g3, f0, f1]
}

/// Local APIC NMI (5.2.12.7): on LINT1 of all processors.
fn local_apic_nmi() -> [u8; 6] {
    let [f0, f1] = CONFORMS.to_le_bytes();
    [4, 6, ALL_8, f0, f1, LINT1]
}

/// Local x2APIC NMI (5.2.12.13): on LINT1 of all processors.
fn local_x2apic_nmi() -> [u8; 12] {
    let ([f0, f1], [a0, a1, a2, a3]) = (CONFORMS.to_le_bytes(), ALL_32.to_le_bytes());
    [0x0a, 12, f0, f1, a0, a1, a2, a3, LINT1, 0, 0, 0]
}
