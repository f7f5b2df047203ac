//! Walks a guest's own page tables, as the processor would: permissions, reserved bits, accessed and dirty.
//!
//! Protection keys are not looked at: what the hypervisor reads for a guest is its code, which they never guard.
//!
//! Sources: Intel SDM, volume 3, sections 4.2 to 4.8; AMD APM 24593, volume 2, chapter 5.

mod format;
mod short;

pub use short::first_bytes;

use crate::control::{cr0, cr4};
use crate::{Access, CpuMode, Exception, SegmentName, Vcpu};
use base::{Gpa, PAGE_BYTES};
use format::{ACCESSED, DIRTY, Format, NO_EXECUTE, PRESENT, USER, WRITABLE};
use seams::{GuestMemory, MemoryError};

/// RFLAGS.AC: supervisor code may touch user pages in spite of SMAP.
const RFLAGS_AC: u64 = 1 << 18;

/// The registers that decide how linear addresses become guest-physical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER.
    pub efer: u64,
    /// The privilege level of the access, 0-3.
    pub cpl: u8,
    /// RFLAGS.
    pub rflags: u64,
    /// The width of a guest-physical address in bits.
    pub physical_bits: u32,
}

impl Paging {
    /// The registers of `vcpu` now.
    pub fn of(vcpu: &impl Vcpu, physical_bits: u32) -> Self {
        Self {
            cr0: vcpu.cr0(),
            cr3: vcpu.cr3(),
            cr4: vcpu.cr4(),
            efer: vcpu.efer(),
            cpl: vcpu.cpl(),
            rflags: vcpu.rflags(),
            physical_bits,
        }
    }

    const fn user(&self) -> bool {
        self.cpl == 3
    }
}

/// Bits of a page fault's error code (SDM figure 4-12).
pub mod error_code {
    /// A translation was there, and its permissions refused.
    pub const PRESENT: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The access was user code's.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit was set.
    pub const RESERVED: u32 = 1 << 3;
    /// The access was an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
}

/// Why a linear address leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkFault {
    /// The processor would raise `#PF` with this error code, and put the linear address into CR2.
    PageFault {
        /// The error code.
        error_code: u32,
        /// The address for CR2.
        linear: u64,
    },
    /// The address is not canonical: `#GP(0)` (`#SS(0)` for the stack).
    NotCanonical,
    /// A table, or the bytes wanted, lie where the guest has no memory.
    Memory(MemoryError),
    /// Somebody kept changing the tables: let the guest try again.
    Contended,
}

impl WalkFault {
    /// The exception to raise, if the guest is to get one.
    pub fn exception(self) -> Option<Exception> {
        match self {
            Self::PageFault { error_code, .. } => Some(Exception::page_fault(error_code)),
            Self::NotCanonical => Some(Exception::GENERAL_PROTECTION),
            Self::Memory(_) | Self::Contended => None,
        }
    }
}

impl From<MemoryError> for WalkFault {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// How often a walk starts again because an entry changed under it.
const ATTEMPTS: u32 = 8;
/// Five levels are the most.
const MAX_LEVELS: usize = 5;

/// Where `linear` leads. On success the entries used are marked accessed, and dirty for a write.
///
/// # Errors
/// As [`WalkFault`] says.
pub fn translate(
    memory: &impl GuestMemory,
    paging: &Paging,
    linear: u64,
    access: Access,
) -> Result<Gpa, WalkFault> {
    match short::data(memory, paging, linear, access) {
        Some(gpa) => Ok(gpa),
        None => walk(memory, paging, linear, access),
    }
}

#[inline(never)]
fn walk(memory: &impl GuestMemory, paging: &Paging, linear: u64, access: Access) -> Result<Gpa, WalkFault> {
    let Some(format) = Format::of(paging) else {
        return Ok(Gpa::from_low_bits(linear & u64::from(u32::MAX)));
    };
    let linear = format.linear(linear).ok_or(WalkFault::NotCanonical)?;
    for _ in 0..ATTEMPTS {
        let walk = Walk { memory, paging, format, linear, access };
        if let Some(gpa) = walk.attempt()? {
            return Ok(gpa);
        }
    }
    Err(WalkFault::Contended)
}

/// An entry that a walk went through.
#[derive(Clone, Copy, Default)]
struct Visited {
    at: Gpa,
    value: u64,
    /// What has to be set in it.
    marks: u64,
}

/// One walk.
struct Walk<'a, M> {
    memory: &'a M,
    paging: &'a Paging,
    format: Format,
    linear: u64,
    access: Access,
}

