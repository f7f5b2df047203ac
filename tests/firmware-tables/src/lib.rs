//! ACPI tables of the computer that Bochs emulates: an i440FX with a PIIX3 and a PIIX4's power management.
//!
//! OVMF takes its tables from QEMU, which is not there on Bochs, and has none of its own. The program of this package is
//! started by firmware before the boot loader under test, and installs these.
//!
//! Sections are those of ACPI 6.5; registers are those of Intel's datasheet "82371AB (PIIX4)", 290562-001.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use acpi_tables::aml::{Name, Package, Path, ZERO};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::{Aml, sdt::Sdt};
use alloc::{vec, vec::Vec};

const OEM_ID: [u8; 6] = *b"BOCHS ";
const OEM_TABLE_ID: [u8; 8] = *b"TESTBED ";
const OEM_REVISION: u32 = 1;
const HEADER_LEN_BYTES: u32 = 36;

/// Where the local APICs are.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Where the IOAPIC is.
pub const IOAPIC: u32 = 0xfec0_0000;
/// Where the HPET is.
pub const HPET: u32 = 0xfed0_0000;

/// Where OVMF puts the PIIX4's power management registers (PMBA), and the registers from there (section 7.1).
const PM_BASE: u16 = 0xb000;
const PM_EVENT: u16 = PM_BASE;
const PM_CONTROL: u16 = PM_BASE + 4;
const PM_TIMER: u16 = PM_BASE + 8;
/// The system control interrupt.
const SCI: u8 = 9;
/// Writing this to that port switches ACPI mode on and off, as Bochs' BIOS would arrange.
const SMI_COMMAND: u16 = 0xb2;
const ACPI_ENABLE: u8 = 0xf1;
const ACPI_DISABLE: u8 = 0xf0;
/// The PIIX3's reset control register, and what written there resets all.
const RESET_CONTROL: u16 = 0xcf9;
const RESET_ALL: u8 = 6;

/// What differs from machine to machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The local APIC id of every processor.
    pub processors: Vec<u8>,
    /// The IOAPIC's id.
    pub ioapic_id: u8,
    /// The low half of the HPET's first register: its event timer block id.
    pub hpet_id: u32,
}

/// All tables, complete with checksums. Who installs them links them to each other.
#[must_use]
pub fn tables(machine: &Machine) -> Vec<Vec<u8>> {
    vec![fadt(), dsdt(), madt(machine), hpet(machine)]
}

fn port(port: u16, len_bytes: u8, access: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8 * len_bytes, 0, access, port.into())
}

/// The fixed hardware (5.2.9).
fn fadt() -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup);
    fadt.sci_int = u16::from(SCI).into();
    fadt.smi_cmd = u32::from(SMI_COMMAND).into();
    (fadt.acpi_enable, fadt.acpi_disable) = (ACPI_ENABLE, ACPI_DISABLE);
    fadt.pm1a_evt_blk = u32::from(PM_EVENT).into();
    fadt.pm1a_cnt_blk = u32::from(PM_CONTROL).into();
    fadt.pm_tmr_blk = u32::from(PM_TIMER).into();
    (fadt.pm1_evt_len, fadt.pm1_cnt_len, fadt.pm_tmr_len) = (4, 2, 4);
    fadt.x_pm1a_evt_blk = port(PM_EVENT, 4, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = port(PM_CONTROL, 2, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = port(PM_TIMER, 4, AccessSize::DwordAccess);
    fadt.reset_reg = port(RESET_CONTROL, 1, AccessSize::ByteAccess);
    fadt.reset_value = RESET_ALL;
    bytes(&fadt.finalize())
}

/// How to power off, and nothing else: sleep type 0 is "soft off" (7.4.2.6; PIIX4, PMCNTRL, bits 12 to 10).
fn dsdt() -> Vec<u8> {
    let s5 = Name::new(Path::new("_S5_"), &Package::new(vec![&ZERO, &ZERO, &ZERO, &ZERO]));
    let mut dsdt = Sdt::new(*b"DSDT", HEADER_LEN_BYTES, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&bytes(&s5));
    dsdt.as_slice().to_vec()
}

/// Processors and interrupt controllers (5.2.12).
fn madt(machine: &Machine) -> Vec<u8> {
    const FIXED_LEN_BYTES: u32 = HEADER_LEN_BYTES + 8;
    /// There is a pair of 8259s, too.
    const PCAT_COMPAT: u32 = 1;
    /// Interrupt source overrides: as the bus has it; active high and level-triggered.
    const CONFORMS: u8 = 0;
    const HIGH_LEVEL: u8 = 0b11_01;
    let mut madt = Sdt::new(*b"APIC", FIXED_LEN_BYTES, 5, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    madt.write_u32(HEADER_LEN_BYTES as usize, LOCAL_APIC);
    madt.write_u32(HEADER_LEN_BYTES as usize + 4, PCAT_COMPAT);
    for id in &machine.processors {
        madt.append_slice(&[0, 8, *id, *id, 1, 0, 0, 0]);
    }
    let [a0, a1, a2, a3] = IOAPIC.to_le_bytes();
    madt.append_slice(&[1, 12, machine.ioapic_id, 0, a0, a1, a2, a3, 0, 0, 0, 0]);
    // The timer's interrupt 0 goes to input 2.
    madt.append_slice(&[2, 10, 0, 0, 2, 0, 0, 0, CONFORMS, 0]);
    madt.append_slice(&[2, 10, 0, SCI, SCI, 0, 0, 0, HIGH_LEVEL, 0]);
    // NMI on LINT1 of all processors.
    madt.append_slice(&[4, 6, 0xff, CONFORMS, 0, 1]);
    madt.as_slice().to_vec()
}

/// The high precision event timer (Intel, "IA-PC HPET", 1.0a, section 3.2.4).
fn hpet(machine: &Machine) -> Vec<u8> {
    const LEN_BYTES: u32 = 56;
    let mut hpet = Sdt::new(*b"HPET", LEN_BYTES, 1, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    hpet.write_u32(36, machine.hpet_id);
    // Memory, 64 bits wide, from bit 0.
    hpet.write_bytes(40, &[0, 64, 0, 0]);
    hpet.write_u64(44, HPET.into());
    hpet.as_slice().to_vec()
}

fn bytes(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Vec<u8>> {
        tables(&Machine { processors: vec![0, 1], ioapic_id: 2, hpet_id: 0x8086_a201 })
    }

    #[test]
    fn every_table_tells_its_length_and_sums_to_zero() {
        for table in all() {
            assert_eq!(table[4..8], (table.len() as u32).to_le_bytes(), "{table:?}");
            assert_eq!(table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0, "{table:?}");
        }
    }

    #[test]
    fn the_fadt_and_the_dsdt_tell_how_to_power_off() {
        let tables = all();
        assert_eq!(tables[0][64..68], [0x04, 0xb0, 0, 0]);
        let s5 = [0x08, b'_', b'S', b'5', b'_', 0x12, 0x06, 0x04, 0, 0, 0, 0];
        assert!(tables[1].ends_with(&s5), "{:x?}", tables[1]);
    }

    #[test]
    fn the_madt_has_an_entry_for_each_processor() {
        let madt = &all()[2];
        assert_eq!(madt[44..60], [0, 8, 0, 0, 1, 0, 0, 0, 0, 8, 1, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn the_hpet_is_at_its_place() {
        assert_eq!(all()[3][44..52], [0, 0, 0xd0, 0xfe, 0, 0, 0, 0]);
    }
}
