//! The hypervisor's own frames that hardware structures live in: VMCBs, permission maps, save areas.
//!
//! Why unsafe: a frame is raw memory known by two addresses, and the processor reads and writes it behind the
//! compiler's back. [`Frames`] is the proof that both addresses name the same memory and that nobody else uses it.

use base::{Hpa, PAGE_BYTES, PhysRange};
use core::fmt;
use core::ptr::NonNull;
use log::error;
use memory::SharedMemory;

/// One or more contiguous 4 KiB frames, owned.
#[derive(Debug)]
pub struct Frames {
    hpa: Hpa,
    pointer: NonNull<u8>,
    count: usize,
}

impl Frames {
    /// `count` frames at `hpa`, mapped at `pointer`.
    ///
    /// # Safety
    /// `pointer` maps exactly these frames, readable and writable, for as long as the value lives; it is aligned to
    /// 4 KiB; and the frames belong to the caller alone, who gives them away here.
    pub const unsafe fn new(hpa: Hpa, pointer: NonNull<u8>, count: usize) -> Self {
        Self { hpa, pointer, count }
    }

    /// Where the first frame is in physical memory.
    pub const fn hpa(&self) -> Hpa {
        self.hpa
    }

    /// Where the first frame is mapped.
    pub const fn pointer(&self) -> NonNull<u8> {
        self.pointer
    }

    /// The number of frames.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The contents.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        let len_bytes = self.count.saturating_mul(PAGE_BYTES as usize);
        // SAFETY: `new`'s caller promised that these bytes are mapped and owned by this value, which is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.pointer.as_ptr(), len_bytes) }
    }
}

/// No contiguous frames are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames {
    /// How many were asked for.
    pub count: usize,
}

impl fmt::Display for OutOfFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} contiguous frames of hypervisor memory are not to be had: give the host more memory",
            self.count
        )
    }
}

impl core::error::Error for OutOfFrames {}

/// Where frames come from and go back to.
pub trait FrameSource {
    /// Takes `count` contiguous frames, filled with zeros.
    ///
    /// # Errors
    /// [`OutOfFrames`] when there are none.
    fn take(&mut self, count: usize) -> Result<Frames, OutOfFrames>;

    /// Takes frames back.
    fn give_back(&mut self, frames: Frames);
}

/// The machine's memory, the source in the hypervisor itself.
impl FrameSource for &'static SharedMemory {
    fn take(&mut self, count: usize) -> Result<Frames, OutOfFrames> {
        let taken = self.lock().allocate(count).map_err(|_| OutOfFrames { count })?;
        let pointer = taken.pointer();
        let hpa = taken.into_range().start();
        // SAFETY: `allocate` gave exactly these frames to us alone, mapped at `pointer` until they are freed, which
        // takes the value that is made here.
        Ok(unsafe { Frames::new(hpa, pointer, count) })
    }

    fn give_back(&mut self, frames: Frames) {
        let len_bytes = (frames.count as u64).saturating_mul(PAGE_BYTES);
        let freed = PhysRange::new(frames.hpa, len_bytes).map(|range| self.lock().free_range(range));
        if let Ok(Err(error)) = freed {
            error!("{} frames at {} are lost: {error}", frames.count, frames.hpa);
        }
    }
}