impl<M: GuestMemory> Walk<'_, M> {
    /// Walks once; `None` when an entry changed before it could be marked.
    fn attempt(&self) -> Result<Option<Gpa>, WalkFault> {
        let mut visited = [Visited::default(); MAX_LEVELS];
        let mut table = self.format.root(self.paging.cr3);
        // What all entries on the way agree on: rights are taken away, NX is given.
        let (mut rights, mut no_execute) = (WRITABLE | USER, 0);
        for (level, slot) in (1..=self.format.levels()).rev().zip(visited.iter_mut()) {
            let at = Gpa::from_low_bits(table + self.format.index(self.linear, level));
            let value = self.read_entry(at)?;
            if value & PRESENT == 0 {
                return Err(self.page_fault(0));
            }
            if value & self.format.reserved(value, level, self.paging) != 0 {
                return Err(self.page_fault(error_code::PRESENT | error_code::RESERVED));
            }
            let is_leaf = self.format.is_leaf(value, level);
            *slot = Visited { at, value, marks: 0 };
            if self.format.has_rights(level) {
                rights &= value;
                no_execute |= value & NO_EXECUTE;
                let dirty = if is_leaf && self.access == Access::Write { DIRTY } else { 0 };
                slot.marks = ACCESSED | dirty;
            }
            if is_leaf {
                self.check(rights, no_execute)?;
                let gpa = self.format.leaf(value, level, self.linear);
                return Ok(self.mark(&visited)?.then_some(gpa));
            }
            table = self.format.next_table(value);
        }
        // Level 1 is always a leaf.
        Err(self.page_fault(0))
    }

    fn read_entry(&self, at: Gpa) -> Result<u64, WalkFault> {
        Ok(match self.format.entry_bytes() {
            4 => self.memory.read_u32(at)?.into(),
            _ => self.memory.read_u64(at)?,
        })
    }

    /// Judges the access by what the entries agreed on (SDM 4.6.1).
    fn check(&self, rights: u64, no_execute: u64) -> Result<(), WalkFault> {
        let (user_page, writable) = (rights & USER != 0, rights & WRITABLE != 0);
        let user = self.paging.user();
        let smap = self.paging.cr4 & cr4::SMAP != 0 && self.paging.rflags & RFLAGS_AC == 0;
        let write_protect = self.paging.cr0 & cr0::WP != 0;
        let refused = match self.access {
            _ if user && !user_page => true,
            Access::Execute => no_execute != 0 || !user && user_page && self.paging.cr4 & cr4::SMEP != 0,
            Access::Read | Access::Write if !user && user_page && smap => true,
            Access::Read => false,
            Access::Write => !writable && (user || write_protect),
        };
        if refused { Err(self.page_fault(error_code::PRESENT)) } else { Ok(()) }
    }

    /// The fault with the bits that follow from the access added to `cause`.
    fn page_fault(&self, cause: u32) -> WalkFault {
        let access = match self.access {
            Access::Read => 0,
            Access::Write => error_code::WRITE,
            // Told apart only where fetches can be refused (SDM 4.7).
            Access::Execute if self.format.refuses_fetches(self.paging) => error_code::FETCH,
            Access::Execute => 0,
        };
        let user = if self.paging.user() { error_code::USER } else { 0 };
        WalkFault::PageFault { error_code: cause | access | user, linear: self.linear }
    }

    /// Sets accessed and dirty bits; false when an entry is no longer what it was.
    fn mark(&self, visited: &[Visited]) -> Result<bool, WalkFault> {
        let bytes = self.format.entry_bytes();
        for Visited { at, value, marks } in visited {
            let marked = value | marks;
            if marked != *value && self.memory.compare_exchange(*at, bytes, *value, marked)? != *value {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The longest instruction, in bytes (Intel SDM, volume 2, section 2.3.11).
pub const INSTRUCTION_MAX_BYTES: usize = 15;

/// Instruction bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    bytes: [u8; FETCHED_BYTES],
    len: u8,
}

/// Room for two words; only as many as an instruction can have are used.
const FETCHED_BYTES: usize = 16;

impl Fetched {
    /// The first of `bytes`.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        let Some((all, _)) = bytes.split_first_chunk::<INSTRUCTION_MAX_BYTES>() else {
            return Self::of_few(bytes);
        };
        let mut fetched = Self { bytes: [0; FETCHED_BYTES], len: INSTRUCTION_MAX_BYTES as u8 };
        let (to, _) = fetched.bytes.split_at_mut(INSTRUCTION_MAX_BYTES);
        to.copy_from_slice(all);
        fetched
    }

    #[cold]
    #[inline(never)]
    fn of_few(bytes: &[u8]) -> Self {
        let mut fetched = Self { bytes: [0; FETCHED_BYTES], len: 0 };
        for (to, from) in fetched.bytes.iter_mut().zip(bytes).take(INSTRUCTION_MAX_BYTES) {
            *to = *from;
            fetched.len += 1;
        }
        fetched
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The 15 bytes at RIP of an instruction that has just exited in 64-bit mode, where everything is as usual (see `short`).
#[inline(always)]
pub fn fetch_simply(memory: &impl GuestMemory, vcpu: &impl Vcpu) -> Option<Fetched> {
    let bytes = short::all_bytes(memory, vcpu)?;
    Some(Fetched { bytes, len: INSTRUCTION_MAX_BYTES as u8 })
}

/// The bytes at CS:RIP: 15, or fewer where the next page does not answer.
///
/// # Errors
/// When not even the first byte can be fetched.
pub fn fetch(memory: &impl GuestMemory, vcpu: &impl Vcpu, physical_bits: u32) -> Result<Fetched, WalkFault> {
    let paging = Paging::of(vcpu, physical_bits);
    let linear = match vcpu.mode() {
        CpuMode::Long64 => vcpu.rip(),
        _ => vcpu.segment(SegmentName::Cs).base.wrapping_add(vcpu.rip()) & u64::from(u32::MAX),
    };
    fetch_at(memory, &paging, linear)
}

/// The bytes at `linear`: 15, or fewer where the next page does not answer.
///
/// # Errors
/// When not even the first byte can be fetched.
pub fn fetch_at(memory: &impl GuestMemory, paging: &Paging, linear: u64) -> Result<Fetched, WalkFault> {
    let mut bytes = [0; FETCHED_BYTES];
    let in_page = usize::try_from(PAGE_BYTES - linear % PAGE_BYTES).unwrap_or(INSTRUCTION_MAX_BYTES);
    let (used, _) = bytes.split_at_mut(INSTRUCTION_MAX_BYTES);
    let (head, tail) = used.split_at_mut(in_page.min(INSTRUCTION_MAX_BYTES));
    memory.read(translate(memory, paging, linear, Access::Execute)?, head)?;
    let next_page = linear.wrapping_add(head.len() as u64);
    let has_tail = !tail.is_empty()
        && translate(memory, paging, next_page, Access::Execute)
            .is_ok_and(|gpa| memory.read(gpa, tail).is_ok());
    let len = if has_tail || tail.is_empty() { INSTRUCTION_MAX_BYTES } else { head.len() };
    Ok(Fetched { bytes, len: len as u8 })
}

#[cfg(test)]
mod tests;
