//! Memory that host devices reach by DMA.
//!
//! ```text
//!   HostMemory ──allocate_pinned──► DmaFrames ◄──bytes, or single loads and stores──► driver
//!       ▲                               │ bus address
//!       └─────────── take_back ◄────────┴──────────────────────────────────────────► device
//! ```
//! No IOMMU confines a device yet, so a bus address is the physical one, and these rules are all there is:
//! - Only frames pinned for it are named to a device. While they are pinned the frame allocator refuses to free them.
//! - What is dropped stays pinned for ever, and is lost. A driver drops what its device may still write to: one that has
//!   stopped answering. Had dropping freed it, a forgotten case would be corrupt memory; so it is a leak.
//! - Who knows that no device has a buffer any more calls [`HostDma::take_back`].
//!
//! Unsafe because what a device changes behind the compiler's back is reached through raw pointers: a buffer as a slice
//! while the driver has it, a ring by volatile accesses at any time.

use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use memory::{HostFrames, HostMemoryError, SharedMemory};
use seams::{BusAddress, DmaBuffer, DmaMemory, DmaRing};

/// Where the host's drivers have their memory from.
#[derive(Clone, Copy)]
pub struct HostDma {
    memory: &'static SharedMemory,
}

impl HostDma {
    /// Pinned frames come out of `memory`.
    pub const fn new(memory: &'static SharedMemory) -> Self {
        Self { memory }
    }

    /// Frees a buffer that no device has: its driver has given it back, or never had it.
    ///
    /// # Errors
    /// [`HostMemoryError::Frames`]: an error in the hypervisor.
    pub fn take_back(&self, buffer: HostBuffer) -> Result<(), HostMemoryError> {
        self.memory.lock().free_pinned(buffer.0.frames)
    }

    fn frames(&self, len_bytes: usize) -> Option<DmaFrames> {
        let count = len_bytes.max(1).div_ceil(base::PAGE_BYTES as usize);
        let frames = self.memory.lock().allocate_pinned(count).ok()?;
        let (start, len_bytes) = (frames.pointer(), frames.range().len_bytes() as usize);
        // SAFETY: the frames were just taken, zeroed and mapped, and stay so until `take_back` consumes them.
        let window = unsafe { Window::new(start, len_bytes) };
        Some(DmaFrames { frames, window })
    }
}

impl DmaMemory for HostDma {
    type Buffer = HostBuffer;
    type Ring = HostRing;

    fn buffer(&mut self, len_bytes: usize) -> Option<HostBuffer> {
        self.frames(len_bytes).map(HostBuffer)
    }

    fn ring(&mut self, len_bytes: usize) -> Option<HostRing> {
        self.frames(len_bytes).map(HostRing)
    }
}

/// Pinned frames and the way to them.
struct DmaFrames {
    frames: HostFrames,
    window: Window,
}

impl DmaFrames {
    fn bus_address(&self) -> BusAddress {
        BusAddress(self.frames.range().start().as_u64())
    }
}

/// A buffer in whole frames.
pub struct HostBuffer(DmaFrames);

impl DmaBuffer for HostBuffer {
    fn bus_address(&self) -> BusAddress {
        self.0.bus_address()
    }

    fn bytes(&self) -> &[u8] {
        self.0.window.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.window.bytes_mut()
    }
}

/// A ring in whole frames.
pub struct HostRing(DmaFrames);

// Not inlined: drivers have many of these accesses.
impl DmaRing for HostRing {
    fn bus_address(&self) -> BusAddress {
        self.0.bus_address()
    }

    #[inline(never)]
    fn load32(&self, offset: usize) -> u32 {
        self.0.window.load(offset).unwrap_or(0)
    }

    #[inline(never)]
    fn store32(&mut self, offset: usize, value: u32) {
        self.0.window.store(offset, value);
    }

    #[inline(never)]
    fn load64(&self, offset: usize) -> u64 {
        self.0.window.load(offset).unwrap_or(0)
    }

    #[inline(never)]
    fn store64(&mut self, offset: usize, value: u64) {
        self.0.window.store(offset, value);
    }
}

/// Bytes at an address, checked against their length.
pub(crate) struct Window {
    start: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the memory belongs to the value; where it is does not matter.
unsafe impl Send for Window {}

impl Window {
    /// # Safety
    /// As long as the window lives, the bytes are mapped, readable, writable, aligned to 8, initialized, and reached by
    /// nobody else but a device to which the owner names them.
    pub(crate) const unsafe fn new(start: NonNull<u8>, len_bytes: usize) -> Self {
        Self { start, len_bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the maker vouches for the memory. Who holds a buffer has not given it to a device, or has got it back
        // (`seams::dma`): nobody writes while the slice lives.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len_bytes) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }

    /// Loads what a device may have stored. The fence keeps later accesses later, those to buffers included.
    #[inline]
    pub(crate) fn load<T: Word>(&self, offset: usize) -> Option<T> {
        let word = self.word::<T>(offset)?;
        // SAFETY: inside the window and aligned, as `word` checks; every bit pattern is a value. Volatile, as the device
        // writes when it likes.
        let value = unsafe { word.as_ptr().read_volatile() };
        fence(Ordering::Acquire);
        Some(value)
    }

    /// Stores what a device may load. The fence keeps earlier accesses earlier, those to buffers included.
    #[inline]
    pub(crate) fn store<T: Word>(&mut self, offset: usize, value: T) {
        if let Some(word) = self.word::<T>(offset) {
            fence(Ordering::Release);
            // SAFETY: as in `load`.
            unsafe { word.as_ptr().write_volatile(value) }
        }
    }

    #[inline]
    fn word<T: Word>(&self, offset: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.len_bytes || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: the offset is inside the window.
        Some(unsafe { self.start.add(offset) }.cast())
    }
}

/// What one access to a ring moves.
pub(crate) trait Word: Copy {}
impl Word for u32 {}
impl Word for u64 {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    fn window() -> Window {
        let memory = Box::leak(Box::new([0_u64; 512]));
        // SAFETY: leaked, aligned memory of that length that nobody else knows.
        unsafe { Window::new(NonNull::from(memory).cast(), 4096) }
    }

    #[test]
    fn words_are_where_bytes_are() {
        let mut window = window();
        window.store(8, 0x8877_6655_4433_2211_u64);
        assert_eq!(window.load::<u32>(12), Some(0x8877_6655));
        assert_eq!(window.bytes()[8..10], [0x11, 0x22]);
        window.bytes_mut()[15] = 0;
        assert_eq!(window.load::<u64>(8), Some(0x0077_6655_4433_2211));
    }

    #[test]
    fn outside_of_the_memory_or_unaligned_there_is_nothing() {
        let mut window = window();
        window.store(4096, 1_u32);
        window.store(4092, 1_u64);
        window.store(2, 1_u32);
        window.store(usize::MAX, 1_u64);
        assert!(window.bytes().iter().all(|byte| *byte == 0));
        assert_eq!(window.load::<u32>(4096), None);
        assert_eq!(window.load::<u64>(4), None);
    }
}
