//! Boot's heap: an arena within the program itself, so that it is there before anything is asked of firmware and
//! still there after firmware is gone, when the last memory map is encoded.

use core::cell::UnsafeCell;
use linked_list_allocator::LockedHeap;

/// Enough for the configuration, a memory map of 8192 regions in its three forms, and the handoff.
const HEAP_BYTES: usize = 8 * 1024 * 1024;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: only `init` takes its address, once, for the allocator, which has a lock.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; HEAP_BYTES]));

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Gives the arena to the allocator; to be called once, first of all.
pub(crate) fn init() {
    // SAFETY: the arena is used for nothing else, lives as long as the program, and is given away only here.
    unsafe { HEAP.lock().init(ARENA.0.get().cast(), HEAP_BYTES) }
}
