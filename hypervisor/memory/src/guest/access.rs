//! The accessor: the one implementation of [`GuestMemory`] over real memory.
//!
//! Every access is checked against what the map's extents allow, then made as a copy through the [`Window`]. What passes
//! the check is mapped, so no access faults.
//!
//! Unsafe because the window is raw memory; the check before each copy is what makes it sound.

mod near;

use super::copy;
use super::extent::{Extent, ExtentKind};
use super::map::GuestMap;
use super::window::{MappedWindow, Peer, Window};
use crate::error::HostMemoryError;
use alloc::vec::Vec;
use base::Gpa;
use core::ptr::NonNull;
use near::Near;
use seams::{GuestMemory, MemoryError};

/// What may be done with a stretch of the space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    ReadWrite,
    Read,
    Device,
}

/// Neighbouring extents with one right: where their memory is does not matter here.
#[derive(Clone, Copy, Debug)]
struct Reach {
    start: u64,
    end: u64,
    right: Right,
}

/// What an access wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Read,
    Write,
}

/// Copies to and from one guest's memory.
#[derive(Debug)]
pub struct GuestAccess<W = MappedWindow> {
    /// Sorted.
    reaches: Vec<Reach>,
    /// From 0 to here all is RAM, and most accesses go there.
    low_ram_end: u64,
    /// Eight bytes from below here on are all in that RAM.
    low_words_end: u64,
    pub(super) window: W,
}

impl GuestAccess<MappedWindow> {
    /// Access to the memory of `map`, which is complete.
    ///
    /// # Errors
    /// [`HostMemoryError::OutOfMemory`] when the heap has no room for the list of reaches.
    pub fn new(map: GuestMap) -> Result<Self, HostMemoryError> {
        let reaches = reaches(map.extents())?;
        Ok(Self::over(reaches, MappedWindow { map }))
    }

    /// The map.
    pub fn map(&self) -> &GuestMap {
        &self.window.map
    }

    /// Shows this memory beside that of the VM that the CPU serves, for as long as the peer lives.
    pub fn beside(&self) -> Peer {
        Peer::open(&self.window.map)
    }

    /// The map back, to change it.
    pub fn into_map(self) -> GuestMap {
        self.window.map
    }
}

/// The end of the RAM that begins at 0; 0 when none does.
fn low_ram_end(reaches: &[Reach]) -> u64 {
    let low = reaches.first().filter(|first| first.start == 0 && first.right == Right::ReadWrite);
    low.map_or(0, |low| low.end)
}

fn reaches(extents: &[Extent]) -> Result<Vec<Reach>, HostMemoryError> {
    let out = |_| HostMemoryError::OutOfMemory { len_bytes: size_of_val(extents) as u64 };
    let mut reaches: Vec<Reach> = Vec::new();
    for extent in extents {
        let right = match extent.kind {
            ExtentKind::Ram(_) => Right::ReadWrite,
            ExtentKind::ReadOnly(_) => Right::Read,
            ExtentKind::Device => Right::Device,
        };
        let start = extent.start.as_u64();
        match reaches.last_mut() {
            Some(last) if last.end == start && last.right == right => last.end = extent.end(),
            _ => {
                reaches.try_reserve(1).map_err(out)?;
                reaches.push(Reach { start, end: extent.end(), right });
            }
        }
    }
    Ok(reaches)
}

impl<W: Window> GuestAccess<W> {
    /// Access to what `reaches` allow, through `window`.
    fn over(reaches: Vec<Reach>, window: W) -> Self {
        let low_ram_end = low_ram_end(&reaches);
        Self { reaches, low_ram_end, low_words_end: low_ram_end.saturating_sub(7), window }
    }

