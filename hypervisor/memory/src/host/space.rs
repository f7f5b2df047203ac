//! The host's address space: the tree that CR3 points to, and where the next mapping of each kind goes.
//!
//! Unsafe because the first tree is written through boot's identity map, which the caller vouches for.

use super::early::{Plan, Pool};
use super::tables::HostTables;
use super::{HostMemory, cpu};
use crate::direct::Direct;
use crate::error::HostMemoryError;
use crate::frames::BLOCK_BYTES;
use crate::layout::{AREA_BYTES, DEVICES_BASE, SCRATCH_BASE, STACKS_BASE, VIEWS_BASE, direct, in_tree};
use base::{Hpa, PAGE_BYTES, PhysRange};
use handoff::{Handoff, Protection};
use paging::{Attributes, Geometry, Host, Level, Permissions, Span, Tree};

/// The length of a CPU's stack.
pub const STACK_BYTES: u64 = 64 * base::KIB;

/// One past the last byte of a stack, a multiple of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackTop(pub u64);

/// Device registers, mapped uncached, readable and writable, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceWindow {
    /// The virtual address of the first register.
    pub address: usize,
    /// How many bytes may be used.
    pub len_bytes: usize,
}

/// Addresses that are given out once, from low to high: 512 GiB of them last longer than a boot.
#[derive(Debug)]
pub(super) struct Area {
    next: u64,
    end: u64,
}

impl Area {
    const fn new(base: u64, end: u64) -> Self {
        Self { next: base, end }
    }

    /// `len_bytes`, whole pages, and an unmapped page before them.
    pub fn take(&mut self, len_bytes: u64) -> Result<u64, HostMemoryError> {
        let start = self.next + PAGE_BYTES;
        let end = start.checked_add(len_bytes).filter(|end| *end <= self.end);
        self.next = end.ok_or(HostMemoryError::OutOfAddresses)?;
        Ok(start)
    }

    /// As [`Area::take`] for the pages of `range`. Where it holds whole blocks they lie as they do in physical memory, so
    /// that large pages can map them.
    fn take_for(&mut self, range: PhysRange) -> Result<u64, HostMemoryError> {
        let first = self.next + PAGE_BYTES;
        let shift = range.start().as_u64().wrapping_sub(first) % BLOCK_BYTES;
        if range.len_bytes() >= BLOCK_BYTES {
            self.next += shift;
        }
        self.take(range.len_bytes())
    }
}

/// The tree, and what is known of its parts.
#[derive(Debug)]
pub struct HostSpace {
    pub(super) tree: Tree<Host>,
    stacks: Area,
    devices: Area,
    pub(super) views: Area,
    pub(super) boot_stack: StackTop,
    pub(super) pool: Pool,
    pub(super) plan: Plan,
    /// The largest page of the CPU, for guests' windows too.
    pub(crate) largest_leaf: Level,
}

impl HostSpace {
    /// Builds the first tree on boot's tables, in free memory of `handoff`: the image with its protections, the direct
    /// window of the memory that the tree itself lies in, and a stack. `largest_leaf` is the CPU's largest page.
    ///
    /// # Errors
    /// [`HostMemoryError::NoRoomToStart`].
    ///
    /// # Safety
    /// All memory of `handoff` is mapped at its physical address, and nobody uses what it calls usable.
    pub unsafe fn build(handoff: &Handoff, largest_leaf: Level) -> Result<Self, HostMemoryError> {
        // SAFETY: the caller vouches for the identity map.
        let identity = unsafe { Direct::new(0) };
        let plan = Plan::new(handoff);
        // SAFETY: as the caller vouches, usable memory is mapped and free.
        let pool = unsafe { Pool::new(plan.pool(handoff)?, identity) };
        Self::build_in(handoff, plan, pool, largest_leaf)
    }

    pub(super) fn build_in(
        handoff: &Handoff,
        plan: Plan,
        mut pool: Pool,
        largest_leaf: Level,
    ) -> Result<Self, HostMemoryError> {
        // The metadata come first, so that `start` finds them at the pool's start.
        for len_bytes in plan.array_bytes() {
            pool.cut(len_bytes)?;
        }
        let mut tree = Tree::new(&mut pool, Geometry { root: Level::Root, largest_leaf })?;
        let image = &handoff.image;
        for segment in &image.segments {
            let hpa = image
                .range
                .start()
                .checked_add(segment.offset_bytes)
                .ok_or(HostMemoryError::OutOfAddresses)?;
            let attributes = Attributes::memory(match segment.protection {
                Protection::ReadOnly => Permissions::READ,
                Protection::ReadWrite => Permissions::READ_WRITE,
                Protection::ReadExecute => Permissions::READ_EXECUTE,
            });
            let start = in_tree(image.virtual_start.wrapping_add(segment.offset_bytes));
            let _nothing_cached =
                tree.map(&mut pool, Span { start, len_bytes: segment.len_bytes }, hpa, attributes)?;
        }
        let memory = Attributes::memory(Permissions::READ_WRITE);
        let range = pool.range();
        let window = Span { start: in_tree(direct(range.start())), len_bytes: range.len_bytes() };
        let _nothing_cached = tree.map(&mut pool, window, range.start(), memory)?;

        let mut stacks = Area::new(STACKS_BASE, SCRATCH_BASE);
        let stack = pool.cut(STACK_BYTES)?;
        let bottom = stacks.take(STACK_BYTES)?;
        let span = Span { start: in_tree(bottom), len_bytes: STACK_BYTES };
        let _nothing_cached = tree.map(&mut pool, span, stack.start(), memory)?;
        Ok(Self {
            tree,
            stacks,
            devices: Area::new(DEVICES_BASE, DEVICES_BASE + AREA_BYTES),
            views: Area::new(VIEWS_BASE, VIEWS_BASE + AREA_BYTES),
            boot_stack: StackTop(bottom + STACK_BYTES),
            pool,
            plan,
            largest_leaf,
        })
    }

