//! A guest-physical space with its memory and tables.
//!
//! RAM lies where [`base::ram`] says. Memory is taken in blocks of 2 MiB, in runs of 1 GiB where there are some, and
//! zeroed before the guest or the window can see it. A size that is no multiple of 2 MiB takes the whole last block and
//! maps a part of it.
//!
//! All memory is there from the start. Blocks that idle CPUs have scrubbed before cost nothing; the others are zeroed here.

use super::extent::{Extent, ExtentKind, Extents, InsertError};
use super::trees::{ExecutablePages, NestedFormat, Trees};
use super::window;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Zone};
use crate::host::{Charged, SharedMemory};
use crate::layout::GUEST_BYTES;
use base::ram::{HIGH_RAM_START, LOW_RAM_MAX_BYTES};
use base::{ByteSize, GIB, Gpa, Hpa, PAGE_BYTES, PhysRange, VmId};
use core::fmt;
use paging::{MapError, OutOfTables};

/// Blocks in 1 GiB.
const HUGE_BLOCKS: usize = (GIB / BLOCK_BYTES) as usize;

/// What a guest-physical space is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestMapConfig {
    /// Whose it is.
    pub vm: VmId,
    /// How much RAM, a multiple of 4 KiB.
    pub ram_bytes: u64,
    /// Which nested tables.
    pub format: NestedFormat,
    /// How large their pages may be.
    pub executable: ExecutablePages,
    /// What the VM's tables may take of the hypervisor's memory.
    pub budget_bytes: u64,
}

/// Why a guest's memory could not be had or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestMapError {
    /// The size is no multiple of 4 KiB, zero, or more than a window holds.
    BadSize(u64),
    /// The host has not that much free memory: what was asked for, and what is free.
    OutOfMemory {
        /// The VM's RAM.
        wanted_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The VM's budget, or the host's memory, has no room for its tables.
    OutOfTables,
    /// Something is at this address already.
    Overlap(Gpa),
    /// The range is not whole pages of RAM.
    NotRam(Gpa),
    /// The host's memory could not be changed.
    Host(HostMemoryError),
}

impl fmt::Display for GuestMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSize(bytes) => write!(
                f,
                "{} of memory: a VM has a multiple of 4K, at most {}",
                ByteSize(*bytes),
                ByteSize(GUEST_BYTES - GIB)
            ),
            Self::OutOfMemory { wanted_bytes, free_bytes } => write!(
                f,
                "{} of memory are wanted and {} are free: give the VM less or end another",
                ByteSize(*wanted_bytes),
                ByteSize(*free_bytes)
            ),
            Self::OutOfTables => write!(f, "the VM's page tables exceed its budget or the host's memory"),
            Self::Overlap(gpa) => write!(f, "guest-physical {gpa} is in use already"),
            Self::NotRam(gpa) => write!(f, "guest-physical {gpa} is not RAM"),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuestMapError {}

impl From<HostMemoryError> for GuestMapError {
    fn from(error: HostMemoryError) -> Self {
        Self::Host(error)
    }
}

impl From<OutOfTables> for GuestMapError {
    fn from(_: OutOfTables) -> Self {
        Self::OutOfTables
    }
}

impl From<MapError> for GuestMapError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::OutOfTables => Self::OutOfTables,
            other => Self::Host(HostMemoryError::Map(other)),
        }
    }
}

impl From<InsertError> for GuestMapError {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::Overlap(gpa) => Self::Overlap(gpa),
            InsertError::OutOfMemory => Self::Host(HostMemoryError::OutOfMemory { len_bytes: 0 }),
        }
    }
}

/// A guest-physical space. It owns its memory and tables and returns both when it is dropped; no vCPU may run in it then,
/// and translations of its address-space id are dropped before that id serves another VM.
#[derive(Debug)]
pub struct GuestMap {
    memory: &'static SharedMemory,
    vm: VmId,
    extents: Extents,
    /// `None` only while it is dropped.
    trees: Option<Trees>,
    nested_root: Hpa,
    window_root: Hpa,
    left_frames: usize,
    ram_bytes: u64,
}

