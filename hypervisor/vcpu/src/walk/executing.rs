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

/// The first eight bytes of the instruction at RIP in 64-bit mode, the first one lowest: enough for all instructions
/// but those with many prefixes. `None` elsewhere, or where there is no short way.
#[inline(never)]
pub fn first_bytes(memory: &impl GuestMemory, vcpu: &impl Vcpu) -> Option<u64> {
    let peek = memory.peek();
    peek(gpa(&peek, vcpu, size_of::<u64>())?)
}

/// Where `len` bytes from RIP on are, if all of them are in one page, by a look at the tables through `peek`.
#[inline(always)]
pub(super) fn gpa(peek: &impl Fn(Gpa) -> Option<u64>, vcpu: &impl Vcpu, len: usize) -> Option<Gpa> {
    let rip = vcpu.rip();
    let fits = rip % PAGE_BYTES <= PAGE_BYTES - len as u64;
    if !fits || vcpu.cr4() & cr4::LA57 != 0 || vcpu.mode() != CpuMode::Long64 {
        return None;
    }
    // In each table a field of the address selects an entry of eight bytes.
    let entry = |table: u64, index: u64| {
        let value = peek(Gpa::from_low_bits(table & ADDRESS | index & INDEX))?;
        (value & PRESENT != 0).then_some(value)
    };
    let place = |page: u64, page_bytes: u64| {
        let offset = page_bytes - 1;
        Some(Gpa::from_low_bits(page & ADDRESS & !offset | rip & offset))
    };
    let pointers = entry(vcpu.cr3(), rip >> 36)?;
    let pointer = entry(pointers, rip >> 27)?;
    if pointer & LARGE != 0 {
        return place(pointer, 1 << 30);
    }
    let directory_entry = entry(pointer, rip >> 18)?;
    if directory_entry & LARGE != 0 {
        return place(directory_entry, 1 << 21);
    }
    place(entry(directory_entry, rip >> 9)?, PAGE_BYTES)
}
