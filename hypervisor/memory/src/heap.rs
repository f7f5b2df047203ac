//! The hypervisor's heap: a few arenas, the first within the image, the others taken from the frames when needed.
//!
//! Unsafe because it implements the global allocator and makes arenas out of raw memory.
//!
//! Nobody allocates or frees while he holds the memory's lock: its rank is higher than the heap's, which grows from it.

use crate::host::{HostFrames, global};
use arrayvec::ArrayVec;
use base::{KIB, PAGE_BYTES};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use linked_list_allocator::Heap as Arena;
use machine::Lock;
use sync::Rank;

/// The arena in the image: enough to parse the handoff before there are frames.
const EARLY_BYTES: usize = 256 * KIB as usize;
/// What an arena has at least.
const GROWTH_BYTES: u64 = 256 * KIB;
/// Arenas that continue each other are joined, so that few are needed.
const MAX_ARENAS: usize = 32;

/// How much of the heap is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes in all arenas.
    pub total_bytes: usize,
    /// Bytes allocated.
    pub used_bytes: usize,
    /// The most bytes that were ever allocated.
    pub peak_bytes: usize,
}

struct Arenas {
    arenas: ArrayVec<Arena, MAX_ARENAS>,
    peak_bytes: usize,
}

/// The memory of the first arena. It is a static of its own, apart from the heap's words: all zero, it takes no room in
/// the image's file.
pub struct EarlyArena(UnsafeCell<[MaybeUninit<u8>; EARLY_BYTES]>);

// SAFETY: the memory is touched by the arena that lies in it alone, which is behind its heap's lock.
unsafe impl Sync for EarlyArena {}

impl EarlyArena {
    /// Unused memory.
    #[must_use]
    pub const fn new() -> Self {
        Self(UnsafeCell::new([MaybeUninit::zeroed(); EARLY_BYTES]))
    }
}

impl Default for EarlyArena {
    fn default() -> Self {
        Self::new()
    }
}

/// The global allocator. The kernel makes a static of it.
pub struct Heap {
    arenas: Lock<Arenas>,
    early: &'static EarlyArena,
}

impl Heap {
    /// An empty heap whose first arena is `early`.
    ///
    /// # Safety
    /// No other heap has this arena.
    #[must_use]
    pub const unsafe fn new(early: &'static EarlyArena) -> Self {
        let arenas = Arenas { arenas: ArrayVec::new_const(), peak_bytes: 0 };
        Self { arenas: Lock::new(Rank::Heap, arenas), early }
    }

    /// How much is in use.
    pub fn usage(&self) -> HeapUsage {
        self.arenas.lock().usage()
    }
}

impl Arenas {
    fn usage(&self) -> HeapUsage {
        HeapUsage {
            total_bytes: self.arenas.iter().map(Arena::size).sum(),
            used_bytes: self.arenas.iter().map(Arena::used).sum(),
            peak_bytes: self.peak_bytes,
        }
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let block = self.arenas.iter_mut().find_map(|arena| arena.allocate_first_fit(layout).ok())?;
        self.peak_bytes = self.peak_bytes.max(self.usage().used_bytes);
        Some(block)
    }

    /// Adds `len` bytes at `start`.
    ///
    /// # Safety
    /// They are mapped, writable and nobody else's, for ever.
    unsafe fn add(&mut self, start: NonNull<u8>, len: usize) -> bool {
        if let Some(arena) = self.arenas.iter_mut().find(|arena| arena.top() == start.as_ptr()) {
            // SAFETY: the caller vouches for the bytes, and they continue the arena.
            unsafe { arena.extend(len) }
            return true;
        }
        // SAFETY: the caller vouches for the bytes.
        self.arenas.try_push(unsafe { Arena::new(start.as_ptr(), len) }).is_ok()
    }

    /// Adds an arena that has room for `layout`.
    fn grow(&mut self, layout: Layout) -> bool {
        // Room for the allocator's own words and for any alignment.
        let wanted = (layout.size() as u64).saturating_add(layout.align() as u64).saturating_add(PAGE_BYTES);
        let Some(pages) = wanted.max(GROWTH_BYTES).checked_next_multiple_of(PAGE_BYTES) else { return false };
        let Some(mut memory) = global().and_then(|memory| memory.try_lock()) else { return false };
        let Ok(frames) = memory.allocate((pages / PAGE_BYTES) as usize) else { return false };
        let (start, range) = (frames.pointer(), HostFrames::into_range(frames));
        // SAFETY: the frames were just taken for this, and are never given back.
        if unsafe { self.add(start, range.len_bytes() as usize) } {
            return true;
        }
        // No arena is left; the frames were in use, so they can be freed.
        let _ = memory.free_range(range);
        false
    }
}

// SAFETY: blocks come from `linked_list_allocator`'s arenas, which do not overlap, and go back to the one that they lie in; a
// failure is a null pointer; nothing unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut arenas = self.arenas.lock();
        if arenas.arenas.is_empty() {
            let early = NonNull::new(self.early.0.get().cast()).unwrap_or(NonNull::dangling());
            // SAFETY: the array is part of a heap that lives for ever; there is no arena in it yet.
            unsafe { arenas.add(early, EARLY_BYTES) };
        }
        let block = match arenas.allocate(layout) {
            None if arenas.grow(layout) => arenas.allocate(layout),
            block => block,
        };
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let mut arenas = self.arenas.lock();
        let holds = |arena: &&mut Arena| (arena.bottom()..arena.top()).contains(&pointer);
        if let (Some(arena), Some(block)) = (arenas.arenas.iter_mut().find(holds), NonNull::new(pointer)) {
            // SAFETY: the caller gives back what `alloc` gave him, and it lies in this arena.
            unsafe { arena.deallocate(block, layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::boxed::Box;

    fn heap() -> &'static Heap {
        // SAFETY: the arena was made for this heap.
        Box::leak(Box::new(unsafe { Heap::new(Box::leak(Box::new(EarlyArena::new()))) }))
    }

    #[test]
    fn blocks_come_from_the_image_before_there_are_frames_and_go_back() {
        let heap = heap();
        let layout = Layout::from_size_align(1000, 64).unwrap();
        // SAFETY: the layout has a size, and the block is given back with it.
        unsafe {
            let block = heap.alloc(layout);
            assert!(!block.is_null() && block.addr().is_multiple_of(64));
            assert!(heap.usage().used_bytes >= 1000);
            heap.dealloc(block, layout);
        }
        assert_eq!(heap.usage().used_bytes, 0);
        assert!(heap.usage().peak_bytes >= 1000);
    }

    #[test]
    fn without_frames_what_is_too_large_fails_and_nothing_else() {
        let heap = heap();
        let layout = Layout::from_size_align(EARLY_BYTES + 1, 8).unwrap();
        // SAFETY: the layout has a size.
        assert!(unsafe { heap.alloc(layout) }.is_null());
    }

    #[test]
    fn arenas_that_continue_each_other_are_one() {
        let buffer = std::boxed::Box::leak(std::vec![0_u64; 4096].into_boxed_slice());
        let start = NonNull::from(&mut buffer[0]).cast::<u8>();
        let mut arenas = Arenas { arenas: ArrayVec::new(), peak_bytes: 0 };
        // SAFETY: both halves of the leaked buffer.
        unsafe {
            assert!(arenas.add(start, 16 << 10));
            assert!(arenas.add(start.add(16 << 10), 16 << 10));
        }
        assert_eq!(arenas.arenas.len(), 1);
        assert!(arenas.allocate(Layout::from_size_align(24 << 10, 8).unwrap()).is_some());
    }
}