    /// The table for CR3.
    pub fn root(&self) -> Hpa {
        self.tree.root()
    }

    /// The boot CPU's stack.
    pub fn boot_stack(&self) -> StackTop {
        self.boot_stack
    }
}

impl HostMemory {
    /// The boot CPU's stack, from its lowest byte to one past its highest.
    pub fn boot_stack(&self) -> core::ops::Range<u64> {
        let StackTop(top) = self.space.boot_stack();
        top - STACK_BYTES..top
    }

    /// A new stack of `len_bytes`, rounded up to pages, above a guard page.
    ///
    /// # Errors
    /// [`HostMemoryError`] when memory or addresses are used up.
    pub fn allocate_stack(&mut self, len_bytes: u64) -> Result<StackTop, HostMemoryError> {
        let len_bytes = len_bytes.next_multiple_of(PAGE_BYTES);
        self.spare_tables_for(len_bytes);
        let bottom = self.space.stacks.take(len_bytes)?;
        let frames = self.allocate((len_bytes / PAGE_BYTES) as usize)?.into_range();
        match self.map(bottom, frames, Attributes::memory(Permissions::READ_WRITE)) {
            Ok(()) => Ok(StackTop(bottom + len_bytes)),
            Err(error) => self.free_range(frames).and(Err(error)),
        }
    }

    /// Maps the registers at `range`, for ever. What else lies in their pages becomes visible too.
    ///
    /// # Errors
    /// [`HostMemoryError::Owned`] when there is RAM, be it the image's, a file's or firmware's: a table that names
    /// registers there would let the hypervisor write over itself.
    pub fn map_device(&mut self, range: PhysRange) -> Result<DeviceWindow, HostMemoryError> {
        let pages = self.foreign_pages(range)?;
        if self.ram.iter().any(|ram| ram.overlaps(pages)) {
            return Err(HostMemoryError::Owned(range));
        }
        self.spare_tables_for(pages.len_bytes());
        let start = self.space.devices.take_for(pages)?;
        self.map(start, pages, Attributes::DEVICE)?;
        let offset = range.start().as_u64() % PAGE_BYTES;
        Ok(DeviceWindow { address: (start + offset) as usize, len_bytes: range.len_bytes() as usize })
    }

    /// The whole pages that `range` touches, none of them managed memory.
    pub(super) fn foreign_pages(&self, range: PhysRange) -> Result<PhysRange, HostMemoryError> {
        let start = range.start().align_down(PAGE_BYTES);
        let len_bytes = range.end_u64().next_multiple_of(PAGE_BYTES) - start.as_u64();
        let pages = PhysRange::new(start, len_bytes).map_err(|_| HostMemoryError::Owned(range))?;
        if pages.is_empty() || !self.frames.is_foreign(pages) {
            return Err(HostMemoryError::Owned(range));
        }
        Ok(pages)
    }

    /// Shows frames that became the hypervisor's in the direct window.
    pub(super) fn map_direct(&mut self, range: PhysRange) -> Result<(), HostMemoryError> {
        self.map(direct(range.start()), range, Attributes::memory(Permissions::READ_WRITE))
    }

    /// Hides frames of one block that are not the hypervisor's.
    pub(super) fn unmap_direct(&mut self, range: PhysRange) -> Result<(), HostMemoryError> {
        debug_assert!(range.len_bytes() <= BLOCK_BYTES);
        self.unmap(direct(range.start()), range.len_bytes())
    }

    /// Maps `range` at `virtual_address`.
    pub(super) fn map(
        &mut self,
        virtual_address: u64,
        range: PhysRange,
        attributes: Attributes,
    ) -> Result<(), HostMemoryError> {
        let span = Span { start: in_tree(virtual_address), len_bytes: range.len_bytes() };
        self.change_tree(|tree, tables| tree.map(tables, span, range.start(), attributes))
    }

    /// Removes what is mapped at `virtual_address`.
    pub(super) fn unmap(&mut self, virtual_address: u64, len_bytes: u64) -> Result<(), HostMemoryError> {
        let span = Span { start: in_tree(virtual_address), len_bytes };
        self.change_tree(|tree, tables| tree.unmap(tables, span))
    }

    /// Changes the tree and drops what is stale, before a freed table can serve another purpose.
    fn change_tree(
        &mut self,
        change: impl FnOnce(&mut Tree<Host>, &mut HostTables<'_>) -> Result<paging::Flush, paging::MapError>,
    ) -> Result<(), HostMemoryError> {
        let mut tables = HostTables { frames: &mut self.frames, direct: self.direct };
        cpu::flush(change(&mut self.space.tree, &mut tables)?);
        Ok(())
    }

    /// What the host's tables say of `virtual_address`, for tests and the epitaph.
    pub fn lookup(&mut self, virtual_address: u64) -> Option<paging::Mapping> {
        let tables = HostTables { frames: &mut self.frames, direct: self.direct };
        self.space.tree.lookup(&tables, in_tree(virtual_address))
    }
}
