//! Sharing, pinning and poisoning of blocks.

use super::{BLOCK_BYTES, Block, Content, FrameError, Frames, index_of};
use base::{Hpa, VmId};

impl Frames {
    /// Makes the block at `block`, private to `vm`, read-only memory with one sharer.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it is not private to `vm`.
    pub fn share(&mut self, vm: VmId, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::Private(owner, _) if owner == vm => Some(Block::SharedReadOnly(1)),
            _ => None,
        })
    }

    /// Counts one more sharer.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when the block is not shared, or shared too often to count.
    pub fn add_sharer(&mut self, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::SharedReadOnly(count) => count.checked_add(1).map(Block::SharedReadOnly),
            _ => None,
        })
    }

    /// Counts one sharer less; without any the block is free.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when the block is not shared.
    pub fn drop_sharer(&mut self, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::SharedReadOnly(..=1) => Some(Block::Free(Content::Dirty)),
            Block::SharedReadOnly(count) => Some(Block::SharedReadOnly(count - 1)),
            _ => None,
        })
    }

    /// Counts one more DMA grant of a block of `vm`'s.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it is not `vm`'s alone, or pinned too often to count.
    pub fn pin(&mut self, vm: VmId, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::Private(owner, Content::Clean) if owner == vm => Some(Block::Pinned(vm, 1)),
            Block::Pinned(owner, pins) if owner == vm => {
                pins.checked_add(1).map(|pins| Block::Pinned(vm, pins))
            }
            _ => None,
        })
    }

    /// Counts one DMA grant less.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it is not a pinned block of `vm`'s.
    pub fn unpin(&mut self, vm: VmId, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::Pinned(owner, ..=1) if owner == vm => Some(Block::Private(vm, Content::Clean)),
            Block::Pinned(owner, pins) if owner == vm => Some(Block::Pinned(vm, pins - 1)),
            _ => None,
        })
    }

    /// Sets a free or private block aside for ever.
    ///
    /// # Errors
    /// [`FrameError::WrongOwner`] when it has another owner.
    pub fn poison(&mut self, block: Hpa) -> Result<(), FrameError> {
        self.change_one(block, |state| match state {
            Block::Free(_) | Block::Private(..) => Some(Block::Poisoned),
            _ => None,
        })
    }

    fn change_one(&mut self, block: Hpa, next: impl Fn(Block) -> Option<Block>) -> Result<(), FrameError> {
        let state = self.blocks.get_mut(index_of(block)).filter(|_| block.is_aligned(BLOCK_BYTES));
        let state = state.ok_or(FrameError::WrongOwner(block))?;
        *state = next(*state).ok_or(FrameError::WrongOwner(block))?;
        Ok(())
    }
}
