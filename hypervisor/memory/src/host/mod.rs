//! The machine's memory as the hypervisor holds it: the frames and the address space, changed together.
//!
//! Bring-up: [`HostSpace::build`] and [`HostSpace::activate`] on boot's tables, then [`start()`] on our own. From then on
//! the memory is behind one lock, [`global`].
//!
//! Unsafe because frames that were just taken are zeroed through their address.

mod cpu;
mod early;
mod scrub;
mod space;
mod start;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use space::{DeviceWindow, HostSpace, STACK_BYTES, StackTop};
pub use start::{global, start};
pub use tables::Charged;
pub use view::{View, Views};

pub(crate) use cpu::flush_all;

use crate::direct::Direct;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Block, FrameError, Frames, Usage};
use alloc::vec::Vec;
use base::{Hpa, PAGE_BYTES, PhysRange};
use core::ptr::NonNull;
use handoff::{Handoff, RegionKind};

/// The machine's memory, locked. Rank: `Frames`, so that the heap can grow from it.
pub type SharedMemory = machine::Lock<HostMemory>;

/// Frames that page tables of the host can always be made from, so that the direct window can grow.
const RESERVE_FRAMES: usize = 16;

/// Frames of the hypervisor's, taken: contiguous, zeroed, mapped in the direct window. [`HostMemory::free`] takes them back.
#[derive(Debug)]
#[must_use = "frames that are dropped are lost"]
pub struct HostFrames {
    range: PhysRange,
    pointer: NonNull<u8>,
}

// SAFETY: the frames belong to the value; where it is does not matter.
unsafe impl Send for HostFrames {}

impl HostFrames {
    /// Where they are in physical memory.
    pub const fn range(&self) -> PhysRange {
        self.range
    }

    /// Where they are mapped, readable and writable, until they are freed.
    pub const fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    /// Leaves the frames to whoever knows their address now; [`HostMemory::free_range`] takes them back.
    pub const fn into_range(self) -> PhysRange {
        self.range
    }
}

/// Frames and address space of the machine.
#[derive(Debug)]
pub struct HostMemory {
    pub(crate) frames: Frames,
    pub(crate) space: HostSpace,
    pub(crate) direct: Direct,
    pub(crate) scrubbing: Option<scrub::Progress>,
    /// What is RAM, whoever has it: no device is there.
    pub(crate) ram: Vec<PhysRange>,
}

impl HostMemory {
    /// Takes `count` contiguous frames (at most 512), zeroed, for the hypervisor itself.
    ///
    /// # Errors
    /// [`HostMemoryError::OutOfMemory`], or why another block could not be mapped.
    pub fn allocate(&mut self, count: usize) -> Result<HostFrames, HostMemoryError> {
        let len_bytes = count as u64 * PAGE_BYTES;
        if count == 0 || len_bytes > BLOCK_BYTES {
            return Err(HostMemoryError::OutOfMemory { len_bytes });
        }
        if self.frames.spare_frames() < count + RESERVE_FRAMES {
            self.grow(len_bytes)?;
        }
        let range = match self.frames.take_frames(count) {
            Some(range) => range,
            None => {
                self.grow(len_bytes)?;
                self.frames.take_frames(count).ok_or(HostMemoryError::OutOfMemory { len_bytes })?
            }
        };
        // SAFETY: the frames were just taken: mapped, the hypervisor's, and nobody else knows them.
        unsafe { self.direct.zero(range.start(), range.len_bytes()) }
        Ok(HostFrames { range, pointer: self.direct.pointer(range.start()) })
    }

    /// Takes frames back.
    ///
    /// # Errors
    /// [`HostMemoryError::Frames`] when they were not in use: an error in the hypervisor.
    pub fn free(&mut self, frames: HostFrames) -> Result<(), HostMemoryError> {
        self.free_range(frames.range)
    }

    /// Takes back frames that [`HostFrames::into_range`] left.
    ///
    /// # Errors
    /// As [`HostMemory::free`].
    pub fn free_range(&mut self, range: PhysRange) -> Result<(), HostMemoryError> {
        self.frames.free_frames(range)?;
        self.close(range.start().align_down(BLOCK_BYTES))
    }

    /// Takes `count` contiguous frames as [`HostMemory::allocate`] does, for a device to reach. Until
    /// [`HostMemory::free_pinned`] nothing else can be done with them.
    ///
    /// # Errors
    /// As [`HostMemory::allocate`].
    pub fn allocate_pinned(&mut self, count: usize) -> Result<HostFrames, HostMemoryError> {
        let frames = self.allocate(count)?;
        self.frames.pin_frames(frames.range)?;
        Ok(frames)
    }

