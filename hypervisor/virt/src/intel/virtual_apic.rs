//! The virtual-APIC page: its task priority, which MOV to and from CR8 reach without an exit, and where the processor runs
//! the local APIC, all its registers (SDM 30.1 to 30.5).
//!
//! Why unsafe: the processor writes to the page while the guest runs.

use crate::frames::{FrameSource, Frames, OutOfFrames};
use base::{Hpa, PAGE_BYTES};
use core::ptr::NonNull;
use sync::pending::PendingInterrupts;
use vcpu::ApicPage;

/// The virtual task-priority register, of which bits 7:4 are CR8 (SDM table 30-1).
const VTPR_OFFSET: usize = 0x80;
const PRIORITY_SHIFT: u32 = 4;

/// The page, and behind it the descriptor of interrupts that are posted to it.
const FRAMES: usize = 2;

/// The page.
#[derive(Debug)]
pub struct VirtualApicPage(Frames);

impl VirtualApicPage {
    /// A page of zeros, with nothing posted.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there is no frame for it.
    pub fn new(frames: &mut impl FrameSource) -> Result<Self, OutOfFrames> {
        let page = Self(frames.take(FRAMES)?);
        // SAFETY: the descriptor lies in the second frame, aligned, and nobody knows of it yet.
        unsafe { page.descriptor().write(PendingInterrupts::new()) };
        Ok(page)
    }

    const fn descriptor(&self) -> NonNull<PendingInterrupts> {
        // SAFETY: there are two frames.
        unsafe { self.0.pointer().byte_add(PAGE_BYTES as usize) }.cast()
    }

    /// The descriptor of interrupts that are posted.
    #[inline]
    pub const fn pending(&self) -> &PendingInterrupts {
        // SAFETY: `new` made it; what others write to it, the processor too, they write atomically.
        unsafe { self.descriptor().as_ref() }
    }

    /// Where the descriptor is, for the VMCS.
    pub const fn pending_hpa(&self) -> Hpa {
        Hpa::from_low_bits(self.hpa().as_u64().wrapping_add(PAGE_BYTES))
    }

    /// Where it is, for the VMCS.
    pub const fn hpa(&self) -> Hpa {
        self.0.hpa()
    }

    /// The task priority, 0-15.
    #[inline]
    pub fn task_priority(&self) -> u8 {
        // SAFETY: the offset lies in the page, which this value owns, and is aligned; the processor writes to it only
        // while the guest runs.
        let vtpr = unsafe { self.0.pointer().cast::<u32>().byte_add(VTPR_OFFSET).read_volatile() };
        (vtpr >> PRIORITY_SHIFT & 0xf) as u8
    }

    /// Replaces the task priority; bits above 3:0 are dropped.
    #[inline]
    pub fn set_task_priority(&mut self, priority: u8) {
        let vtpr = u32::from(priority & 0xf) << PRIORITY_SHIFT;
        // SAFETY: as above, borrowed mutably.
        unsafe { self.0.pointer().cast::<u32>().byte_add(VTPR_OFFSET).write_volatile(vtpr) }
    }

    /// All registers.
    #[inline]
    pub fn registers(&mut self) -> &mut ApicPage {
        // SAFETY: the frame is one page, as large and aligned as the type, of which all contents are valid; it is this
        // value's, borrowed mutably, and the processor writes to it only while the guest runs.
        unsafe { self.0.pointer().cast().as_mut() }
    }

    /// Gives its frame back.
    pub fn release(self, frames: &mut impl FrameSource) {
        frames.give_back(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HostFrames;

    #[test]
    fn the_priority_is_the_upper_half_of_the_register_at_0x80() {
        let mut page = VirtualApicPage::new(&mut HostFrames).unwrap();
        page.set_task_priority(0x1b);
        assert_eq!(page.task_priority(), 0xb);
        assert_eq!(page.0.bytes_mut()[0x80], 0xb0);
        page.release(&mut HostFrames);
    }
}
