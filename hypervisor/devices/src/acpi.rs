//! The ACPI tables of a VM: what firmware would have left in memory.
//!
//! ```text
//! 0xE0000  RSDP ──▶ XSDT ──▶ FADT ──▶ DSDT
//!                    │         └────▶ FACS
//!                    ├─────▶ MADT
//!                    └─────▶ MCFG
//! ```
//!
//! They are built once, before the VM starts, and they hold what [`crate::platform`] says; there is no other list.
//!
//! Source: ACPI specification 6.5, chapter 5.

mod dsdt;
mod fadt;
mod madt;
mod pci;
#[cfg(test)]
mod tests;

use acpi_tables::{Aml, facs::FACS, rsdp::Rsdp, xsdt::XSDT};
use alloc::vec::Vec;
use base::Gpa;
use core::fmt;

/// Where the tables start; the RSDP is searched for from here on (5.2.5.1).
pub const TABLES_START: u32 = 0xe_0000;
/// Where they must end.
pub const TABLES_END: u32 = 0x10_0000;

const OEM_ID: [u8; 6] = *b"COFFER";
const OEM_TABLE_ID: [u8; 8] = *b"COFFERDM";
const OEM_REVISION: u32 = 1;

/// The strictest alignment that a table needs: the FACS's, in bytes (5.2.10). The RSDP needs 16.
const ALIGNMENT: u32 = 64;

/// What differs between one VM's tables and another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// The number of vCPUs. vCPU n has the APIC id n.
    pub vcpus: u16,
}

/// The tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Where the RSDP is.
    pub rsdp: Gpa,
    /// What to copy where in the guest's memory.
    pub blobs: Vec<(Gpa, Vec<u8>)>,
}

/// The tables of so many vCPUs do not fit below 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyVcpus(
    /// The number of vCPUs.
    pub u16,
);

impl fmt::Display for TooManyVcpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = TABLES_END - TABLES_START;
        write!(f, "the ACPI tables of {} vCPUs need more than {room} bytes: give the VM fewer", self.0)
    }
}

impl core::error::Error for TooManyVcpus {}

/// Builds the tables of a VM.
///
/// # Errors
/// [`TooManyVcpus`] when they do not fit between [`TABLES_START`] and [`TABLES_END`].
pub fn build(platform: &Platform) -> Result<Tables, TooManyVcpus> {
    let mut layout = Layout { next: TABLES_START, blobs: Vec::new() };
    // The RSDP comes first in memory, but it points to what comes later.
    let rsdp = layout.reserve(Rsdp::len());
    let facs = layout.place(bytes_of(&FACS::new()));
    let dsdt = layout.place(dsdt::build(platform));
    let fadt = layout.place(bytes_of(&fadt::build(facs, dsdt)));
    let madt = layout.place(madt::build(platform));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    let mcfg = layout.place(bytes_of(&pci::mcfg()));
    for table in [fadt, madt, mcfg] {
        xsdt.add_entry(table.into());
    }
    let xsdt = layout.place(bytes_of(&xsdt));
    layout.blobs.push((gpa(rsdp), bytes_of(&Rsdp::new(OEM_ID, xsdt.into()))));
    if layout.next > TABLES_END {
        return Err(TooManyVcpus(platform.vcpus));
    }
    Ok(Tables { rsdp: gpa(rsdp), blobs: layout.blobs })
}

/// Tables as they get their places, upwards.
struct Layout {
    next: u32,
    blobs: Vec<(Gpa, Vec<u8>)>,
}

impl Layout {
    /// Takes an aligned place for `len_bytes`.
    fn reserve(&mut self, len_bytes: usize) -> u32 {
        let place = self.next;
        let len_bytes = u32::try_from(len_bytes).unwrap_or(u32::MAX);
        let end = place.saturating_add(len_bytes);
        self.next = end.checked_next_multiple_of(ALIGNMENT).unwrap_or(u32::MAX);
        place
    }

    fn place(&mut self, table: Vec<u8>) -> u32 {
        let place = self.reserve(table.len());
        self.blobs.push((gpa(place), table));
        place
    }
}

fn gpa(address: u32) -> Gpa {
    Gpa::from_low_bits(address.into())
}

fn bytes_of(table: &impl Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}
