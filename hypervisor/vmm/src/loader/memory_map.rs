//! What memory a VM has, as its kernel is told: the E820 map, whose types PVH and Multiboot share (ACPI 6.5, section
//! 15.2; Xen, `start_info.h`; Multiboot 0.6.96, section 3.3).

use crate::layout::{BIOS_HOLE_END, BIOS_HOLE_START, RamLayout};
use arrayvec::ArrayVec;

/// What a stretch of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// RAM that the kernel may use.
    Ram = 1,
    /// Not to be touched without knowing what is there.
    Reserved = 2,
}

/// A stretch of guest-physical memory, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The address of the first byte.
    pub start: u64,
    /// The length in bytes.
    pub len_bytes: u64,
    pub usage: Usage,
}

/// The most entries of a map.
pub(super) const MAX_ENTRIES: usize = 4;

/// The map of a VM with `ram`, lowest address first, without overlaps.
pub(super) fn memory_map(ram: RamLayout) -> ArrayVec<Entry, MAX_ENTRIES> {
    let hole_bytes = BIOS_HOLE_END - BIOS_HOLE_START;
    let low = [
        Entry { start: 0, len_bytes: BIOS_HOLE_START, usage: Usage::Ram },
        Entry { start: BIOS_HOLE_START, len_bytes: hole_bytes, usage: Usage::Reserved },
    ];
    let above = ram.ranges().into_iter().map(|range| {
        let start = range.start.as_u64().max(BIOS_HOLE_END);
        Entry { start, len_bytes: range.start.as_u64() + range.len_bytes - start, usage: Usage::Ram }
    });
    low.into_iter().chain(above).collect()
}
