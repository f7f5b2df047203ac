//! The hypervisor's frames as `virt` asks for them.
//!
//! Unsafe because frames change hands between two crates that do not know each other's types.

use memory::SharedMemory;
use virt::{FrameSource, Frames, OutOfFrames};

/// Gives `virt` frames of the hypervisor.
pub struct VirtFrames(pub &'static SharedMemory);

impl FrameSource for VirtFrames {
    fn take(&mut self, count: usize) -> Result<Frames, OutOfFrames> {
        let frames = self.0.lock().allocate(count).map_err(|_| OutOfFrames { count })?;
        let (hpa, pointer) = (frames.range().start(), frames.pointer());
        let _range = frames.into_range();
        // SAFETY: `allocate` gave these frames to us alone, zeroed and mapped at `pointer`; they pass to `virt` until
        // `give_back`.
        Ok(unsafe { Frames::new(hpa, pointer, count) })
    }

    fn give_back(&mut self, frames: Frames) {
        let len_bytes = frames.count() as u64 * base::PAGE_BYTES;
        let Ok(range) = base::PhysRange::new(frames.hpa(), len_bytes) else { return };
        if let Err(error) = self.0.lock().free_range(range) {
            log::error!("frames {range} of a vCPU are lost: {error}");
        }
    }
}
