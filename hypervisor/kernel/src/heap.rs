//! The heap of the hypervisor.
//!
//! Unsafe because the heap is told that its first arena is its own.

use memory::{EarlyArena, Heap};

static EARLY: EarlyArena = EarlyArena::new();

// SAFETY: `EARLY` is named nowhere else.
#[global_allocator]
static HEAP: Heap = unsafe { Heap::new(&EARLY) };

/// How much of it is in use.
pub fn usage() -> memory::HeapUsage {
    HEAP.usage()
}