    /// What `act` makes of the place where `len_bytes` from `gpa` on can be accessed as wished, all of them.
    ///
    /// Most accesses are to what is at hand. All else is a call of its own, so that those save no registers for it.
    #[inline(always)]
    fn at<T>(
        &self,
        gpa: Gpa,
        len_bytes: u64,
        wish: Wish,
        act: impl FnOnce(*mut u8) -> T,
    ) -> Result<T, MemoryError> {
        match self.at_hand(gpa, len_bytes) {
            Some(base) => Ok(act(base.as_ptr().wrapping_add(gpa.as_u64() as usize))),
            None => self.elsewhere(gpa, len_bytes, wish, act),
        }
    }

    /// The base of a window that shows `len_bytes` from `gpa` on, if they are in the RAM that begins at 0.
    #[inline(always)]
    fn at_hand(&self, gpa: Gpa, len_bytes: u64) -> Option<NonNull<u8>> {
        let is_low = self.low_ram_end.checked_sub(gpa.as_u64()).is_some_and(|left| len_bytes <= left);
        if is_low { self.window.shown_at() } else { None }
    }

    /// The base of a window that shows this memory, and where the RAM that begins at 0 ends there; 0 when none shows it.
    #[inline(always)]
    fn low_ram_shown(&self) -> (NonNull<u8>, u64) {
        self.window.shown_at().map_or((NonNull::dangling(), 0), |base| (base, self.low_ram_end))
    }

    #[cold]
    #[inline(never)]
    fn elsewhere<T>(
        &self,
        gpa: Gpa,
        len_bytes: u64,
        wish: Wish,
        act: impl FnOnce(*mut u8) -> T,
    ) -> Result<T, MemoryError> {
        self.check(gpa.as_u64(), len_bytes, wish)?;
        Ok(act(self.window.base().wrapping_add(gpa.as_u64() as usize)))
    }

    /// Whether every byte may be accessed as wished; across neighbouring reaches too.
    fn check(&self, start: u64, len_bytes: u64, wish: Wish) -> Result<(), MemoryError> {
        let mut at = start;
        let end = start.saturating_add(len_bytes);
        while at < end {
            let gpa = Gpa::from_low_bits(at);
            let index = self.reaches.partition_point(|reach| reach.end <= at);
            let reach = self.reaches.get(index).filter(|reach| reach.start <= at);
            let reach = reach.ok_or(MemoryError::Unmapped(gpa))?;
            match (reach.right, wish) {
                (Right::Device, _) => return Err(MemoryError::Device(gpa)),
                (Right::Read, Wish::Write) => return Err(MemoryError::ReadOnly(gpa)),
                _ => at = reach.end,
            }
        }
        Ok(())
    }

    /// Copies what is not all at hand: once, where windows show both; else by way of the hypervisor's own memory.
    #[cold]
    #[inline(never)]
    fn copy_elsewhere(&self, from: Gpa, other: &Self, to: Gpa, len_bytes: u64) -> Result<(), MemoryError> {
        self.check(from.as_u64(), len_bytes, Wish::Read)?;
        other.check(to.as_u64(), len_bytes, Wish::Write)?;
        let (Some(source), Some(target)) = (self.window.shown_at(), other.window.shown_at()) else {
            return seams::memory::copy_by_buffer(self, from, other, to, len_bytes);
        };
        // SAFETY: as in `copy_to`.
        unsafe { copy_shown(source, from, target, to, len_bytes) }
        Ok(())
    }
}

/// Copies between two guests whose memory is shown at `source` and `target`.
///
/// # Safety
/// `len_bytes` from `from` on may be read and from `to` on written, and are memory.
#[inline(always)]
unsafe fn copy_shown(source: NonNull<u8>, from: Gpa, target: NonNull<u8>, to: Gpa, len_bytes: u64) {
    let source = source.as_ptr().wrapping_add(from.as_u64() as usize);
    let target = target.as_ptr().wrapping_add(to.as_u64() as usize);
    // SAFETY: the caller vouches for the bytes. What a guest sees where they overlap is its own to bear.
    unsafe { copy::copy_row(target, source, len_bytes as usize) }
}

