//! Memory before there is a frame allocator: one run of whole blocks from which the first tables and the allocator's
//! own metadata are cut.
//!
//! Unsafe because the pool is raw memory; it touches only what it has cut.

use crate::direct::Direct;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Block, SmallBlock};
use base::{Hpa, MIB, PAGE_BYTES, PhysRange};
use handoff::{Handoff, RegionKind};
use paging::{OutOfTables, TableMemory};

/// Tables for image, stacks and windows, besides those for blocks in pieces.
const FIRST_TABLES: u64 = 64;
/// Bitmaps besides those for blocks in pieces: 256 MiB of the hypervisor's own, and more on large machines.
const FIRST_SMALL_BLOCKS: u64 = 128;

/// Below it lies what real mode, firmware and starting CPUs use; nothing is taken from there.
const LOWEST: u64 = MIB;

/// How much of the machine the metadata describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub blocks: usize,
    pub small_blocks: usize,
    tables_bytes: u64,
}

impl Plan {
    /// What the memory of `handoff` needs.
    pub fn new(handoff: &Handoff) -> Self {
        let ram = handoff.memory_map.iter().filter(|region| region.kind.is_ram());
        let top =
            ram.map(|region| region.range.end_u64()).max().unwrap_or(0).min(crate::layout::DIRECT_BYTES);
        let blocks = top.div_ceil(BLOCK_BYTES);
        // A region has two ends, each of which can lie within a block.
        let pieces = 2 * handoff.memory_map.len() as u64;
        Self {
            blocks: blocks as usize,
            small_blocks: (FIRST_SMALL_BLOCKS + pieces + blocks / 64) as usize,
            tables_bytes: (FIRST_TABLES + pieces) * PAGE_BYTES,
        }
    }

    /// The bytes of the two arrays, each in pages of its own.
    pub fn array_bytes(self) -> [u64; 2] {
        [self.blocks * size_of::<Block>(), self.small_blocks * size_of::<SmallBlock>()]
            .map(|bytes| (bytes as u64).next_multiple_of(PAGE_BYTES))
    }

    fn pool_bytes(self) -> u64 {
        let [blocks, small] = self.array_bytes();
        (blocks + small + self.tables_bytes + super::space::STACK_BYTES).next_multiple_of(BLOCK_BYTES)
    }

    /// How many bytes of metadata each GiB of memory takes.
    pub const fn bytes_per_gib() -> u64 {
        let blocks = base::GIB / BLOCK_BYTES;
        blocks * size_of::<Block>() as u64 + blocks / 64 * size_of::<SmallBlock>() as u64
    }

    /// The lowest run of whole free blocks that is long enough.
    pub fn pool(self, handoff: &Handoff) -> Result<PhysRange, HostMemoryError> {
        let len_bytes = self.pool_bytes();
        let fits = |range: PhysRange| {
            let start = range.start().as_u64().max(LOWEST).next_multiple_of(BLOCK_BYTES);
            (start.checked_add(len_bytes)? <= range.end_u64()).then_some(start)
        };
        let start = free_ranges(handoff, RegionKind::Usable).find_map(fits);
        let pool = start.map(|start| PhysRange::new(Hpa::from_low_bits(start), len_bytes));
        pool.and_then(Result::ok).ok_or(HostMemoryError::NoRoomToStart { len_bytes })
    }
}

/// The memory of `kind` that is ours from the start: without what an earlier hypervisor left, and not below
/// [`LOWEST`].
pub(super) fn free_ranges(handoff: &Handoff, kind: RegionKind) -> impl Iterator<Item = PhysRange> {
    let regions = handoff.memory_map.iter().filter(move |region| region.kind == kind);
    regions.flat_map(|region| without(region.range, handoff.preserved.iter().copied()))
}

/// The parts of `range` from [`LOWEST`] on that none of `holes`, sorted, takes away.
pub(super) fn without(
    range: PhysRange,
    holes: impl Iterator<Item = PhysRange>,
) -> impl Iterator<Item = PhysRange> {
    let mut start = range.start().as_u64().max(LOWEST);
    let end = Hpa::from_low_bits(range.end_u64().saturating_sub(1)).checked_add(1);
    let sentinel = end.and_then(|end| PhysRange::new(end, 0).ok());
    holes.filter(move |hole| hole.overlaps(range)).chain(sentinel).filter_map(move |hole| {
        let piece = hole.start().as_u64().checked_sub(start).filter(|len| *len > 0);
        let found = piece.and_then(|len| PhysRange::new(Hpa::from_low_bits(start), len).ok());
        start = start.max(hole.end_u64());
        found
    })
}

/// The run of blocks, cut from its start.
#[derive(Debug)]
pub(super) struct Pool {
    range: PhysRange,
    used_bytes: u64,
    direct: Direct,
}

impl Pool {
    /// # Safety
    /// `direct` maps `range`, which nobody uses.
    pub const unsafe fn new(range: PhysRange, direct: Direct) -> Self {
        Self { range, used_bytes: 0, direct }
    }

    pub const fn range(&self) -> PhysRange {
        self.range
    }

    /// What has been cut so far, whole pages from the start.
    pub const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Cuts `len_bytes`, rounded up to pages, zeroed.
    pub fn cut(&mut self, len_bytes: u64) -> Result<PhysRange, OutOfTables> {
        let len_bytes = len_bytes.next_multiple_of(PAGE_BYTES);
        let end = self.used_bytes + len_bytes;
        let start = self.range.start().checked_add(self.used_bytes).ok_or(OutOfTables)?;
        if end > self.range.len_bytes() {
            return Err(OutOfTables);
        }
        self.used_bytes = end;
        // SAFETY: the bytes are in the pool, which is mapped and ours, and were not given out before.
        unsafe { self.direct.zero(start, len_bytes) }
        PhysRange::new(start, len_bytes).map_err(|_| OutOfTables)
    }

    fn holds(&self, table: Hpa) -> bool {
        table.offset_from(self.range.start()).is_some_and(|offset| offset < self.used_bytes)
    }
}

impl TableMemory for Pool {
    fn read_entry(&self, table: Hpa, index: u16) -> u64 {
        if !self.holds(table) {
            return 0;
        }
        // SAFETY: the table was cut from the pool.
        unsafe { self.direct.read_entry(table, index) }
    }

    fn write_entry(&mut self, table: Hpa, index: u16, entry: u64) {
        if self.holds(table) {
            // SAFETY: the table was cut from the pool; the tree is not in use yet.
            unsafe { self.direct.write_entry(table, index, entry) }
        }
    }

    fn allocate_table(&mut self) -> Result<Hpa, OutOfTables> {
        self.cut(PAGE_BYTES).map(PhysRange::start)
    }

    /// While the first tree is built nothing is unmapped; what a failure leaves behind fails the boot anyway.
    fn free_table(&mut self, _table: Hpa) {}
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(Hpa::new(start).unwrap(), end - start).unwrap()
    }

    #[test]
    fn preserved_memory_and_the_first_mebibyte_are_left_alone() {
        let holes = [range(0x20_0000, 0x30_0000), range(0x50_0000, 0x90_0000)];
        let parts: Vec<_> = without(range(0, 0x80_0000), holes.into_iter()).collect();
        assert_eq!(parts, [range(0x10_0000, 0x20_0000), range(0x30_0000, 0x50_0000)]);
        assert_eq!(without(range(0, 0x10_0000), core::iter::empty()).count(), 0);
        let all = range(0x20_0000, 0x30_0000);
        assert_eq!(without(all, core::iter::empty()).collect::<Vec<_>>(), [all]);
    }
}
