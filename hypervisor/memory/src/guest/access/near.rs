//! A guest's memory whose place was found out before, for many small accesses in a row.
//!
//! Unsafe because it makes accesses of its own through the window that the memory was found in. That window is not switched
//! meanwhile: only an access to another guest's memory does that, and a VM's task makes none while it goes through its rings.

use super::super::copy;
use super::super::window::Window;
use super::{GuestAccess, Wish};
use base::Gpa;
use seams::{GuestMemory, MemoryError};

/// Goes to the RAM that begins at 0 by itself, and everywhere else by way of `access`.
#[derive(Debug)]
pub(super) struct Near<'a, W> {
    pub(super) access: &'a GuestAccess<W>,
    /// Where a window shows the guest's memory.
    pub(super) base: *mut u8,
    /// The end of that RAM; 0 when no window shows it.
    pub(super) end: u64,
}

impl<W: Window> Near<'_, W> {
    /// What `act` makes of the place where `len_bytes` from `gpa` on can be accessed as wished.
    #[inline(always)]
    fn at<T>(
        &self,
        gpa: Gpa,
        len_bytes: u64,
        wish: Wish,
        act: impl FnOnce(*mut u8) -> T,
    ) -> Result<T, MemoryError> {
        let start = gpa.as_u64();
        if self.end.checked_sub(start).is_some_and(|left| len_bytes <= left) {
            return Ok(act(self.base.wrapping_add(start as usize)));
        }
        self.access.elsewhere(gpa, len_bytes, wish, act)
    }
}

impl<W: Window> GuestMemory for Near<'_, W> {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.access.read(gpa, buffer)
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        self.access.write(gpa, bytes)
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        self.access.fill(gpa, len_bytes, value)
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        self.access.compare_exchange(gpa, len_bytes, current, new)
    }

    #[inline(always)]
    fn read_u16(&self, gpa: Gpa) -> Result<u16, MemoryError> {
        // SAFETY: memory of the guest, in a window that is not switched while `self` lives and the CPU does nothing else.
        self.at(gpa, 2, Wish::Read, |from| unsafe { copy::load_u16(from) })
    }

    #[inline(always)]
    fn read_u128(&self, gpa: Gpa) -> Result<u128, MemoryError> {
        // SAFETY: as in `read_u16`.
        self.at(gpa, 16, Wish::Read, |from| unsafe { copy::load_u128(from) })
    }

    #[inline(always)]
    fn write_u64(&self, gpa: Gpa, value: u64) -> Result<(), MemoryError> {
        // SAFETY: as in `read_u16`.
        self.at(gpa, 8, Wish::Write, |to| unsafe { copy::store_u64(to, value) })
    }
}
