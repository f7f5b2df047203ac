//! The accessor: the one implementation of [`GuestMemory`] over real memory.
//!
//! Every access is checked against what the map's extents allow, then made as a copy through the [`Window`]. What passes
//! the check is mapped, so no access faults.
//!
//! Unsafe because the window is raw memory; the check before each copy is what makes it sound.

use super::copy;
use super::extent::{Extent, ExtentKind};
use super::map::GuestMap;
use super::window::{MappedWindow, Peer, Window};
use crate::error::HostMemoryError;
use alloc::vec::Vec;
use base::Gpa;
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

    /// Where `len_bytes` from `gpa` on can be accessed, all of them.
    #[inline]
    fn reach(&self, gpa: Gpa, len_bytes: u64, wish: Wish) -> Result<*mut u8, MemoryError> {
        let start = gpa.as_u64();
        let in_low_ram = self.low_ram_end.checked_sub(start).is_some_and(|left| len_bytes <= left);
        if !in_low_ram {
            self.check(start, len_bytes, wish)?;
        }
        Ok(self.window.base().wrapping_add(start as usize))
    }

    /// Whether every byte may be accessed as wished; across neighbouring reaches too.
    #[cold]
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
}

impl<W: Window> GuestMemory for GuestAccess<W> {
    fn read(&self, gpa: Gpa, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let from = self.reach(gpa, buffer.len() as u64, Wish::Read)?;
        // SAFETY: the bytes are memory of the guest, which the window shows and may read; the buffer is not its memory.
        unsafe { copy::copy(buffer.as_mut_ptr(), from, buffer.len()) }
        Ok(())
    }

    fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), MemoryError> {
        let to = self.reach(gpa, bytes.len() as u64, Wish::Write)?;
        // SAFETY: the bytes are memory of the guest, which the window shows and may write; `bytes` is not its memory.
        unsafe { copy::copy(to, bytes.as_ptr(), bytes.len()) }
        Ok(())
    }

    fn fill(&self, gpa: Gpa, len_bytes: u64, value: u8) -> Result<(), MemoryError> {
        let to = self.reach(gpa, len_bytes, Wish::Write)?;
        // SAFETY: the bytes are memory of the guest, which the window shows and may write.
        unsafe { copy::fill(to, len_bytes as usize, value) }
        Ok(())
    }

    fn compare_exchange(&self, gpa: Gpa, len_bytes: u8, current: u64, new: u64) -> Result<u64, MemoryError> {
        let at = self.reach(gpa, len_bytes.into(), Wish::Write)?;
        // SAFETY: as in `write`.
        unsafe { copy::compare_exchange(at, len_bytes, current, new) }.ok_or(MemoryError::Unmapped(gpa))
    }

    /// Once, where windows show both; else by way of the hypervisor's own memory.
    fn copy_to(&self, from: Gpa, other: &Self, to: Gpa, len_bytes: u64) -> Result<(), MemoryError> {
        self.reach(from, len_bytes, Wish::Read)?;
        other.reach(to, len_bytes, Wish::Write)?;
        let (Some(source), Some(target)) = (self.window.shown_at(), other.window.shown_at()) else {
            return seams::memory::copy_by_buffer(self, from, other, to, len_bytes);
        };
        let (source, target) =
            (source.wrapping_add(from.as_u64() as usize), target.wrapping_add(to.as_u64() as usize));
        // SAFETY: the bytes are memory of two guests, or of one, and may be read and written; both are shown now. What a
        // guest sees where they overlap is its own to bear.
        unsafe { copy::copy(target, source, len_bytes as usize) }
        Ok(())
    }

    #[inline]
    fn read_u16(&self, gpa: Gpa) -> Result<u16, MemoryError> {
        let from = self.reach(gpa, 2, Wish::Read)?;
        // SAFETY: as in `read`.
        Ok(unsafe { copy::load_u16(from) })
    }

    #[inline]
    fn read_u64(&self, gpa: Gpa) -> Result<u64, MemoryError> {
        let from = self.reach(gpa, 8, Wish::Read)?;
        // SAFETY: as in `read`.
        Ok(unsafe { copy::load_u64(from) })
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
