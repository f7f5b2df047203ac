//! Zeroing memory between owners, in steps.
//!
//! Unsafe because a block that is nobody's is zeroed through a mapping that exists just for that.

use super::HostMemory;
use crate::direct;
use crate::error::HostMemoryError;
use crate::frames::{BLOCK_BYTES, Block, Content};
use base::{Hpa, KIB, PhysRange};

/// What one step zeroes: 7 µs at 5 GB/s. A VM's timer that comes meanwhile waits for its end.
const STEP_BYTES: u64 = 32 * KIB;

/// The block in work and how much of it is zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    block: Hpa,
    done_bytes: u64,
}

impl HostMemory {
    /// Zeroes a part of a free dirty block; an idle CPU's work. `false` when there is nothing (more) to do.
    pub fn scrub_step(&mut self) -> bool {
        // The block may have been taken since the last step; then what was done is in vain.
        let current = self.scrubbing.take().filter(|progress| self.frames.is_scrubbing(progress.block));
        let start = || self.frames.start_scrub().map(|block| Progress { block, done_bytes: 0 });
        let Some(Progress { block, done_bytes }) = current.or_else(start) else { return false };
        if self.zero_block_part(block, done_bytes, STEP_BYTES).is_err() {
            return false;
        }
        let done_bytes = done_bytes + STEP_BYTES;
        if done_bytes >= BLOCK_BYTES {
            self.frames.finish_scrub(block);
        } else {
            self.scrubbing = Some(Progress { block, done_bytes });
        }
        true
    }

    /// Zeroes those of a VM's blocks that are dirty still. No VM can see them yet.
    pub(crate) fn scrub_private(&mut self, blocks: PhysRange) -> Result<(), HostMemoryError> {
        for start in (blocks.start().as_u64()..blocks.end_u64()).step_by(BLOCK_BYTES as usize) {
            let block = Hpa::from_low_bits(start);
            if let Block::Private(_, Content::Dirty | Content::Scrubbing) = self.frames.block(block) {
                self.zero_block_part(block, 0, BLOCK_BYTES)?;
                self.frames.set_clean(block)?;
            }
        }
        Ok(())
    }

    /// Zeroes `len_bytes` from `offset` on in a block that nobody else uses.
    fn zero_block_part(&mut self, block: Hpa, offset: u64, len_bytes: u64) -> Result<(), HostMemoryError> {
        let start = self.show_block(block)?;
        // SAFETY: the whole block is mapped at `start`, and the callers' blocks are nobody's as yet.
        unsafe { direct::zero(start.add(offset as usize), len_bytes) }
        self.hide_block()
    }
}

#[cfg(target_os = "none")]
mod scratch {
    //! The block is shown in a place of its own.
    use super::{BLOCK_BYTES, HostMemory, HostMemoryError, Hpa, PhysRange};
    use crate::layout::SCRATCH_BASE;
    use core::ptr::{NonNull, with_exposed_provenance_mut};
    use paging::{Attributes, Permissions};

    impl HostMemory {
        pub(super) fn show_block(&mut self, block: Hpa) -> Result<NonNull<u8>, HostMemoryError> {
            let range = PhysRange::new(block, BLOCK_BYTES).map_err(|_| HostMemoryError::OutOfAddresses)?;
            self.map(SCRATCH_BASE, range, Attributes::memory(Permissions::READ_WRITE))?;
            NonNull::new(with_exposed_provenance_mut(SCRATCH_BASE as usize))
                .ok_or(HostMemoryError::OutOfAddresses)
        }

        pub(super) fn hide_block(&mut self) -> Result<(), HostMemoryError> {
            self.unmap(SCRATCH_BASE, BLOCK_BYTES)
        }
    }
}

#[cfg(not(target_os = "none"))]
mod scratch {
    //! Where tests run, all "physical" memory is one buffer and can be seen.
    use super::{HostMemory, HostMemoryError, Hpa};
    use core::ptr::NonNull;

    impl HostMemory {
        pub(super) fn show_block(&mut self, block: Hpa) -> Result<NonNull<u8>, HostMemoryError> {
            Ok(self.direct.pointer(block))
        }

        pub(super) fn hide_block(&mut self) -> Result<(), HostMemoryError> {
            Ok(())
        }
    }
}
