//! ACPI tables: found, checked, and read into plain values.
//!
//! ```text
//! RSDP -> XSDT (or RSDT) -> MADT, FADT, SPCR, MCFG, DMAR, IVRS, SSDTs
//!                                    \-> DSDT -> \_S5
//! ```
//! Firmware wrote the tables, so they are input like any other: each is taken by one bounded, checksummed look, and
//! parsed by pure functions over bytes that return a typed error or leave an entry out, whatever the bytes are.
//!
//! Why not the `acpi` crate: 5.2 casts mapped bytes to packed structs and trusts lengths inside them, so that a wrong
//! table reads out of bounds; later versions need a nightly compiler. What is wanted here is a few fields of six tables.
//!
//! Source: ACPI specification 6.5, section 5.2.

pub mod fadt;
pub mod madt;
pub mod mcfg;
pub mod s5;
pub mod spcr;
pub mod table;

pub use fadt::{Fadt, RegisterSpace};
pub use madt::Madt;
pub use mcfg::Mcfg;
pub use s5::SleepTypes;
pub use spcr::Spcr;
pub use table::{AcpiError, MAX_TABLE_BYTES, Signature, Table};

use arrayvec::ArrayVec;
use base::Hpa;

/// How many tables are looked at; real machines have 20 to 60.
pub const MAX_TABLES: usize = 128;

/// The first version of the RSDP, and the whole of the second (ACPI 6.5, section 5.2.5.3).
const RSDP_V1_BYTES: usize = 20;
const RSDP_V2_BYTES: usize = 36;

/// Gives sight of physical memory: `len` bytes at an address, or `None` where there is no such memory.
///
/// The bytes must not change while they are borrowed: firmware has no say any more when tables are read.
pub trait Memory<'a> {
    /// The bytes at `address`.
    fn bytes(&self, address: Hpa, len: usize) -> Option<&'a [u8]>;
}

impl<'a, F: Fn(Hpa, usize) -> Option<&'a [u8]>> Memory<'a> for F {
    fn bytes(&self, address: Hpa, len: usize) -> Option<&'a [u8]> {
        self(address, len).filter(|bytes| bytes.len() == len)
    }
}

/// The tables that the RSDP leads to.
#[derive(Clone, Debug)]
pub struct Tables<'a> {
    tables: ArrayVec<Table<'a>, MAX_TABLES>,
    /// Tables that were listed but are left out: unreadable, wrongly summed, or too many.
    pub skipped: usize,
}

impl<'a> Tables<'a> {
    /// Follows the RSDP at `rsdp`.
    ///
    /// A single broken table is skipped and counted; it is missed when it is asked for.
    ///
    /// # Errors
    /// When the RSDP or the root table is unreadable or wrongly summed.
    pub fn find(rsdp: Hpa, memory: &impl Memory<'a>) -> Result<Self, AcpiError> {
        let (root, entry_bytes) = root_of(rsdp, memory)?;
        let root = Table::at(root, memory)?;
        let mut found = Self { tables: ArrayVec::new(), skipped: 0 };
        for entry in root.body().chunks_exact(entry_bytes) {
            let address = entry.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            let table = Hpa::new(address).ok().and_then(|address| Table::at(address, memory).ok());
            if table.and_then(|table| found.tables.try_push(table).ok()).is_none() {
                found.skipped = found.skipped.saturating_add(1);
            }
        }
        Ok(found)
    }

    /// All tables, in the order of the root table.
    pub fn iter(&self) -> impl Iterator<Item = Table<'a>> + '_ {
        self.tables.iter().copied()
    }

    /// The first table of `signature`.
    ///
    /// # Errors
    /// [`AcpiError::Missing`].
    pub fn get(&self, signature: Signature) -> Result<Table<'a>, AcpiError> {
        self.iter().find(|table| table.signature() == signature).ok_or(AcpiError::Missing(signature))
    }

    /// The MADT: CPUs, IOAPICs and interrupt lines.
    ///
    /// # Errors
    /// When there is none, or it is too short.
    pub fn madt(&self) -> Result<Madt, AcpiError> {
        Madt::parse(self.get(Signature::MADT)?)
    }

    /// The FADT: power management registers.
    ///
    /// # Errors
    /// When there is none, or it is too short.
    pub fn fadt(&self) -> Result<Fadt, AcpiError> {
        Fadt::parse(self.get(Signature::FADT)?)
    }

    /// The serial console that firmware used.
    ///
    /// # Errors
    /// When there is none, or it is too short.
    pub fn spcr(&self) -> Result<Spcr, AcpiError> {
        Spcr::parse(self.get(Signature::SPCR)?)
    }

    /// The memory-mapped configuration spaces of PCI Express.
    ///
    /// # Errors
    /// When there is none.
    pub fn mcfg(&self) -> Result<Mcfg, AcpiError> {
        self.get(Signature::MCFG).map(Mcfg::parse)
    }

    /// What to write to the PM1 control registers to power off: `\_S5` of the DSDT, or of an SSDT.
    ///
    /// # Errors
    /// When the DSDT is unreadable, or no table holds `\_S5`.
    pub fn sleep_types_s5(&self, fadt: &Fadt, memory: &impl Memory<'a>) -> Result<SleepTypes, AcpiError> {
        let dsdt = Table::at(fadt.dsdt, memory)?;
        let ssdts = self.iter().filter(|table| table.signature() == Signature::SSDT);
        let mut definitions = core::iter::once(dsdt).chain(ssdts);
        definitions.find_map(|table| s5::find(table.body())).ok_or(AcpiError::NoS5)
    }
}

/// Where the root table is, and how long its entries are.
fn root_of<'a>(rsdp: Hpa, memory: &impl Memory<'a>) -> Result<(Hpa, usize), AcpiError> {
    let first = memory.bytes(rsdp, RSDP_V1_BYTES).ok_or(AcpiError::Unreadable(rsdp))?;
    if !first.starts_with(b"RSD PTR ") {
        return Err(AcpiError::NoRsdp(rsdp));
    }
    if !table::sums_to_zero(first) {
        return Err(AcpiError::BadChecksum(Signature::RSDP, rsdp));
    }
    let revision = first.get(15).copied().unwrap_or(0);
    if revision >= 2 {
        let whole = memory.bytes(rsdp, RSDP_V2_BYTES).ok_or(AcpiError::Unreadable(rsdp))?;
        if !table::sums_to_zero(whole) {
            return Err(AcpiError::BadChecksum(Signature::RSDP, rsdp));
        }
        if let Some(xsdt) = table::u64_at(whole, 24).filter(|&address| address != 0) {
            return Ok((table::address(xsdt)?, 8));
        }
    }
    let rsdt = table::u32_at(first, 16).unwrap_or(0);
    Ok((table::address(rsdt.into())?, 4))
}

#[cfg(test)]
pub(crate) mod tests;
