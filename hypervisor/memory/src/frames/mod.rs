//! Who owns which memory.
//!
//! Memory is managed in blocks of 2 MiB, eight bytes of [`Block`] each. The hypervisor's own small needs come from
//! blocks that are split into 4 KiB frames: their bitmaps are the [`SmallBlock`]s. Blocks that the firmware's memory map cuts into
//! pieces are split from the beginning, so that whole ones are left to guests.
//!
//! ```text
//!  Foreign ──add──▶ Free ──take──▶ Private ──share──▶ SharedReadOnly      Poisoned: for ever
//!     │              ▲ │open         │ ▲ pin, unpin        │
//!     └─add─▶ Small ─┘◀┘             ▼ │                   │ last sharer gone
//!                                  Pinned                  ▼
//!                    (every way back to Free leaves the block dirty)
//! ```
//!
//! Invariants: a block is in one state; a small block's free frames are among its own, and its pinned ones among those in
//! use; what becomes `Private` is zeroed before its owner sees it, as `Content` tells.

mod owners;
mod small;
#[cfg(test)]
mod tests;

pub use small::SmallBlock;

use base::{Hpa, PAGE_BYTES, PhysRange, VmId};
use core::fmt;

/// A block's length.
pub const BLOCK_BYTES: u64 = 2 * base::MIB;
/// Frames in a block.
pub const FRAMES_PER_BLOCK: usize = 512;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What its last owner left, or firmware.
    Dirty,
    /// As dirty, and being zeroed in steps.
    Scrubbing,
    /// Zeroes.
    Clean,
}

/// The owner of 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// No RAM, or firmware's, or boot's and not released yet.
    Foreign,
    /// Nobody's.
    Free(Content),
    /// The hypervisor's, in frames: the index of its [`SmallBlock`]. Frames that are not its own are foreign.
    Small(u32),
    /// A VM's alone.
    Private(VmId, Content),
    /// Read by this many VMs, written by none.
    SharedReadOnly(u32),
    /// A VM's, and the target of this many DMA grants: it can neither move nor be freed.
    Pinned(VmId, u32),
    /// Has had an uncorrectable error: never used again.
    Poisoned,
}

const _: () = assert!(size_of::<Block>() == 8);

/// Where memory may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Anywhere, high addresses first.
    Any,
    /// Below 4 GiB, for devices with 32-bit addresses.
    Below4G,
}

/// A change of owner that is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The memory at this address is not in the state that the change needs.
    WrongOwner(Hpa),
    /// The range is not whole frames, not whole blocks where blocks are meant, or lies past the managed memory.
    BadRange(PhysRange),
    /// No bitmap is left to split another block with.
    TooManySmallBlocks,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongOwner(hpa) => {
                write!(f, "host-physical {hpa} has another owner than the change expects")
            }
            Self::BadRange(range) => write!(f, "host-physical {range} is not whole managed frames"),
            Self::TooManySmallBlocks => write!(f, "no bitmap is left to split another 2M block"),
        }
    }
}

impl core::error::Error for FrameError {}

/// Bytes by owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nobody's and zeroed.
    pub free_clean_bytes: u64,
    /// Nobody's, to be zeroed before use.
    pub free_dirty_bytes: u64,
    /// The hypervisor's own, in use.
    pub hypervisor_bytes: u64,
    /// The hypervisor's own, split and not in use.
    pub hypervisor_spare_bytes: u64,
    /// VMs' private memory, pinned memory included.
    pub private_bytes: u64,
    /// Shared between VMs.
    pub shared_bytes: u64,
    /// Of the private memory and of the hypervisor's own in use, what DMA can reach.
    pub pinned_bytes: u64,
    /// Set aside after an error.
    pub poisoned_bytes: u64,
}

/// The owner of every block. Its tables lie in memory that it manages.
#[derive(Debug)]
pub struct Frames {
    blocks: &'static mut [Block],
    small: &'static mut [SmallBlock],
    /// Where the search for a block to scrub goes on.
    scrub_cursor: usize,
}

impl Frames {
    /// All memory that `blocks` describe, foreign as yet.
    pub fn new(blocks: &'static mut [Block], small: &'static mut [SmallBlock]) -> Self {
        blocks.fill(Block::Foreign);
        small.fill(SmallBlock::UNUSED);
        Self { blocks, small, scrub_cursor: 0 }
    }

    /// The state of the block that holds `hpa`.
    pub fn block(&self, hpa: Hpa) -> Block {
        self.blocks.get(index_of(hpa)).copied().unwrap_or(Block::Foreign)
    }

    /// Whether no byte of `range` is managed here: what devices, firmware and boot's files must be.
    pub fn is_foreign(&self, range: PhysRange) -> bool {
        frames_of(range).all(|frame| match self.block(frame) {
            Block::Foreign => true,
            Block::Small(slot) => self.small.get(slot as usize).is_some_and(|small| !small.owns(frame)),
            _ => false,
        })
    }

    /// Makes the whole blocks of `range`, foreign so far, free and dirty.
    ///
    /// # Errors
    /// [`FrameError`]; nothing has changed then.
    pub fn add_blocks(&mut self, range: PhysRange) -> Result<(), FrameError> {
        self.change(range, |block| (block == Block::Foreign).then_some(Block::Free(Content::Dirty)))
    }

