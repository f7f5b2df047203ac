//! The short way to the instruction that has just exited, in 64-bit mode with four levels of tables.
//!
//! The processor has fetched that instruction by these tables a moment ago: it has judged the rights and marked the
//! entries, so that only the addresses matter here. Whatever is not as usual has no short way, and the walk of the
//! module above decides. A guest that changes its tables meanwhile may get the instruction by the old ones or by the
//! new, as from a processor that still has the old ones in its TLB.

use super::format::{ADDRESS, LARGE, PRESENT};
use crate::control::cr4;
use crate::{CpuMode, Vcpu};
use base::{Gpa, PAGE_BYTES};
use seams::GuestMemory;

/// The bits of a linear address that select in a table, as an offset in bytes.
const INDEX: u64 = 0x1ff << 3;

/// How many bytes [`first_bytes`] gives: enough for all instructions but those with many prefixes.
pub const FIRST_BYTES: usize = 8;

/// The first bytes of the instruction at RIP in 64-bit mode. `None` elsewhere, or where there is no short way.
#[inline]
pub fn first_bytes(memory: &impl GuestMemory, vcpu: &impl Vcpu) -> Option<[u8; FIRST_BYTES]> {
    let gpa = gpa(memory, vcpu, FIRST_BYTES)?;
    memory.read_u64(gpa).ok().map(u64::to_le_bytes)
}

/// Where `len` bytes from RIP on are, if all of them are in one page.
#[inline]
pub(super) fn gpa(memory: &impl GuestMemory, vcpu: &impl Vcpu, len: usize) -> Option<Gpa> {
    let rip = vcpu.rip();
    let fits = rip % PAGE_BYTES <= PAGE_BYTES - len as u64;
    if !fits || vcpu.cr4() & cr4::LA57 != 0 || vcpu.mode() != CpuMode::Long64 {
        return None;
    }
    let entry = |table: u64, index: u64| -> Option<u64> {
        let value = memory.read_u64(Gpa::from_low_bits(table & ADDRESS | index & INDEX)).ok()?;
        (value & PRESENT != 0).then_some(value)
    };
    let place = |page: u64, page_bytes: u64| {
        let offset = page_bytes - 1;
        Some(Gpa::from_low_bits(page & ADDRESS & !offset | rip & offset))
    };
    let root = entry(vcpu.cr3(), rip >> 36)?;
    let huge = entry(root, rip >> 27)?;
    if huge & LARGE != 0 {
        return place(huge, 1 << 30);
    }
    let large = entry(huge, rip >> 18)?;
    if large & LARGE != 0 {
        return place(large, 1 << 21);
    }
    place(entry(large, rip >> 9)?, PAGE_BYTES)
}