impl<W: Window> GuestMemory for GuestAccess<W> {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let (to, len) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the bytes are memory of the guest, which the window shows and may read; the buffer is not its memory.
        self.at(gpa, len as u64, Wish::Read, |from| unsafe { copy::copy(to, from, len) })
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let (from, len) = (bytes.as_ptr(), bytes.len());
        // SAFETY: the bytes are memory of the guest, which the window shows and may write; `bytes` is not its memory.
        self.at(gpa, len as u64, Wish::Write, |to| unsafe { copy::copy(to, from, len) })
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        // SAFETY: the bytes are memory of the guest, which the window shows and may write.
        self.at(gpa, len_bytes, Wish::Write, |to| unsafe { copy::fill(to, len_bytes as usize, value) })
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        // SAFETY: as in `write`.
        let exchange = |at| unsafe { copy::compare_exchange(at, len_bytes, current, new) };
        self.at(gpa, len_bytes.into(), Wish::Write, exchange)?.ok_or(MemoryError::Unmapped(gpa))
    }

    fn copy_to(&self, from: Gpa, other: &Self, to: Gpa, len_bytes: u64) -> Result<(), MemoryError> {
        self.copier(other)(from, to, len_bytes)
    }

    #[inline(always)]
    fn copier(&self, other: &Self) -> impl Fn(Gpa, Gpa, u64) -> Result<(), MemoryError> {
        let (source, source_end) = self.low_ram_shown();
        let (target, target_end) = other.low_ram_shown();
        let is_low = |gpa: Gpa, end: u64, len_bytes: u64| {
            end.checked_sub(gpa.as_u64()).is_some_and(|left| len_bytes <= left)
        };
        move |from, to, len_bytes| {
            if !is_low(from, source_end, len_bytes) || !is_low(to, target_end, len_bytes) {
                return self.copy_elsewhere(from, other, to, len_bytes);
            }
            // SAFETY: the bytes are memory of two guests, or of one, and may be read and written. Both were shown, and are
            // still: what is copied elsewhere switches no window that shows either.
            unsafe { copy_shown(source, from, target, to, len_bytes) }
            Ok(())
        }
    }

    #[inline(always)]
    fn near(&self) -> impl GuestMemory {
        let (base, end) = self.low_ram_shown();
        Near { access: self, base: base.as_ptr(), end }
    }

    #[inline]
    fn read_u16(&self, gpa: Gpa) -> Result<u16, MemoryError> {
        // SAFETY: as in `read`.
        self.at(gpa, 2, Wish::Read, |from| unsafe { copy::load_u16(from) })
    }

    #[inline]
    fn read_u64(&self, gpa: Gpa) -> Result<u64, MemoryError> {
        // SAFETY: as in `read`.
        self.at(gpa, 8, Wish::Read, |from| unsafe { copy::load_u64(from) })
    }

    #[inline]
    fn read_u128(&self, gpa: Gpa) -> Result<u128, MemoryError> {
        // SAFETY: as in `read`.
        self.at(gpa, 16, Wish::Read, |from| unsafe { copy::load_u128(from) })
    }

    #[inline]
    fn write_u16(&self, gpa: Gpa, value: u16) -> Result<(), MemoryError> {
        // SAFETY: as in `write`.
        self.at(gpa, 2, Wish::Write, |to| unsafe { copy::store_u16(to, value) })
    }

    #[inline]
    fn write_u64(&self, gpa: Gpa, value: u64) -> Result<(), MemoryError> {
        // SAFETY: as in `write`.
        self.at(gpa, 8, Wish::Write, |to| unsafe { copy::store_u64(to, value) })
    }

    #[inline(always)]
    fn peek(&self) -> impl Fn(Gpa) -> Option<u64> {
        let (base, is_shown) = self.window.base_and_whether_shown();
        // While the window shows another guest, nothing is within reach.
        let end = if is_shown { self.low_words_end } else { 0 };
        move |gpa| {
            let start = gpa.as_u64();
            // SAFETY: as in `read`; the window is not switched while `self` is borrowed and the CPU does nothing else.
            (start < end).then(|| unsafe { copy::load_u64(base.wrapping_add(start as usize)) })
        }
    }
}

#[cfg(test)]
mod tests;
