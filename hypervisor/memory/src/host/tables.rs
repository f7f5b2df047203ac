//! The memory that page tables lie in: the host's own, and guests', which are charged.
//!
//! Unsafe because entries are reached by physical address; each access first asks the frames whether it is a table of ours.

use super::HostMemory;
use crate::direct::Direct;
use crate::frames::Frames;
use base::{Hpa, PAGE_BYTES, PhysRange};
use paging::{OutOfTables, TableMemory};

/// Tables of the host's address space. They come from spare frames only: to take a block would need tables itself.
pub(super) struct HostTables<'a> {
    pub frames: &'a mut Frames,
    pub direct: Direct,
}

impl TableMemory for HostTables<'_> {
    fn read_entry(&self, table: Hpa, index: u16) -> u64 {
        read(self.frames, self.direct, table, index)
    }

    fn write_entry(&mut self, table: Hpa, index: u16, entry: u64) {
        write(self.frames, self.direct, table, index, entry);
    }

    fn allocate_table(&mut self) -> Result<Hpa, OutOfTables> {
        let range = self.frames.take_frames(1).ok_or(OutOfTables)?;
        // SAFETY: the frame was just taken: mapped, the hypervisor's, and nobody else knows it.
        unsafe { self.direct.zero(range.start(), PAGE_BYTES) }
        Ok(range.start())
    }

    fn free_table(&mut self, table: Hpa) {
        if let Ok(range) = PhysRange::new(table, PAGE_BYTES) {
            // A table that is not in use was not ours to free; it stays as it is.
            let _ = self.frames.free_frames(range);
        }
    }
}

/// Tables of a VM, each charged to its budget.
pub struct Charged<'a> {
    /// Where frames come from.
    pub memory: &'a mut HostMemory,
    /// The frames that the VM may still use.
    pub left_frames: &'a mut usize,
}

impl TableMemory for Charged<'_> {
    fn read_entry(&self, table: Hpa, index: u16) -> u64 {
        read(&self.memory.frames, self.memory.direct, table, index)
    }

    fn write_entry(&mut self, table: Hpa, index: u16, entry: u64) {
        write(&self.memory.frames, self.memory.direct, table, index, entry);
    }

    fn allocate_table(&mut self) -> Result<Hpa, OutOfTables> {
        let left = self.left_frames.checked_sub(1).ok_or(OutOfTables)?;
        let frames = self.memory.allocate(1).map_err(|_| OutOfTables)?;
        *self.left_frames = left;
        Ok(frames.into_range().start())
    }

    fn free_table(&mut self, table: Hpa) {
        let freed =
            PhysRange::new(table, PAGE_BYTES).is_ok_and(|range| self.memory.free_range(range).is_ok());
        *self.left_frames += usize::from(freed);
    }
}

/// An entry of a table; empty when there is no table of ours at that address.
fn read(frames: &Frames, direct: Direct, table: Hpa, index: u16) -> u64 {
    if !frames.is_in_use(table) {
        return 0;
    }
    // SAFETY: the frame is the hypervisor's and in use, thus mapped.
    unsafe { direct.read_entry(table, index) }
}

/// Replaces an entry of a table of ours.
fn write(frames: &Frames, direct: Direct, table: Hpa, index: u16, entry: u64) {
    if frames.is_in_use(table) {
        // SAFETY: the frame is the hypervisor's and in use, thus mapped. That it is a table, and that the entry is harmless,
        // is the promise of the trees above, which get their tables from here.
        unsafe { direct.write_entry(table, index, entry) }
    }
}