    /// Gives `count` contiguous blocks, the first at a multiple of `alignment_blocks` (a power of two), to `vm`.
    /// They may be dirty. High addresses first: what is below 4 GiB stays for those who need it.
    pub fn take_private(
        &mut self,
        vm: VmId,
        count: usize,
        alignment_blocks: usize,
        zone: Zone,
    ) -> Option<PhysRange> {
        let limit = match zone {
            Zone::Any => self.blocks.len(),
            Zone::Below4G => self.blocks.len().min((4 * base::GIB / BLOCK_BYTES) as usize),
        };
        let first = self.find_free_run(count, alignment_blocks.max(1), limit)?;
        for block in self.blocks.get_mut(first..first + count)? {
            if let Block::Free(content) = *block {
                *block = Block::Private(vm, content);
            }
        }
        PhysRange::new(address_of(first), count as u64 * BLOCK_BYTES).ok()
    }

    /// Takes the blocks of `range` back from `vm`.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when one is not private to `vm` (or is pinned); nothing has changed then.
    pub fn give_back(&mut self, vm: VmId, range: PhysRange) -> Result<(), FrameError> {
        self.change(range, |block| match block {
            Block::Private(owner, _) if owner == vm => Some(Block::Free(Content::Dirty)),
            _ => None,
        })
    }

    /// Notes that `block`, private to a VM, holds zeroes or what the VM wrote.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it is not private.
    pub fn set_clean(&mut self, block: Hpa) -> Result<(), FrameError> {
        match self.blocks.get_mut(index_of(block)) {
            Some(Block::Private(_, content)) => {
                *content = Content::Clean;
                Ok(())
            }
            _ => Err(FrameError::WrongOwner(block)),
        }
    }

    /// The free block to zero next, now marked as being scrubbed.
    pub fn start_scrub(&mut self) -> Option<Hpa> {
        let dirty = |block: &Block| matches!(block, Block::Free(Content::Dirty | Content::Scrubbing));
        let rest = self.blocks.iter().skip(self.scrub_cursor).position(dirty);
        let index = match rest {
            Some(offset) => self.scrub_cursor.saturating_add(offset),
            None => self.blocks.iter().position(dirty)?,
        };
        self.scrub_cursor = index;
        *self.blocks.get_mut(index)? = Block::Free(Content::Scrubbing);
        Some(address_of(index))
    }

    /// Whether `block` is still the one that [`Frames::start_scrub`] marked: nobody had it in between.
    pub fn is_scrubbing(&self, block: Hpa) -> bool {
        self.block(block) == Block::Free(Content::Scrubbing)
    }

    /// Notes that all of `block` was zeroed, if it is still being scrubbed.
    pub fn finish_scrub(&mut self, block: Hpa) {
        if self.is_scrubbing(block)
            && let Some(state) = self.blocks.get_mut(index_of(block))
        {
            *state = Block::Free(Content::Clean);
        }
    }

    /// Bytes by owner.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for block in self.blocks.iter() {
            match block {
                Block::Foreign => {}
                Block::Free(Content::Clean) => usage.free_clean_bytes += BLOCK_BYTES,
                Block::Free(_) => usage.free_dirty_bytes += BLOCK_BYTES,
                Block::Small(slot) => {
                    let Some(small) = self.small.get(*slot as usize) else { continue };
                    let spare = small.free_frames() as u64 * PAGE_BYTES;
                    usage.hypervisor_spare_bytes += spare;
                    usage.hypervisor_bytes += small.own_frames() as u64 * PAGE_BYTES - spare;
                    usage.pinned_bytes += small.pinned_frames() as u64 * PAGE_BYTES;
                }
                Block::Private(..) => usage.private_bytes += BLOCK_BYTES,
                Block::SharedReadOnly(_) => usage.shared_bytes += BLOCK_BYTES,
                Block::Pinned(..) => {
                    usage.private_bytes += BLOCK_BYTES;
                    usage.pinned_bytes += BLOCK_BYTES;
                }
                Block::Poisoned => usage.poisoned_bytes += BLOCK_BYTES,
            }
        }
        usage
    }

    /// Replaces the state of every block of `range` by what `next` says of it, or of none when it refuses one.
    fn change(&mut self, range: PhysRange, next: impl Fn(Block) -> Option<Block>) -> Result<(), FrameError> {
        let whole = range.start().is_aligned(BLOCK_BYTES) && range.len_bytes().is_multiple_of(BLOCK_BYTES);
        let first = index_of(range.start());
        let last = first.saturating_add((range.len_bytes() / BLOCK_BYTES) as usize);
        let blocks = self.blocks.get_mut(first..last).filter(|_| whole).ok_or(FrameError::BadRange(range))?;
        if let Some(refused) = blocks.iter().position(|block| next(*block).is_none()) {
            return Err(FrameError::WrongOwner(address_of(first + refused)));
        }
        for block in blocks {
            *block = next(*block).unwrap_or(*block);
        }
        Ok(())
    }

    /// The highest run of `count` free blocks below block `limit`, its first a multiple of `alignment`.
    fn find_free_run(&self, count: usize, alignment: usize, limit: usize) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let mut first = limit.checked_sub(count)?;
        first -= first % alignment;
        loop {
            let run = self.blocks.get(first..first + count)?;
            // On a miss go on below the block that is in the way: no run can hold it.
            match run.iter().position(|block| !matches!(block, Block::Free(_))) {
                None => return Some(first),
                Some(taken) => {
                    first = (first + taken).checked_sub(count)?;
                    first -= first % alignment;
                }
            }
        }
    }
}

fn index_of(hpa: Hpa) -> usize {
    (hpa.as_u64() / BLOCK_BYTES) as usize
}

fn address_of(index: usize) -> Hpa {
    Hpa::from_low_bits((index as u64).wrapping_mul(BLOCK_BYTES))
}

/// The address of every frame that `range` touches.
fn frames_of(range: PhysRange) -> impl Iterator<Item = Hpa> {
    let first = range.start().align_down(PAGE_BYTES).as_u64();
    (first..range.end_u64()).step_by(PAGE_BYTES as usize).map(Hpa::from_low_bits)
}