impl GuestMap {
    /// A space with RAM, all zero.
    ///
    /// # Errors
    /// [`GuestMapError`]; nothing is taken then.
    pub fn new(memory: &'static SharedMemory, config: GuestMapConfig) -> Result<Self, GuestMapError> {
        let GuestMapConfig { vm, ram_bytes, format, executable, budget_bytes } = config;
        let low_bytes = ram_bytes.min(LOW_RAM_MAX_BYTES);
        let high_bytes = ram_bytes - low_bytes;
        let fits = high_bytes <= GUEST_BYTES - HIGH_RAM_START;
        if ram_bytes == 0 || !ram_bytes.is_multiple_of(PAGE_BYTES) || !fits {
            return Err(GuestMapError::BadSize(ram_bytes));
        }
        let mut left_frames = (budget_bytes / PAGE_BYTES) as usize;
        let trees = {
            let mut host = memory.lock();
            let largest = host.space.largest_leaf;
            let mut tables = Charged { memory: &mut host, left_frames: &mut left_frames };
            Trees::new(&mut tables, format, largest, executable)?
        };
        let (nested_root, window_root) = (trees.nested_root(), trees.window_root());
        let extents = Extents::new();
        let mut map = Self {
            memory,
            vm,
            extents,
            trees: Some(trees),
            nested_root,
            window_root,
            left_frames,
            ram_bytes,
        };
        map.add_ram(0, low_bytes)?;
        map.add_ram(HIGH_RAM_START, high_bytes)?;
        for index in 0..map.extents.as_slice().len() {
            map.update_trees(index)?;
        }
        Ok(map)
    }

    /// The VM.
    pub fn vm(&self) -> VmId {
        self.vm
    }

    /// How much RAM there is.
    pub fn ram_bytes(&self) -> u64 {
        self.ram_bytes
    }

    /// What the space consists of, in order.
    pub fn extents(&self) -> &[Extent] {
        self.extents.as_slice()
    }

    /// What is at `gpa`: how an exit for a guest-physical address is told apart.
    pub fn find(&self, gpa: Gpa) -> Option<&Extent> {
        self.extents.find(gpa)
    }

    /// The nested tables, for nCR3 or the EPT pointer.
    pub fn nested_root(&self) -> Hpa {
        self.nested_root
    }

    /// The table that the guest window's root entry leads to.
    pub(super) fn window_root(&self) -> Hpa {
        self.window_root
    }

    /// What the VM's budget has left.
    pub fn budget_left_bytes(&self) -> u64 {
        self.left_frames as u64 * PAGE_BYTES
    }

    /// Notes that a device answers at `start`: nothing is mapped there.
    ///
    /// # Errors
    /// [`GuestMapError::Overlap`].
    pub fn add_device(&mut self, start: Gpa, len_bytes: u64) -> Result<(), GuestMapError> {
        Ok(self.extents.insert(Extent { start, len_bytes, kind: ExtentKind::Device })?)
    }

    /// Takes the right to write the RAM from `start` on, from the guest and from the hypervisor: a ROM. The
    /// vCPUs must drop their translations.
    ///
    /// # Errors
    /// [`GuestMapError::NotRam`] with the first address that is no page of RAM, or what the tables lack.
    pub fn make_read_only(&mut self, start: Gpa, len_bytes: u64) -> Result<(), GuestMapError> {
        let end = start.checked_add(len_bytes).ok_or(GuestMapError::NotRam(start))?;
        if !start.is_aligned(PAGE_BYTES) || !end.is_aligned(PAGE_BYTES) {
            return Err(GuestMapError::NotRam(start));
        }
        let mut address = start;
        while address < end {
            let extent = self.extents.find(address).filter(|extent| extent.kind.hpa().is_some());
            let next = extent.ok_or(GuestMapError::NotRam(address))?.end();
            address = Gpa::new(next).map_err(|_| GuestMapError::NotRam(address))?;
        }
        self.extents.make_read_only(start, end)?;
        for index in 0..self.extents.as_slice().len() {
            let inside = |extent: &Extent| extent.start >= start && extent.start < end;
            if self.extents.as_slice().get(index).is_some_and(inside) {
                self.update_trees(index)?;
            }
        }
        window::flush(self.window_root);
        Ok(())
    }

