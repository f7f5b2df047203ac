//! Blocks split into 4 KiB frames, for the hypervisor itself.

use super::{
    BLOCK_BYTES, Block, Content, FRAMES_PER_BLOCK, FrameError, Frames, address_of, frames_of, index_of,
};
use base::{Hpa, PAGE_BYTES, PhysRange};

const WORDS: usize = FRAMES_PER_BLOCK / 64;

/// No block.
const NO_BLOCK: u32 = u32::MAX;

/// The frames of one split block: bit `n` of a bitmap is its `n`th frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallBlock {
    /// Which block, or [`NO_BLOCK`].
    block: u32,
    /// Frames that are the hypervisor's; the others stay foreign.
    own: [u64; WORDS],
    /// Of these, the ones not in use.
    free: [u64; WORDS],
    /// Of those in use, the ones that a device may reach.
    pinned: [u64; WORDS],
}

impl SmallBlock {
    /// A bitmap that describes no block.
    pub const UNUSED: Self = Self { block: NO_BLOCK, own: [0; WORDS], free: [0; WORDS], pinned: [0; WORDS] };

    /// How many frames are the hypervisor's.
    pub fn own_frames(&self) -> usize {
        self.own.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many of them are not in use.
    pub fn free_frames(&self) -> usize {
        self.free.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many of those in use are pinned.
    pub fn pinned_frames(&self) -> usize {
        self.pinned.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the frame at `hpa`, in this block, is the hypervisor's.
    pub fn owns(&self, hpa: Hpa) -> bool {
        get(&self.own, frame_index(hpa))
    }

    fn in_use(&self, hpa: Hpa) -> bool {
        self.owns(hpa) && !get(&self.free, frame_index(hpa))
    }

    fn is_pinned(&self, hpa: Hpa) -> bool {
        get(&self.pinned, frame_index(hpa))
    }

    /// The first of `count` free frames in a row.
    fn find_run(&self, count: usize) -> Option<usize> {
        let mut run = 0;
        for frame in 0..FRAMES_PER_BLOCK {
            run = if get(&self.free, frame) { run + 1 } else { 0 };
            if run > 0 && run == count {
                return Some(frame + 1 - count);
            }
        }
        None
    }
}

fn frame_index(hpa: Hpa) -> usize {
    (hpa.as_u64() % BLOCK_BYTES / PAGE_BYTES) as usize
}

fn get(bitmap: &[u64; WORDS], frame: usize) -> bool {
    bitmap.get(frame / 64).is_some_and(|word| word >> (frame % 64) & 1 == 1)
}

fn set(bitmap: &mut [u64; WORDS], frame: usize) {
    if let Some(word) = bitmap.get_mut(frame / 64) {
        *word |= 1 << (frame % 64);
    }
}

fn clear(bitmap: &mut [u64; WORDS], frame: usize) {
    if let Some(word) = bitmap.get_mut(frame / 64) {
        *word &= !(1 << (frame % 64));
    }
}

impl Frames {
    /// Makes the frames of `range`, foreign so far and within one block, the hypervisor's and free.
    ///
    /// # Errors
    /// [`FrameError`]; nothing has changed then.
    pub fn add_frames(&mut self, range: PhysRange) -> Result<(), FrameError> {
        let block = range.start().align_down(BLOCK_BYTES);
        let whole = range.start().is_aligned(PAGE_BYTES) && range.len_bytes().is_multiple_of(PAGE_BYTES);
        let fits = range.end_u64() <= block.as_u64().saturating_add(BLOCK_BYTES);
        if !whole || !fits || index_of(block) >= self.blocks.len() {
            return Err(FrameError::BadRange(range));
        }
        if !self.is_foreign(range) {
            return Err(FrameError::WrongOwner(range.start()));
        }
        let small = self.split(block)?;
        for frame in frames_of(range) {
            set(&mut small.own, frame_index(frame));
            set(&mut small.free, frame_index(frame));
        }
        Ok(())
    }

    /// The block that the hypervisor would take next: the highest free one. The caller maps it and then opens it, so
    /// that no frame can be taken that is not mapped.
    pub fn block_to_open(&self) -> Option<PhysRange> {
        let index = self.find_free_run(1, 1, self.blocks.len())?;
        PhysRange::new(address_of(index), BLOCK_BYTES).ok()
    }

    /// Splits the block at `block`, which is free, for the hypervisor.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it is not free, [`FrameError::TooManySmallBlocks`]; nothing has changed then.
    pub fn open_block(&mut self, block: Hpa) -> Result<(), FrameError> {
        if !block.is_aligned(BLOCK_BYTES) || !matches!(self.block(block), Block::Free(_)) {
            return Err(FrameError::WrongOwner(block));
        }
        let small = self.split(block)?;
        (small.own, small.free) = ([u64::MAX; WORDS], [u64::MAX; WORDS]);
        Ok(())
    }

    /// Takes `count` contiguous frames (at most 512) out of split blocks. Their content is arbitrary.
    pub fn take_frames(&mut self, count: usize) -> Option<PhysRange> {
        let in_use = |small: &&mut SmallBlock| small.block != NO_BLOCK;
        let (small, first) = self.small.iter_mut().filter(in_use).find_map(|small| {
            let first = small.find_run(count)?;
            Some((small, first))
        })?;
        for frame in first..first + count {
            clear(&mut small.free, frame);
        }
        let start = address_of(small.block as usize).checked_add(first as u64 * PAGE_BYTES)?;
        PhysRange::new(start, count as u64 * PAGE_BYTES).ok()
    }

    /// Takes just the frames of `range`.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] with the first that is not free and the hypervisor's; nothing has changed then.
    pub fn take_exactly(&mut self, range: PhysRange) -> Result<(), FrameError> {
        let is_free = |frame: Hpa| match self.block(frame) {
            Block::Small(slot) => {
                self.small.get(slot as usize).is_some_and(|small| get(&small.free, frame_index(frame)))
            }
            _ => false,
        };
        if let Some(frame) = frames_of(range).find(|frame| !is_free(*frame)) {
            return Err(FrameError::WrongOwner(frame));
        }
        for frame in frames_of(range) {
            if let Some(small) = self.small_block_mut(frame) {
                clear(&mut small.free, frame_index(frame));
            }
        }
        Ok(())
    }

    /// Takes back frames of one block that [`Frames::take_frames`] gave.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] with the first frame that is not in use, or that is pinned; nothing has changed then.
    pub fn free_frames(&mut self, range: PhysRange) -> Result<(), FrameError> {
        let is_busy = |frame: &Hpa| !self.is_in_use(*frame) || self.is_pinned(*frame);
        if let Some(frame) = frames_of(range).find(is_busy) {
            return Err(FrameError::WrongOwner(frame));
        }
        for frame in frames_of(range) {
            if let Some(small) = self.small_block_mut(frame) {
                set(&mut small.free, frame_index(frame));
            }
        }
        Ok(())
    }

    /// Makes the block at `block` free and dirty if all its frames are the hypervisor's and none is in use. The
    /// caller unmaps it.
    pub fn close_block(&mut self, block: Hpa) -> bool {
        let Some(small) = self.small_block_mut(block) else { return false };
        if small.free_frames() < FRAMES_PER_BLOCK {
            return false;
        }
        *small = SmallBlock::UNUSED;
        if let Some(state) = self.blocks.get_mut(index_of(block)) {
            *state = Block::Free(Content::Dirty);
        }
        true
    }

    /// Whether the frame at `hpa` is the hypervisor's and in use.
    pub fn is_in_use(&self, hpa: Hpa) -> bool {
        match self.block(hpa) {
            Block::Small(slot) => self.small.get(slot as usize).is_some_and(|small| small.in_use(hpa)),
            _ => false,
        }
    }

    /// Notes that a device may reach frames of the hypervisor that are in use: until they are unpinned they cannot be
    /// freed.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] with the first that is not in use, or pinned already; nothing has changed then.
    pub fn pin_frames(&mut self, range: PhysRange) -> Result<(), FrameError> {
        let is_wrong = |frame: &Hpa| !self.is_in_use(*frame) || self.is_pinned(*frame);
        if let Some(frame) = frames_of(range).find(is_wrong) {
            return Err(FrameError::WrongOwner(frame));
        }
        for frame in frames_of(range) {
            if let Some(small) = self.small_block_mut(frame) {
                set(&mut small.pinned, frame_index(frame));
            }
        }
        Ok(())
    }

    /// Notes that no device reaches these frames any more.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] with the first that is not pinned; nothing has changed then.
    pub fn unpin_frames(&mut self, range: PhysRange) -> Result<(), FrameError> {
        if let Some(frame) = frames_of(range).find(|frame| !self.is_pinned(*frame)) {
            return Err(FrameError::WrongOwner(frame));
        }
        for frame in frames_of(range) {
            if let Some(small) = self.small_block_mut(frame) {
                clear(&mut small.pinned, frame_index(frame));
            }
        }
        Ok(())
    }

    /// Whether the frame at `hpa` is the hypervisor's and pinned.
    pub fn is_pinned(&self, hpa: Hpa) -> bool {
        match self.block(hpa) {
            Block::Small(slot) => self.small.get(slot as usize).is_some_and(|small| small.is_pinned(hpa)),
            _ => false,
        }
    }

    /// The frames of split blocks that are not in use.
    pub fn spare_frames(&self) -> usize {
        self.small.iter().map(SmallBlock::free_frames).sum()
    }

    fn small_block_mut(&mut self, hpa: Hpa) -> Option<&mut SmallBlock> {
        match self.block(hpa) {
            Block::Small(slot) => self.small.get_mut(slot as usize),
            _ => None,
        }
    }

    /// The bitmap of the block at `block`; a new one, without frames, if it had none.
    fn split(&mut self, block: Hpa) -> Result<&mut SmallBlock, FrameError> {
        let index = index_of(block);
        let slot = match self.block(block) {
            Block::Small(slot) => slot as usize,
            _ => {
                let unused = self.small.iter().position(|small| small.block == NO_BLOCK);
                let slot = unused.ok_or(FrameError::TooManySmallBlocks)?;
                let state = self.blocks.get_mut(index).ok_or(FrameError::WrongOwner(block))?;
                // Both counts fit: 2^32 blocks would be 8 PiB, twice the physical space.
                *state = Block::Small(slot as u32);
                slot
            }
        };
        let small = self.small.get_mut(slot).ok_or(FrameError::TooManySmallBlocks)?;
        small.block = index as u32;
        Ok(small)
    }
}
