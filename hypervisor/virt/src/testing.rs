//! Frames from the host's heap, for tests. Unsafe because frames are raw memory.

use crate::frames::{FrameSource, Frames, OutOfFrames};
use base::Hpa;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};

/// Hands out heap pages; their "physical" address is their own.
pub struct HostFrames;

fn layout(count: usize) -> Layout {
    Layout::from_size_align(count * 4096, 4096).unwrap()
}

impl FrameSource for HostFrames {
    fn take(&mut self, count: usize) -> Result<Frames, OutOfFrames> {
        // SAFETY: the layout has a size; the block is owned by the value made of it.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout(count)) }).ok_or(OutOfFrames { count })?;
        let hpa = Hpa::from_low_bits(pointer.as_ptr() as u64);
        // SAFETY: the block is as large and aligned as asked for, and nobody else has it.
        Ok(unsafe { Frames::new(hpa, pointer, count) })
    }

    fn give_back(&mut self, frames: Frames) {
        // SAFETY: `take` allocated it with the same layout.
        unsafe { dealloc(frames.pointer().as_ptr(), layout(frames.count())) }
    }
}