    /// Takes zeroed memory for `len_bytes` from `start` on.
    fn add_ram(&mut self, start: u64, len_bytes: u64) -> Result<(), GuestMapError> {
        let mut done = 0;
        while done < len_bytes {
            let wanted = (len_bytes - done).div_ceil(BLOCK_BYTES) as usize;
            let blocks = self.take_run(start + done, wanted)?;
            let extent = Extent {
                start: Gpa::from_low_bits(start + done),
                len_bytes: blocks.len_bytes().min(len_bytes - done),
                kind: ExtentKind::Ram(blocks.start()),
            };
            if let Err(error) = self.extents.insert(extent) {
                self.memory.lock().frames.give_back(self.vm, blocks).map_err(HostMemoryError::from)?;
                return Err(error.into());
            }
            self.memory.lock().scrub_private(blocks)?;
            done += extent.len_bytes;
        }
        Ok(())
    }

    /// The best run for `wanted` blocks at `gpa`: 1 GiB that one page can map, or what is contiguous.
    fn take_run(&self, gpa: u64, wanted: usize) -> Result<PhysRange, GuestMapError> {
        let mut host = self.memory.lock();
        if gpa.is_multiple_of(GIB)
            && wanted >= HUGE_BLOCKS
            && let Some(run) = host.frames.take_private(self.vm, HUGE_BLOCKS, HUGE_BLOCKS, Zone::Any)
        {
            return Ok(run);
        }
        let mut count = wanted.min(HUGE_BLOCKS);
        while count > 0 {
            if let Some(run) = host.frames.take_private(self.vm, count, 1, Zone::Any) {
                return Ok(run);
            }
            count /= 2;
        }
        let usage = host.usage();
        // What was free before this VM took the first of it.
        let taken_bytes: u64 = self.extents.as_slice().iter().map(|extent| extent.len_bytes).sum();
        let free_bytes = usage.free_clean_bytes + usage.free_dirty_bytes + taken_bytes;
        Err(GuestMapError::OutOfMemory { wanted_bytes: self.ram_bytes, free_bytes })
    }

    /// Makes the trees say what extent `index` says.
    fn update_trees(&mut self, index: usize) -> Result<(), GuestMapError> {
        let Some(extent) = self.extents.as_slice().get(index).copied() else { return Ok(()) };
        self.change_trees(|trees, tables| trees.update(tables, &extent))
    }

    pub(super) fn change_trees(
        &mut self,
        change: impl FnOnce(&mut Trees, &mut Charged<'_>) -> Result<(), MapError>,
    ) -> Result<(), GuestMapError> {
        let Some(trees) = &mut self.trees else { return Ok(()) };
        let mut host = self.memory.lock();
        let mut tables = Charged { memory: &mut host, left_frames: &mut self.left_frames };
        Ok(change(trees, &mut tables)?)
    }
}

impl Drop for GuestMap {
    fn drop(&mut self) {
        window::deactivate(self.window_root);
        let mut host = self.memory.lock();
        if let Some(trees) = self.trees.take() {
            trees.destroy(&mut Charged { memory: &mut host, left_frames: &mut self.left_frames });
        }
        for extent in self.extents.as_slice() {
            let Some(hpa) = extent.kind.hpa() else { continue };
            let (first, end) = (hpa.align_down(BLOCK_BYTES), hpa.as_u64() + extent.len_bytes);
            for block in (first.as_u64()..end).step_by(BLOCK_BYTES as usize) {
                // Block by block: one that has been poisoned, or that another extent's part has returned, stays.
                if let Ok(block) = PhysRange::new(Hpa::from_low_bits(block), BLOCK_BYTES) {
                    let _ = host.frames.give_back(self.vm, block);
                }
            }
        }
    }
}
