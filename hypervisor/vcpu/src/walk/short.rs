//! The short way through four levels of tables, where everything is as usual. What is not has no short way, and the walk
//! of the module above decides.
//!
//! For the instruction that has just exited only the addresses matter: the processor has fetched it by these tables a
//! moment ago, has judged the rights and marked the entries. A guest that changes its tables meanwhile may get the
//! instruction by the old ones or by the new, as from a processor that still has the old ones in its TLB.

use super::Paging;
use super::format::{ACCESSED, ADDRESS, DIRTY, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use crate::control::{cr0, cr4, efer};
use crate::{Access, CpuMode, Vcpu};
use base::{Gpa, PAGE_BYTES};
use seams::GuestMemory;

/// The bits of a linear address that select in a table, as an offset in bytes.
const INDEX: u64 = 0x1ff << 3;
/// The lowest address bit that can be reserved in a large page's entry: below it are flags, and bit 12 is PAT.
const LARGE_RESERVED_FROM: u64 = 1 << 13;

/// A way through the tables.
struct Way {
    /// The entries from the root on; the last is repeated where there are fewer.
    entries: [u64; 4],
    /// The size of the page that the last one maps.
    page_bytes: u64,
    gpa: Gpa,
}

/// The first eight bytes of the instruction at RIP in 64-bit mode, the first one lowest: enough for all instructions
/// but those with many prefixes. `None` elsewhere, or where there is no short way.
#[inline(never)]
pub fn first_bytes(memory: &impl GuestMemory, vcpu: &impl Vcpu) -> Option<u64> {
    let peek = memory.peek();
    peek(instruction(&peek, vcpu, size_of::<u64>())?)
}

/// The first sixteen bytes of the instruction at RIP, as [`first_bytes`].
pub(super) fn all_bytes(memory: &impl GuestMemory, vcpu: &impl Vcpu) -> Option<[u8; 16]> {
    let peek = memory.peek();
    let first = instruction(&peek, vcpu, size_of::<u128>())?;
    let (low, high) = (peek(first)?, peek(first.checked_add(size_of::<u64>() as u64)?)?);
    Some((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
}

/// Where `len` bytes from RIP on are, if all of them are in one page.
#[inline(always)]
fn instruction(peek: &impl Fn(Gpa) -> Option<u64>, vcpu: &impl Vcpu, len: usize) -> Option<Gpa> {
    let rip = vcpu.rip();
    let fits = rip % PAGE_BYTES <= PAGE_BYTES - len as u64;
    if !fits || vcpu.cr4() & cr4::LA57 != 0 || vcpu.mode() != CpuMode::Long64 {
        return None;
    }
    way(peek, vcpu.cr3(), rip).map(|way| way.gpa)
}

/// Where data at `linear` is, if it may be accessed and no entry needs a mark.
#[inline(always)]
pub(super) fn data(memory: &impl GuestMemory, paging: &Paging, linear: u64, access: Access) -> Option<Gpa> {
    let is_canonical = (linear << 16) as i64 >> 16 == linear as i64;
    let is_paged = paging.cr0 & cr0::PG != 0 && paging.efer & efer::LMA != 0;
    if !is_paged || paging.cr4 & cr4::LA57 != 0 || !is_canonical {
        return None;
    }
    let Way { entries, page_bytes, gpa } = way(&memory.peek(), paging.cr3, linear)?;
    let [root, second, third, leaf] = entries;
    let (all, any) = (root & second & third & leaf, root | second | third | leaf);
    let mut wanted = ACCESSED;
    match access {
        Access::Read => {}
        Access::Write if leaf & DIRTY != 0 => wanted |= WRITABLE,
        _ => return None,
    }
    if paging.user() {
        wanted |= USER;
    } else if paging.cr4 & cr4::SMAP != 0 && all & USER != 0 {
        return None;
    }
    let mut reserved = ADDRESS & !(u64::MAX >> (64 - paging.physical_bits.clamp(1, 52)));
    if paging.efer & efer::NXE == 0 {
        reserved |= NO_EXECUTE;
    }
    // No page is so large that the root maps it, and the low bits of a large page's address are zero.
    let misplaced = root & LARGE | leaf & (page_bytes - 1) & LARGE_RESERVED_FROM.wrapping_neg();
    (all & wanted == wanted && any & reserved | misplaced == 0).then_some(gpa)
}

/// Four levels of tables, by a look at each through `peek`.
#[inline(always)]
fn way(peek: &impl Fn(Gpa) -> Option<u64>, cr3: u64, linear: u64) -> Option<Way> {
    // In each table a field of the address selects an entry of eight bytes.
    let entry = |table: u64, index: u64| {
        let value = peek(Gpa::from_low_bits(table & ADDRESS | index & INDEX))?;
        (value & PRESENT != 0).then_some(value)
    };
    let place = |entries: [u64; 4], page_bytes: u64| {
        let offset = page_bytes - 1;
        let gpa = Gpa::from_low_bits(entries[3] & ADDRESS & !offset | linear & offset);
        Some(Way { entries, page_bytes, gpa })
    };
    let root = entry(cr3, linear >> 36)?;
    let pointer = entry(root, linear >> 27)?;
    if pointer & LARGE != 0 {
        return place([root, pointer, pointer, pointer], 1 << 30);
    }
    let directory_entry = entry(pointer, linear >> 18)?;
    if directory_entry & LARGE != 0 {
        return place([root, pointer, directory_entry, directory_entry], 1 << 21);
    }
    place([root, pointer, directory_entry, entry(directory_entry, linear >> 9)?], PAGE_BYTES)
}
