//! What the loader leaves a kernel in low memory, and where.

use crate::loader::Problem;
use base::{Gpa, PAGE_BYTES};
use seams::GuestMemory;
use vcpu::DescriptorTable;

const GDT: u64 = 0x1000;
/// What tells a kernel what it was given: Linux's zero page, Xen's start info, or the Multiboot information.
pub(super) const INFO: u64 = 0x2000;
/// The room for it.
pub(super) const INFO_MAX_BYTES: u64 = PAGE_BYTES;
/// Page tables for a kernel that starts in 64-bit mode; they end below [`STRINGS`].
pub(super) const PAGE_TABLES: u64 = 0x3000;
/// The command line, and behind it what else is text.
pub(super) const STRINGS: u64 = 0x1_0000;
/// One past the last byte for text.
pub(super) const STRINGS_END: u64 = 0x9_0000;

/// The selectors that Linux demands (`__BOOT_CS`, `__BOOT_DS`); PVH and Multiboot leave the choice.
pub(super) const CODE_SELECTOR: u16 = 0x10;
pub(super) const DATA_SELECTOR: u16 = 0x18;
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;

/// A descriptor of flat code: what its selector loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Code {
    /// 32-bit code.
    Protected = 0x00cf_9b00_0000_ffff,
    /// 64-bit code.
    Long = 0x00af_9b00_0000_ffff,
}

/// Writes a GDT with flat code and data at the two selectors.
pub(super) fn write_gdt(code: Code, memory: &impl GuestMemory) -> Result<DescriptorTable, Problem> {
    let descriptors = [0, 0, code as u64, DATA_DESCRIPTOR];
    for (at, descriptor) in (GDT..).step_by(8).zip(descriptors) {
        memory.write(Gpa::from_low_bits(at), &u64::to_le_bytes(descriptor))?;
    }
    Ok(DescriptorTable { base: GDT, limit: size_of_val(&descriptors) as u16 - 1 })
}