    /// Takes pinned frames back, which no device reaches any more.
    ///
    /// # Errors
    /// [`HostMemoryError::Frames`] when they were not pinned: an error in the hypervisor.
    pub fn free_pinned(&mut self, frames: HostFrames) -> Result<(), HostMemoryError> {
        self.frames.unpin_frames(frames.range)?;
        self.free(frames)
    }

    /// Makes `range` the hypervisor's to give away: what was boot's, firmware's or a file's, and is needed no more.
    /// Incomplete pages at its ends stay foreign.
    ///
    /// # Errors
    /// [`HostMemoryError::Frames`] when a part is managed already or no bitmap is left for a block in pieces; what was
    /// added before stays.
    pub fn release(&mut self, range: PhysRange) -> Result<(), HostMemoryError> {
        let end = range.end_u64() & !(PAGE_BYTES - 1);
        let mut start = range.start().as_u64().next_multiple_of(PAGE_BYTES);
        while start < end {
            let block_end = (start & !(BLOCK_BYTES - 1)) + BLOCK_BYTES;
            let aligned = start.is_multiple_of(BLOCK_BYTES) && end - start >= BLOCK_BYTES;
            let piece_end = if aligned { end & !(BLOCK_BYTES - 1) } else { end.min(block_end) };
            let hpa = Hpa::from_low_bits(start);
            let piece = PhysRange::new(hpa, piece_end - start).map_err(|_| HostMemoryError::Owned(range))?;
            if aligned {
                self.frames.add_blocks(piece)?;
            } else {
                self.add_piece(piece)?;
            }
            start = piece_end;
        }
        Ok(())
    }

    /// Makes all memory of `kind` in `handoff` the hypervisor's to give away: nobody needs what is there any more.
    ///
    /// # Errors
    /// As [`HostMemory::release`].
    pub fn release_all(&mut self, handoff: &Handoff, kind: RegionKind) -> Result<(), HostMemoryError> {
        early::free_ranges(handoff, kind).try_for_each(|range| self.release(range))
    }

    /// How many bytes of the hypervisor's memory describe each GiB of the machine's.
    pub const fn metadata_bytes_per_gib() -> u64 {
        early::Plan::bytes_per_gib()
    }

    /// Bytes by owner.
    pub fn usage(&self) -> Usage {
        self.frames.usage()
    }

    /// The owners, to change what guests have.
    pub fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    /// Adds frames within one block to the hypervisor's. Mapped first: what is free may be taken for a table at once.
    fn add_piece(&mut self, piece: PhysRange) -> Result<(), HostMemoryError> {
        if !self.frames.is_foreign(piece) {
            return Err(FrameError::WrongOwner(piece.start()).into());
        }
        self.map_direct(piece)?;
        if let Err(error) = self.frames.add_frames(piece) {
            self.unmap_direct(piece)?;
            return Err(error.into());
        }
        self.close(piece.start().align_down(BLOCK_BYTES))
    }

    /// Gives one more block to the hypervisor. Mapped first, as in [`HostMemory::add_piece`].
    fn grow(&mut self, wanted_bytes: u64) -> Result<(), HostMemoryError> {
        let out = HostMemoryError::OutOfMemory { len_bytes: wanted_bytes };
        let block = self.frames.block_to_open().ok_or(out)?;
        self.map_direct(block)?;
        if let Err(error) = self.frames.open_block(block.start()) {
            self.unmap_direct(block)?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Sees to spare frames for the tables of a mapping of `len_bytes`: while it is made, no block can be taken. Without
    /// free blocks what is spare has to do.
    fn spare_tables_for(&mut self, len_bytes: u64) {
        // A table for every block, and at either end one of each level that the mapping may be the first in.
        let tables = (len_bytes / BLOCK_BYTES) as usize + 6;
        while self.frames.spare_frames() < tables + RESERVE_FRAMES && self.grow(PAGE_BYTES).is_ok() {}
    }

    /// Takes the block away from the hypervisor if none of its frames is in use and enough others are spare.
    fn close(&mut self, block: Hpa) -> Result<(), HostMemoryError> {
        let spare = self.frames.spare_frames();
        let needed = crate::frames::FRAMES_PER_BLOCK + RESERVE_FRAMES;
        if spare < needed
            || !matches!(self.frames.block(block), Block::Small(_))
            || !self.frames.close_block(block)
        {
            return Ok(());
        }
        let range = PhysRange::new(block, BLOCK_BYTES).map_err(|_| HostMemoryError::OutOfAddresses)?;
        self.unmap_direct(range)
    }
}
